//! Which entries: the conditions that every question of the audit log takes.

use crate::commands::why::absolute;
use crate::errors::Failure;
use srt_proto::v1::AuditRequest;
use std::path::Path;

#[derive(Debug, clap::Args)]
pub(super) struct Filters {
    /// Only this server
    #[arg(long, value_name = "NAME")]
    pub(super) server: Option<String>,
    /// Entries since this RFC 3339 time, or for so long: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "TIME", value_parser = crate::commands::since)]
    pub(super) since: Option<String>,
    /// Entries until this RFC 3339 time, or so long ago
    #[arg(long, value_name = "TIME", value_parser = crate::commands::since)]
    pub(super) until: Option<String>,
    /// Only this kind: start, exit, allow, deny, would-deny, close, ask, approve, reject, expire, revoke, policy, refused,
    /// register, remove, signal, enable, disable, apply, discard, call, pin, daemon; "denied" means deny, and so on
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// Only what was to go to this host: a name or an address, with or without a port
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(super) host: Option<String>,
    /// Only about this file or folder and what is below it; "~/…" is one of the home folder
    #[arg(long)]
    pub(super) path: Option<String>,
    /// Only entries before the one with this number (seq)
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) before: Option<u64>,
    /// Only entries after the one with this number (seq); with it, --limit means the oldest N
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) after: Option<u64>,
}

impl Filters {
    /// The request for them.
    pub(super) fn request(self) -> Result<AuditRequest, Failure> {
        Ok(AuditRequest {
            server: self.server.unwrap_or_default(),
            since: self.since.unwrap_or_default(),
            until: self.until.unwrap_or_default(),
            kind: self.kind.unwrap_or_default(),
            host: self.host.unwrap_or_default(),
            path: match self.path {
                Some(path) => recorded(&path)?,
                None => String::new(),
            },
            before: self.before.unwrap_or_default(),
            after: self.after.unwrap_or_default(),
            ..AuditRequest::default()
        })
    }
}

/// A path as the log has it: absolute, links followed as far as there is something.
pub(super) fn recorded(path: &str) -> Result<String, Failure> {
    let path = absolute(path)?;
    let path = Path::new(&path);
    for there in path.ancestors() {
        if let Ok(real) = there.canonicalize() {
            let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
            let whole: std::path::PathBuf = real.join(rest).components().collect();
            return Ok(whole.display().to_string());
        }
    }
    Ok(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_asked_for_as_the_log_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("real")).unwrap();
        std::os::unix::fs::symlink(real.join("real"), real.join("link")).unwrap();
        let asked = |rest: &str| recorded(&format!("{}/{rest}", real.display())).unwrap();
        let expected = |rest: &str| format!("{}/{rest}", real.display());
        assert_eq!(asked("real"), expected("real"));
        assert_eq!(asked("link"), expected("real"));
        assert_eq!(asked("link/../real/"), expected("real"));
        assert_eq!(asked("link/gone/too"), expected("real/gone/too"));
    }
}
