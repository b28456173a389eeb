//! The rules, through the crate's public face: tables of what is asked and what policy says.

mod addresses;
mod documents;
mod domains;
mod environment;
mod files;
mod fixtures;
mod hosts;
mod keys;
mod lines;
mod support;
