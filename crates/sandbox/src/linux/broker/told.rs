//! What a server tried to do with files and was refused, for the record.
//!
//! Of reading, what was seen is not evidence against a server that wants to be seen wrongly (it can change the path
//! meanwhile); what it could do was decided elsewhere.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use super::calls::Named;
use super::listener::Notification;
use super::target::Target;
use super::view::View;
use crate::{Access, SandboxSpec, Violation};

/// Different violations of one launch that are told; what comes beyond is counted by the last report.
const MOST: usize = 1024;

/// Where programs and their libraries are: readable in every sandbox, and opened more than anything else. A link
/// from there to a hidden place would be followed by the kernel to a refusal that is not told here.
const PLAIN: &[&str] = &[
    "/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev",
];

/// A use of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) path: PathBuf,
    pub(crate) write: bool,
}

/// Tells each violation once, and counts.
pub(crate) struct Told<'a> {
    spec: &'a SandboxSpec,
    report: &'a dyn Fn(Violation),
    seen: HashMap<(PathBuf, bool), (String, u64)>,
    beyond: u64,
}

impl<'a> Told<'a> {
    pub(crate) fn new(spec: &'a SandboxSpec, report: &'a dyn Fn(Violation)) -> Self {
        Self {
            spec,
            report,
            seen: HashMap::new(),
            beyond: 0,
        }
    }

    /// Whether the spec refuses this use of a path.
    pub(crate) fn refuses(&self, used: &Used) -> bool {
        match self.spec.access(&used.path) {
            Access::None => true,
            Access::Read => used.write,
            Access::ReadWrite => false,
        }
    }

    /// Whether a use that is refused by its letters is refused by what stands there, too: a link of the sandbox's root
    /// (`/lib`, in minimal mode) may lead to what can be read. Where nothing is seen, the refusal is why.
    pub(crate) fn leads_to_refused(&self, used: &Used, view: &View, target: Target) -> bool {
        view.existing(target, &used.path, true)
            .map_or(true, |found| {
                found.path == used.path
                    || self.refuses(&Used {
                        path: found.path,
                        write: used.write,
                    })
            })
    }

    /// Whether what is to be read is there on the host, and missing in the private folder that stands in its place.
    pub(crate) fn is_withheld(&self, used: &Used, view: &View, target: Target) -> bool {
        is_covered(self.spec, &used.path)
            && view.existing(target, &used.path, true).err() == Some(Errno::NOENT)
    }

    /// Something was opened for reading. `program` is known where the name itself is refused.
    pub(crate) fn used(&mut self, used: Used, target: Target, program: Option<String>) {
        if let Some(program) = program {
            return self.tell(used, program);
        }
        // The name is fine; what it leads to may not be.
        if PLAIN.iter().any(|plain| used.path.starts_with(plain)) {
            return;
        }
        let Ok(path) = std::fs::canonicalize(&used.path) else {
            return;
        };
        if path != used.path {
            let used = Used { path, ..used };
            if self.refuses(&used) {
                self.tell(used, target.program().unwrap_or_default());
            }
        }
    }

    /// A use was refused.
    pub(crate) fn tell(&mut self, used: Used, program: String) {
        if !self.spec.observe {
            return;
        }
        let key = (used.path.clone(), used.write);
        if let Some((_, times)) = self.seen.get_mut(&key) {
            *times += 1;
        } else if self.seen.len() < MOST {
            self.seen.insert(key, (program.clone(), 1));
            (self.report)(Violation {
                path: used.path,
                write: used.write,
                program,
                times: 1,
                again: false,
            });
        } else {
            self.beyond += 1;
        }
    }

    /// The closing reports.
    pub(crate) fn close(self) {
        for ((path, write), (program, times)) in self.seen {
            if times > 1 {
                (self.report)(Violation {
                    path,
                    write,
                    program,
                    times: times - 1,
                    again: true,
                });
            }
        }
        if self.beyond > 0 {
            (self.report)(Violation {
                path: "(other paths)".into(),
                write: false,
                program: String::new(),
                times: self.beyond,
                again: true,
            });
        }
    }
}

/// What a call that reads names, by its letters: it is not looked at what stands there.
pub(crate) fn named(notification: &Notification, named: Named) -> Option<Used> {
    let target = Target {
        thread: notification.pid,
    };
    let text = target.text(notification.arguments[named.path]).ok()?;
    let path = Path::new(text.to_str().ok()?);
    let path = if path.is_absolute() {
        path.to_owned()
    } else {
        let folder = named
            .folder
            .map(|index| notification.arguments[index] as i32);
        target.folder(folder).ok()?.join(path)
    };
    Some(Used {
        path: normal(&path),
        write: false,
    })
}

/// Whether the host has something at an absolute path where the sandbox has a private folder.
pub(crate) fn is_covered(spec: &SandboxSpec, path: &Path) -> bool {
    spec.is_private(path) && path.symlink_metadata().is_ok()
}

/// Without `.` and `..`, lexically.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_by_their_letters() {
        assert_eq!(normal(Path::new("/a/./b/../c")), Path::new("/a/c"));
    }
}
