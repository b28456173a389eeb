//! What a sandbox uses of the machine.

/// What the processes of a sandbox use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub memory: u64,
    /// Time on a CPU since the launch, in seconds, that of processes that have ended included.
    pub cpu_seconds: f64,
    /// The server's processes that live now: what srt itself keeps in the sandbox is not counted.
    pub processes: u32,
}
