//! MCP's stdio transport: a stream of bytes becomes lines ([`Lines`]), and of a line as much is read as must be known
//! to carry it ([`read`]). A line that nobody changes is passed on as it came, byte for byte.
//!
//! Pure: no I/O, no clock. The transport is described at <https://modelcontextprotocol.io/specification> ("stdio").

mod author;
mod id;
mod lines;
mod message;
mod readdress;
mod strict;
mod tools;
mod wire;

pub use author::{error, notification, request};
pub use id::Id;
pub use lines::{LONGEST, Lines, Piece};
pub use message::{Details, Message, read};
pub use readdress::{with_id, with_request_id};
pub use strict::{clear, one_reading};
pub use tools::{Definition, Tool, ToolList, tool_list};
pub use wire::{Mode, Wire};
