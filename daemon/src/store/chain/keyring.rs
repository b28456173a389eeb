//! The user's keyring: the Secret Service on Linux, the Keychain on macOS.
//!
//! It may ask a person to unlock it, and then answers when that person does, or never: nothing here waits for longer than it
//! is told to.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use keyring::{Entry, Error};

use crate::audit::chain::Key;

/// What our entries in a keyring are filed under.
const SERVICE: &str = "srtd audit log";

/// How long a key that is made may take to be kept: who started the daemon waits for it.
const TO_KEEP: Duration = Duration::from_secs(5);

/// How long a key may take to come: somebody may have to type a password.
const TO_COME: Duration = Duration::from_secs(20);

/// Why a key does not come.
#[derive(Debug)]
pub(super) enum Absent {
    /// The keyring is open, and has no such key.
    Gone,
    /// There is no keyring, it is locked, or it does not answer.
    Closed(String),
}

/// Keeps a secret, and sees that it comes back.
pub(super) fn put(account: &str, secret: [u8; Key::LENGTH]) -> Result<(), String> {
    let account = account.to_owned();
    within(TO_KEEP, move || {
        let entry = Entry::new(SERVICE, &account)?;
        entry.set_secret(&secret)?;
        match entry.get_secret()? == secret {
            true => Ok(()),
            false => Err(Error::BadStoreFormat(
                "it gives back something else".to_owned(),
            )),
        }
    })
    .map_err(|error| match error {
        Absent::Gone => "it forgot the key at once".to_owned(),
        Absent::Closed(why) => why,
    })
}

/// The secret that was kept under this account.
pub(super) fn get(account: &str) -> Result<Vec<u8>, Absent> {
    let account = account.to_owned();
    within(TO_COME, move || Entry::new(SERVICE, &account)?.get_secret())
}

/// Does it on a thread of its own, which is left behind where it never ends.
fn within<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Absent> {
    let (done, outcome) = mpsc::channel();
    thread::Builder::new()
        .name("keyring".to_owned())
        .spawn(move || {
            if let Err(error) = Entry::store_status() {
                let _ = done.send(Err(Absent::Closed(error.to_string())));
                return;
            }
            let _ = done.send(work().map_err(|error| match error {
                Error::NoEntry => Absent::Gone,
                other => Absent::Closed(other.to_string()),
            }));
        })
        .map_err(|error| Absent::Closed(error.to_string()))?;
    outcome.recv_timeout(time).unwrap_or_else(|_| {
        let seconds = time.as_secs();
        Err(Absent::Closed(format!(
            "it does not answer within {seconds} s: is it locked?"
        )))
    })
}
