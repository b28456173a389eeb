//! What srtd and its clients share: the generated types of the contract `srt.v1` and the socket's place.

pub mod direct;
pub mod socket;

/// The generated types and services of `srt/v1/srt.proto`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("srt.v1");
}

/// The compiled `FileDescriptorSet` of the contract, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/srt.v1.descriptors.bin"));

/// The largest chunk of a server's stdin, stdout or stderr in one message, in bytes.
///
/// Far below gRPC's default decode limit of 4 MiB, so that a line of any length passes.
pub const CHUNK: usize = 64 * 1024;

/// Metadata key of a failed call: the exit status that a command-line client should end with.
pub const EXIT_CODE: &str = "srt-exit-code";

/// Exit statuses of the command-line clients.
pub mod exit {
    /// All is well.
    pub const OK: i32 = 0;
    /// Anything that has no status of its own.
    pub const ERROR: i32 = 1;
    /// The command line is wrong.
    pub const USAGE: i32 = 2;
    /// The server is not running, or failed.
    pub const NOT_RUNNING: i32 = 3;
    /// No server of that name.
    pub const UNKNOWN_NAME: i32 = 4;
    /// The daemon cannot be reached.
    pub const UNREACHABLE: i32 = 5;
    /// A settings file is invalid.
    pub const POLICY_INVALID: i32 = 6;
    /// Policy, or the absence of a mechanism that it needs, forbids the launch.
    pub const DENIED: i32 = 7;
    /// A review found warnings, and nothing worse.
    pub const REVIEW_WARNING: i32 = 8;
    /// A review found something worse.
    pub const REVIEW_HIGH: i32 = 9;
    /// srtd alone: another one has the socket or the state folder, and may be about to end (EX_TEMPFAIL of
    /// sysexits(3)).
    pub const TAKEN: i32 = 75;
    /// A wait timed out.
    pub const TIMED_OUT: i32 = 124;
}
