//! The key of the audit log: in the user's keyring, or in a file that only the user can read.
//!
//! The file is there in both cases: it is the record of where the key is. It is written once, and whatever happens to a
//! keyring later, no other key is ever made beside it: a log that goes on under a second key would look well and prove
//! nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keyring::{self, Absent};
use crate::audit::chain::{Key, hex, unhex};
use crate::store::StoreError;

/// The name of the key's file, in the state folder.
pub const KEY_FILE: &str = "audit.key";

/// Where a key that is made goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// Into the file.
    #[default]
    File,
    /// Into the user's keyring, where there is one; else into the file.
    Keyring,
}

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Note {
    /// Of this form.
    version: u32,
    /// The key's name, by which another key is noticed.
    id: String,
    #[serde(flatten)]
    kept: Kept,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kept", rename_all = "lowercase")]
enum Kept {
    /// Here: the secret in hexadecimal.
    File { key: String },
    /// In the keyring, under this account.
    Keyring { account: String },
}

const VERSION: u32 = 1;

/// A key and where it is kept, in words.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) key: Key,
    pub(crate) place: &'static str,
}

const IN_FILE: &str = "file";
const IN_KEYRING: &str = "keyring";

/// The key whose file is at `path`; `None` where there is no such file.
pub(crate) fn load(path: &Path) -> Result<Option<Found>, StoreError> {
    let trouble = |problem: String, hint: &str| StoreError::Key {
        path: path.into(),
        problem,
        hint: hint.into(),
    };
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(trouble(
                format!("cannot be read: {error}"),
                "look at who owns it; the daemon's user must be able to read it",
            ));
        }
        Ok(file) => file,
    };
    let us = rustix::process::getuid().as_raw();
    let read = || -> io::Result<(u32, u32, bool, String)> {
        let meta = file.metadata()?;
        let mut text = String::new();
        if meta.is_file() {
            (&file).take(64 * 1024).read_to_string(&mut text)?;
        }
        Ok((meta.uid(), meta.mode() & 0o777, meta.is_file(), text))
    };
    let (owner, mode, is_file, text) =
        read().map_err(|error| trouble(format!("cannot be read: {error}"), DAMAGED))?;
    if !is_file || owner != us || mode & 0o077 != 0 {
        return Err(trouble(
            format!("is open to others (uid {owner}, mode {mode:04o}), or is no file"),
            "if nobody else had access to it: chmod 600 it, and make it your own",
        ));
    }
    let note: Note = serde_json::from_str(&text)
        .map_err(|error| trouble(format!("cannot be understood: {error}"), DAMAGED))?;
    if note.version != VERSION {
        return Err(trouble(
            format!(
                "is of version {}, and this program knows {VERSION}",
                note.version
            ),
            "a newer srtd made it: install that version or a newer one",
        ));
    }
    let (secret, place) = match &note.kept {
        Kept::File { key } => (unhex(key), IN_FILE),
        Kept::Keyring { account } => {
            let secret = keyring::get(account).map_err(|absent| match absent {
                Absent::Gone => trouble(
                    format!("says that the key {} is in the keyring, and it is not there any more (service \"srtd audit log\", account {account})", note.id),
                    GONE,
                ),
                Absent::Closed(why) => trouble(
                    format!("says that the key {} is in the keyring, which cannot be had: {why}", note.id),
                    "unlock the keyring, and see that the daemon reaches it (DBUS_SESSION_BUS_ADDRESS)",
                ),
            })?;
            (secret.try_into().ok(), IN_KEYRING)
        }
    };
    let key = secret.map(|secret| Key::new(&secret));
    match key.filter(|key| key.id() == note.id) {
        Some(key) => Ok(Some(Found { key, place })),
        None => Err(trouble(
            format!("does not hold the key {} that it names", note.id),
            DAMAGED,
        )),
    }
}

const GONE: &str = "put the keyring back from a backup: without the key the audit log can neither be verified nor go on. If it is lost for good: srtctl audit key renew --because WHY";

const DAMAGED: &str = "put the file back from a backup: without its key the audit log can neither be verified nor go on. If it is lost for good: srtctl audit key renew --because WHY";

/// The key whose file is at `path`, or why it is not to be had any more: its file is not there or holds no key, or the keyring
/// has forgotten it.
///
/// # Errors
/// When it may well be there: a keyring that is locked, a file that others can read or that cannot be read.
pub(crate) fn look(path: &Path) -> Result<Result<Found, String>, StoreError> {
    match load(path) {
        Ok(Some(found)) => Ok(Ok(found)),
        Ok(None) => Ok(Err(format!("{} is not there", path.display()))),
        Err(StoreError::Key { problem, hint, .. }) if [GONE, DAMAGED].contains(&hint.as_str()) => {
            Ok(Err(format!("{} {problem}", path.display())))
        }
        Err(error) => Err(error),
    }
}

/// A key that is not kept anywhere yet.
pub(crate) struct Fresh {
    pub(crate) key: Key,
    secret: [u8; Key::LENGTH],
}

impl Fresh {
    /// From the system's generator.
    pub(crate) fn make(path: &Path) -> Result<Self, StoreError> {
        let mut secret = [0; Key::LENGTH];
        getrandom::fill(&mut secret).map_err(|error| StoreError::Key {
            path: path.into(),
            problem: format!("cannot be made: the system gives no random numbers: {error}"),
            hint: "restart the machine".into(),
        })?;
        Ok(Self {
            key: Key::new(&secret),
            secret,
        })
    }

    /// Keeps it, durably, and notes where in the file at `path`, which must not be there.
    pub(crate) fn keep(self, path: &Path, prefer: Prefer) -> Result<Found, StoreError> {
        let account = Uuid::new_v4().to_string();
        let in_keyring = match prefer {
            Prefer::File => false,
            Prefer::Keyring => match keyring::put(&account, self.secret) {
                Ok(()) => true,
                Err(why) => {
                    tracing::info!(
                        why,
                        "no keyring can be used: the audit log's key is kept in a file"
                    );
                    false
                }
            },
        };
        let (kept, place) = match in_keyring {
            true => (Kept::Keyring { account }, IN_KEYRING),
            false => {
                let key = hex(&self.secret);
                (Kept::File { key }, IN_FILE)
            }
        };
        let note = Note {
            version: VERSION,
            id: self.key.id().to_owned(),
            kept,
        };
        write(path, &note).map_err(|error| StoreError::Key {
            path: path.into(),
            problem: format!("cannot be written: {error}"),
            hint: "make room, and its folder writable".into(),
        })?;
        Ok(Found {
            key: self.key,
            place,
        })
    }
}

/// All of it or nothing, and never over another key.
fn write(path: &Path, note: &Note) -> io::Result<()> {
    let text = serde_json::to_string_pretty(note)?;
    let beside = path.with_file_name(format!("{KEY_FILE}.{}", Uuid::new_v4().simple()));
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::hard_link(&beside, path)
    })();
    let removed = fs::remove_file(&beside);
    written?;
    removed?;
    match path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
