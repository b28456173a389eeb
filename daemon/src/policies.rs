//! Finding, reading and compiling settings files, and numbering what they say.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use srt_policy::{Compiled, Diagnostic, Facts, InvalidPolicy, Policy, Source, compile};

use crate::audit::PolicyLoad;
use crate::paths::Paths;
use crate::store::{self, Store, StoreError};

/// No settings file is longer, in bytes; the compiler has the same bound.
const LONGEST: u64 = 1 << 20;

/// The name that the built-in policy goes by.
const BUILT_IN: &str = "built-in";

/// A compiled policy with its number.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) policy: Arc<Policy>,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) generation: Generation,
}

/// Which text is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Path of the settings file, or `built-in`.
    pub(crate) source: String,
    pub(crate) digest: String,
    pub(crate) number: u64,
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("cannot read the settings file {}: {source}\nhint: check the path given with --settings, or remove the option", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the settings file {} is longer than 1 MiB\nhint: is it the right file?", path.display())]
    TooLong { path: PathBuf },
    #[error("{}", listed(.0))]
    Invalid(InvalidPolicy),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn listed(invalid: &InvalidPolicy) -> String {
    let mut text = String::from("the settings file cannot be used");
    for finding in &invalid.diagnostics {
        // With its severity, for not all of them are why, and its hint beneath it.
        text += &format!("\n{finding}");
    }
    text
}

/// A finding as compilers print theirs.
pub(crate) fn shown(finding: &Diagnostic) -> String {
    format!(
        "{}:{}:{}: {}",
        finding.path.display(),
        finding.line,
        finding.column,
        finding.message
    )
}

/// Loads policies.
#[derive(Debug)]
pub(crate) struct Policies {
    paths: Paths,
    store: Store,
    numbers: Mutex<HashMap<(String, String), u64>>,
}

impl Policies {
    pub(crate) fn new(paths: Paths, store: Store) -> Self {
        Self {
            paths,
            store,
            numbers: Mutex::default(),
        }
    }

    /// The policy of a server: the settings file given, else the server's own, else the user's, else the built-in.
    pub(crate) async fn load(
        &self,
        name: &str,
        settings: Option<&Path>,
        cwd: &Path,
    ) -> Result<Loaded, PolicyError> {
        let source = self.find(name, settings)?;
        let mut protected = self.paths.protected();
        protected.extend(source.iter().map(|source| source.path.clone()));
        let facts = Facts {
            home: self.paths.home.clone(),
            cwd: cwd.to_owned(),
            protected,
            macos: cfg!(target_os = "macos"),
        };
        let Compiled { policy, warnings } =
            compile(source.as_ref(), &facts).map_err(PolicyError::Invalid)?;
        let generation = self.number(name, &policy).await?;
        Ok(Loaded {
            policy: Arc::new(policy),
            warnings,
            generation,
        })
    }

    fn find(&self, name: &str, settings: Option<&Path>) -> Result<Option<Source>, PolicyError> {
        if let Some(path) = settings {
            return read(path)?.map(Some).ok_or_else(|| PolicyError::Read {
                path: path.to_owned(),
                source: io::ErrorKind::NotFound.into(),
            });
        }
        for path in [self.paths.server_settings(name), self.paths.user_settings()] {
            if let Some(source) = read(&path)? {
                return Ok(Some(source));
            }
        }
        Ok(None)
    }

    async fn number(&self, server: &str, policy: &Policy) -> Result<Generation, PolicyError> {
        let source = policy
            .source()
            .map_or_else(|| BUILT_IN.to_owned(), |path| path.display().to_string());
        let key = (source.clone(), policy.digest().to_owned());
        let known = self
            .numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .copied();
        let number = match known {
            Some(number) => number,
            None => {
                let now = Timestamp::now();
                let (number, new) = self
                    .store
                    .generation_of(store::Policy {
                        source: source.clone(),
                        digest: key.1.clone(),
                        text: policy.text().to_owned(),
                        compiled_at: now,
                    })
                    .await?;
                let load = PolicyLoad {
                    digest: &key.1,
                    generation: number,
                    known: !new,
                };
                self.store.submit(load.entry(now, server, &source)).await?;
                self.numbers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(key.clone(), number);
                number
            }
        };
        Ok(Generation {
            source,
            digest: key.1,
            number,
        })
    }
}

/// Reads a settings file; `None` when there is none.
fn read(path: &Path) -> Result<Option<Source>, PolicyError> {
    let failed = |source| PolicyError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = match open_settings(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        other => other.map_err(failed)?,
    };
    // It stands in the way of a server that would write there, and says nothing.
    if srt_runtime::is_stub(path) {
        return Ok(None);
    }
    let mut text = String::new();
    (&mut file)
        .take(LONGEST + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > LONGEST {
        return Err(PolicyError::TooLong { path: path.into() });
    }
    Ok(Some(Source {
        path: path.to_owned(),
        text,
    }))
}

/// Opens a settings file, and nothing else: a FIFO would hold up its reader for ever, a device never end.
pub(crate) fn open_settings(path: &Path) -> io::Result<std::fs::File> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() {
        Ok(file)
    } else if meta.is_dir() {
        Err(io::ErrorKind::IsADirectory.into())
    } else {
        Err(io::Error::other("it is not a file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_is_read_and_only_so_much_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        for path in [&fifo, folder.path(), Path::new("/dev/zero")] {
            assert!(matches!(read(path), Err(PolicyError::Read { .. })));
        }
        let file = folder.path().join("file");
        std::fs::write(&file, vec![b' '; 1 + (1 << 20)]).unwrap();
        assert!(matches!(read(&file), Err(PolicyError::TooLong { .. })));
        std::fs::write(&file, "{}").unwrap();
        assert_eq!(read(&file).unwrap().unwrap().text, "{}");
        assert!(read(&folder.path().join("none")).unwrap().is_none());
        assert!(read(&file.join("below")).unwrap().is_none());
    }
}
