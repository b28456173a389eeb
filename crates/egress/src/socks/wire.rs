//! The bytes of RFC 1928 and RFC 1929, read from a bounded buffer.
//!
//! Each reader takes what has arrived so far and answers `None` while more is needed; the lengths are in the
//! messages' own single bytes, so none can ask for more than a few hundred.

use std::net::IpAddr;

/// The most that one message can hold: user name and password.
pub(crate) const MOST: usize = 513;

/// No authentication.
pub(crate) const NO_AUTH: u8 = 0;
/// User name and password.
pub(crate) const PASSWORD: u8 = 2;

/// Reply codes of RFC 1928, section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reply {
    Succeeded = 0,
    NotAllowed = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    ConnectionRefused = 5,
    CommandNotSupported = 7,
    AddressNotSupported = 8,
}

impl Reply {
    /// The whole reply. The bound address is of no use to a client of CONNECT and would tell it about the host.
    pub(crate) fn bytes(self) -> [u8; 10] {
        [5, self as u8, 0, 1, 0, 0, 0, 0, 0, 0]
    }
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Not version 5 (or 1, of the password exchange).
    Version,
    /// An empty list of methods.
    NoMethods,
    /// A command other than CONNECT.
    Command,
    /// An unknown kind of address.
    AddressKind,
}

/// The host of a request, as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    Ip(IpAddr),
    Name(&'a [u8]),
}

/// Whether a method is offered by a greeting, and the greeting's length.
pub(crate) fn greeting(bytes: &[u8], method: u8) -> Result<Option<(bool, usize)>, Malformed> {
    let Some((&version, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if version != 5 {
        return Err(Malformed::Version);
    }
    let Some((&count, rest)) = rest.split_first() else {
        return Ok(None);
    };
    if count == 0 {
        return Err(Malformed::NoMethods);
    }
    Ok(rest
        .get(..usize::from(count))
        .map(|methods| (methods.contains(&method), 2 + methods.len())))
}

/// User name and password, and their message's length.
#[allow(clippy::type_complexity, reason = "named in the line above")]
pub(crate) fn credentials(bytes: &[u8]) -> Result<Option<(&[u8], &[u8], usize)>, Malformed> {
    let Some((&version, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if version != 1 {
        return Err(Malformed::Version);
    }
    let Some((user, rest)) = counted(rest) else {
        return Ok(None);
    };
    let Some((password, _)) = counted(rest) else {
        return Ok(None);
    };
    Ok(Some((user, password, 3 + user.len() + password.len())))
}

/// The host and port of a CONNECT request, and its length.
#[allow(clippy::type_complexity, reason = "named in the line above")]
pub(crate) fn request(bytes: &[u8]) -> Result<Option<(Wanted<'_>, u16, usize)>, Malformed> {
    let Some((&version, _)) = bytes.split_first() else {
        return Ok(None);
    };
    if version != 5 {
        return Err(Malformed::Version);
    }
    let [_, command, _reserved, kind, rest @ ..] = bytes else {
        return Ok(None);
    };
    if *command != 1 {
        return Err(Malformed::Command);
    }
    let found = match kind {
        1 => rest
            .split_first_chunk::<4>()
            .map(|(v4, rest)| (Wanted::Ip(IpAddr::from(*v4)), rest)),
        4 => rest
            .split_first_chunk::<16>()
            .map(|(v6, rest)| (Wanted::Ip(IpAddr::from(*v6)), rest)),
        3 => counted(rest).map(|(name, rest)| (Wanted::Name(name), rest)),
        _ => return Err(Malformed::AddressKind),
    };
    let Some((wanted, rest)) = found else {
        return Ok(None);
    };
    Ok(rest
        .split_first_chunk::<2>()
        .map(|(port, rest)| (wanted, u16::from_be_bytes(*port), bytes.len() - rest.len())))
}

/// A field that its own first byte measures, and what follows it.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings() {
        let check =
            |bytes: &[u8], expected| assert_eq!(greeting(bytes, NO_AUTH), expected, "{bytes:?}");
        check(b"", Ok(None));
        check(b"\x05", Ok(None));
        check(b"\x05\x02\x00", Ok(None));
        check(b"\x05\x01\x00", Ok(Some((true, 3))));
        check(b"\x05\x02\x02\x00tail", Ok(Some((true, 4))));
        check(b"\x05\x01\x02", Ok(Some((false, 3))));
        check(b"\x05\x00", Err(Malformed::NoMethods));
        check(b"\x04\x01\x00\x50", Err(Malformed::Version));
        check(b"GET / HTTP/1.1", Err(Malformed::Version));
    }

    #[test]
    fn passwords() {
        assert_eq!(
            credentials(b"\x01\x03srt\x02ab\x05"),
            Ok(Some((&b"srt"[..], &b"ab"[..], 8)))
        );
        assert_eq!(
            credentials(b"\x01\x00\x00"),
            Ok(Some((&b""[..], &b""[..], 3)))
        );
        for end in 0..8 {
            assert_eq!(credentials(&b"\x01\x03srt\x02ab"[..end]), Ok(None), "{end}");
        }
        assert_eq!(credentials(b"\x05\x01\x00"), Err(Malformed::Version));
        let longest = [&[1, 255][..], &[7; 255], &[255], &[7; 255]].concat();
        assert_eq!(longest.len(), MOST);
        assert!(credentials(&longest).unwrap().is_some());
    }

    #[test]
    fn requests() {
        let check = |bytes: &[u8], expected| assert_eq!(request(bytes), expected, "{bytes:?}");
        let v4 = Wanted::Ip([10, 0, 0, 1].into());
        let v6 = Wanted::Ip("2001:db8::1".parse().unwrap());
        check(
            b"\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50rest",
            Ok(Some((v4, 80, 10))),
        );
        check(
            b"\x05\x01\x00\x03\x06a.test\x01\xbb",
            Ok(Some((Wanted::Name(b"a.test"), 443, 13))),
        );
        check(
            b"\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x16",
            Ok(Some((v6, 22, 22))),
        );
        check(
            b"\x05\x01\x00\x03\x00\x01\xbb",
            Ok(Some((Wanted::Name(b""), 443, 7))),
        );
        check(b"\x05\x02\x00\x01", Err(Malformed::Command));
        check(b"\x05\x03\x00\x01", Err(Malformed::Command));
        check(b"\x05\x01\x00\x02", Err(Malformed::AddressKind));
        check(b"\x04\x01", Err(Malformed::Version));
        for end in 0..13 {
            check(&b"\x05\x01\x00\x03\x06a.test\x01\xbb"[..end], Ok(None));
        }
    }
}
