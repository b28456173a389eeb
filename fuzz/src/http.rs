//! HTTP/1.1 by its letters (RFC 9112), without liberties.

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its head, for whoever finds something wrong with it.
    pub head: String,
    /// Its method.
    pub method: String,
    /// Its target, as it came.
    pub target: Vec<u8>,
    /// What each `Host` says.
    pub hosts: Vec<String>,
    /// Its body.
    pub body: Vec<u8>,
}

/// One request from the front of `bytes`, and what follows it; `None` where it is cut off. Panics at what has no single
/// reading.
pub fn request(mut bytes: &[u8]) -> Option<(Request, &[u8])> {
    while let Some(after) = bytes.strip_prefix(b"\r\n") {
        bytes = after;
    }
    let end = find(bytes, b"\r\n\r\n")?;
    let head = latin(&bytes[..end]);
    let rest = &bytes[end + 4..];
    assert!(!head.contains('\0'), "{head:?}");
    let line = &bytes[..find(bytes, b"\r\n")?];
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else {
        panic!("{head:?}")
    };
    assert!(matches!(version, b"HTTP/1.1" | b"HTTP/1.0"), "{head:?}");
    let (mut length, mut chunked, mut hosts) = (None, false, Vec::new());
    for line in head.split("\r\n").skip(1) {
        assert!(!line.contains(['\r', '\n']), "{head:?}");
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{head:?}"));
        assert!(!name.is_empty() && !name.contains([' ', '\t']), "{head:?}");
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                assert!(
                    length.is_none() && value.bytes().all(|byte| byte.is_ascii_digit()),
                    "{head:?}"
                );
                length = Some(value.parse::<usize>().expect("a length"));
            }
            "transfer-encoding" => {
                assert!(
                    !chunked && value.eq_ignore_ascii_case("chunked") && version == b"HTTP/1.1",
                    "{head:?}"
                );
                chunked = true;
            }
            "host" => hosts.push(value.to_owned()),
            _ => {}
        }
    }
    assert!(
        hosts.len() < 2 && !(length.is_some() && chunked),
        "{head:?}"
    );
    let (body, rest) = match (length, chunked) {
        (_, true) => unchunk(rest)?,
        (length, false) => {
            let (body, rest) = rest.split_at_checked(length.unwrap_or(0))?;
            (body.to_vec(), rest)
        }
    };
    let request = Request {
        method: latin(method),
        target: target.to_vec(),
        head,
        hosts,
        body,
    };
    Some((request, rest))
}

/// A chunked body from the front of `rest`, and what follows it.
fn unchunk(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n")?;
        let line = latin(&rest[..end]);
        let digits = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{line:?}"));
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        let (chunk, after) = rest.split_at_checked(size)?;
        body.extend_from_slice(chunk);
        if after.len() < 2 {
            return None;
        }
        rest = after
            .strip_prefix(b"\r\n")
            .unwrap_or_else(|| panic!("{line:?}"));
    }
    let after = match rest.strip_prefix(b"\r\n") {
        Some(after) => after,
        None => &rest[find(rest, b"\r\n\r\n")? + 4..],
    };
    Some((body, after))
}

/// Where something is.
fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Each byte as a character.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
