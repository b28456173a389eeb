//! The per-launch secret of proxies that other programs of the machine can reach (macOS).

use srt_policy::Credentials;

use crate::handoff::basic;

/// Expected credentials; `Debug` hides them.
pub(crate) struct Token {
    secret: String,
    basic: String,
}

/// The user name that goes with the token in a proxy URL: `http://srt:TOKEN@127.0.0.1:PORT`.
const USER: &str = "srt";

impl Token {
    pub(crate) fn new(secret: String) -> Self {
        let basic = basic(&Credentials {
            user: USER.to_owned(),
            password: secret.clone(),
        });
        Self { secret, basic }
    }

    /// Whether a `Proxy-Authorization` value carries the token, as Basic or Bearer.
    pub(crate) fn admits_header(&self, value: &[u8]) -> bool {
        match value.strip_prefix(b"Bearer ") {
            Some(bearer) => same(bearer, self.secret.as_bytes()),
            None => same(value, self.basic.as_bytes()),
        }
    }

    /// Whether a SOCKS5 user name and password carry it (RFC 1929).
    pub(crate) fn admits_password(&self, user: &[u8], password: &[u8]) -> bool {
        same(user, USER.as_bytes()) & same(password, self.secret.as_bytes())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Compares in a time that depends on the lengths only, so that a guess learns nothing from how long it took.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .fold(0, |differ, (a, b)| differ | (a ^ b))
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    #[test]
    fn base64_as_in_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(BASE64_STANDARD.encode(plain), coded);
        }
    }

    #[test]
    fn admits_the_token_and_nothing_else() {
        let token = Token::new("s3cret".into());
        assert!(token.admits_header(b"Bearer s3cret"));
        assert!(token.admits_header(b"Basic c3J0OnMzY3JldA=="));
        assert!(token.admits_password(b"srt", b"s3cret"));
        for wrong in ["", "Bearer ", "Bearer s3creu", "Basic s3cret", "s3cret"] {
            assert!(!token.admits_header(wrong.as_bytes()), "{wrong}");
        }
        assert!(!token.admits_password(b"srt", b""));
        assert!(!token.admits_password(b"root", b"s3cret"));
        assert_eq!(format!("{token:?}"), "Token(hidden)");
    }
}
