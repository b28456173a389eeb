//! `srtctl policy schema`: the JSON Schema of settings files, from `srtd schema`. Needs no running daemon.

use super::{doctor, output};
use crate::errors::Failure;

pub(super) fn run() -> Result<i32, Failure> {
    let (schema, code) = doctor::ask_srtd(&["schema".into()])?;
    // In its own order, which is the reference's: sorted, the keys of a section would stand apart.
    output::print(&format!("{schema:#}\n"))?;
    Ok(code)
}
