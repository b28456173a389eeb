//! What a policy says of a launch beside hosts, files, variables and limits: Unix sockets, its processes, and what is
//! reported of it.

use std::path::{Path, PathBuf};

use crate::paths::Meant;
use crate::{McpAudit, Origin};

/// Which Unix sockets a server may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixSockets {
    /// `network.allowAllUnixSockets`: `socket(AF_UNIX)` is not refused. What can be reached is what can be seen: hidden
    /// folders stay hidden, the daemon's own socket under every policy.
    All,
    /// `network.allowUnixSockets`: these and no others.
    Listed(Vec<SocketRule>),
}

impl Default for UnixSockets {
    /// None.
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl UnixSockets {
    /// Whether no socket may be reached, so that the whole family can be refused.
    pub fn none(&self) -> bool {
        matches!(self, Self::Listed(list) if list.is_empty())
    }
}

/// One entry of `network.allowUnixSockets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketRule {
    /// The socket, or a folder of sockets; absolute, normalised lexically, never one that is protected.
    pub path: PathBuf,
    /// As written.
    pub text: String,
    /// Where.
    pub origin: Origin,
}

/// What a launch's processes may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessPolicy {
    /// `allowNestedUserNamespaces`: user namespaces may be made, which browsers need for a sandbox of their own.
    /// Never true by a settings file inside the working directory, which a server may have written.
    pub nested_user_namespaces: bool,
    /// Where that is written.
    pub origin: Option<Origin>,
}

/// What is reported of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPolicy {
    /// `audit.filesystem`: whether refused uses of files are reported; true unless the document says otherwise.
    pub filesystem: bool,
    /// `ignoreViolations`: what is not reported. It never changes what is allowed.
    pub ignore: Vec<IgnoreRule>,
    /// Where `audit.filesystem` is written.
    pub origin: Option<Origin>,
    /// `audit.mcp`: how much of a conversation is recorded.
    pub mcp: McpAudit,
    /// Where that is written.
    pub mcp_origin: Option<Origin>,
}

impl Default for AuditPolicy {
    /// Everything is reported.
    fn default() -> Self {
        Self {
            filesystem: true,
            ignore: Vec::new(),
            origin: None,
            mcp: McpAudit::default(),
            mcp_origin: None,
        }
    }
}

impl AuditPolicy {
    /// Whether a refusal of `path` (absolute, without links) to `program` is not to be reported. `program` is a
    /// name, or a path whose last part is taken.
    pub fn ignores(&self, program: &str, path: &Path) -> bool {
        self.ignore.iter().any(|rule| rule.matches(program, path))
    }
}

/// One path of `ignoreViolations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreRule {
    /// The program's name, or `*` for every program.
    pub program: String,
    /// What it is about; what is below is ignored too.
    pub(crate) paths: Meant,
    /// The path as written.
    pub text: String,
    /// Where.
    pub origin: Origin,
}

impl IgnoreRule {
    fn matches(&self, program: &str, path: &Path) -> bool {
        let name = program.rsplit('/').next().unwrap_or(program);
        (self.program == "*" || self.program == name || self.program == program)
            && self.paths.depth_at(path).is_some()
    }
}
