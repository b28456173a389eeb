//! The token that metrics on a loopback port ask for.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Its file in the state folder.
pub(super) const FILE: &str = "metrics.token";

/// What is compared: never the token itself, so that the time it takes tells nothing of it.
#[derive(Clone)]
pub(super) struct Token([u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Reads the token of this state folder; the first time, makes one.
    ///
    /// # Errors
    /// When the file can be read by others, holds none, or cannot be read or made.
    pub(super) fn of(state: &Path) -> anyhow::Result<Self> {
        let path = state.join(FILE);
        let place = path.display();
        let made = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match made {
            Ok(mut file) => {
                // 244 bits of the system's generator.
                let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
                writeln!(file, "{token}").with_context(|| format!("cannot write {place}"))?;
                Ok(Self::from(&token))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mut file =
                    std::fs::File::open(&path).with_context(|| format!("cannot read {place}"))?;
                let meta = file.metadata()?;
                let us = rustix::process::getuid().as_raw();
                if meta.mode() & 0o077 != 0 || meta.uid() != us {
                    anyhow::bail!(
                        "others may read the metrics' token in {place}\nhint: remove the file; the daemon makes another one"
                    );
                }
                let mut text = String::new();
                file.read_to_string(&mut text)
                    .with_context(|| format!("cannot read {place}"))?;
                if text.trim().len() < 16 {
                    anyhow::bail!(
                        "the metrics' token in {place} is shorter than 16 characters\nhint: remove the file; the daemon makes another one"
                    );
                }
                Ok(Self::from(text.trim()))
            }
            Err(error) => Err(error).with_context(|| format!("cannot make {place}")),
        }
    }

    fn from(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Whether an Authorization header's value has it.
    pub(super) fn is_in(&self, authorization: &[u8]) -> bool {
        // The scheme's case does not count (RFC 9110, 11.1).
        let Some((scheme, token)) = authorization.split_at_checked("Bearer ".len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"Bearer ") && Sha256::digest(token.trim_ascii())[..] == self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_is_made_once_and_asked_for_whole() {
        let folder = tempfile::tempdir().unwrap();
        let token = Token::of(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        let secret = text.trim();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let again = Token::of(folder.path()).unwrap();
        for token in [&token, &again] {
            assert!(token.is_in(format!("Bearer {secret}").as_bytes()));
            assert!(token.is_in(format!("bearer {secret}").as_bytes()));
            for wrong in [
                "",
                "Bearer",
                "Bearer ",
                "Basic x",
                secret,
                &format!("Bearer {}", &secret[1..]),
            ] {
                assert!(!token.is_in(wrong.as_bytes()), "{wrong}");
            }
            assert!(!format!("{token:?}").contains(secret));
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = Token::of(folder.path()).unwrap_err().to_string();
        assert!(error.contains("others may read"), "{error}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "short").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let error = Token::of(folder.path()).unwrap_err().to_string();
        assert!(error.contains("shorter than 16"), "{error}");
    }
}
