//! What a launch is asked for with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use srt_egress::{Event, Gate};
use srt_policy::Policy;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::denial::FileDenial;

/// One launch to be.
#[derive(Debug)]
pub struct LaunchRequest {
    /// Names the launch's folder.
    pub id: Uuid,
    /// Whose layers it goes on with. A file's name: no slash, no leading dot.
    pub server: String,
    /// What it may do.
    pub policy: Arc<Policy>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Absolute.
    pub cwd: PathBuf,
    /// Its device and inode, as whoever asks found it; `None` where that is not known.
    pub cwd_identity: Option<(u64, u64)>,
    /// The environment that policy chooses from.
    pub offered: BTreeMap<String, String>,
    /// Names asked for beside the baseline.
    pub named: Vec<String>,
    /// The file mode creation mask (umask(2)), 9 bits.
    pub umask: u32,
    /// Where what happens to its traffic is told. Keep receiving until the launch is closed.
    pub events: mpsc::Sender<Event>,
    /// Where refused uses of files are told. Their number is bounded: a path that is refused again is counted.
    pub denials: mpsc::UnboundedSender<FileDenial>,
    /// Who asks a person about hosts that no rule names (`network.ask`). Without one they are refused.
    pub gate: Option<Arc<dyn Gate>>,
}
