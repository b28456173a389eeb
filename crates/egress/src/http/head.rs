//! The head of a request as it came over the wire, looked at before hyper reads it.
//!
//! hyper mends some of what can be read in two ways (a Content-Length beside a Transfer-Encoding, a line that ends in
//! a bare LF, a fragment) and refuses the rest without a word. Both ends of a chain of proxies must read a message
//! alike (RFC 9112, section 11.2), so whatever has two readings is refused here, with the reason. The parsing is
//! httparse's, which is hyper's own parser, and http's; this module only judges what they found.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use http::{StatusCode, Uri};
use httparse::{Header, Status};

use super::target;

/// The most headers of one request, and the most fields of one trailer; hyper's own bound.
const MOST_HEADERS: usize = 100;
/// The most bytes of a line that says how long a chunk is, its extensions included.
const MOST_CHUNK_LINE: usize = 1024;
/// The most bytes of a trailer; hyper's own bound.
const MOST_TRAILER: usize = 16 * 1024;
/// How much of a bad target is shown.
const MOST_SHOWN: usize = 120;

/// What is wrong with a request, so that no server gets to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(super) status: StatusCode,
    /// For `X-Proxy-Error`.
    pub(super) kind: &'static str,
    /// What was asked for, as far as it can be shown.
    pub(super) subject: String,
    pub(crate) why: Cow<'static, str>,
    /// It was a CONNECT.
    pub(super) connect: bool,
    /// Nobody can say where the next request begins.
    pub(super) ends_connection: bool,
}

impl Flaw {
    pub(super) fn new(why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "bad-request",
            subject: String::new(),
            why: why.into(),
            connect: false,
            ends_connection: false,
        }
    }

    fn too_large(why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            kind: "request-too-large",
            ..Self::new(why)
        }
    }

    /// The same, of a request for `target`.
    pub(super) fn of(mut self, connect: bool, target: &[u8]) -> Self {
        self.connect = connect;
        let shown = &target[..target.len().min(MOST_SHOWN)];
        self.subject = shown.escape_ascii().to_string();
        self
    }
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
}

/// A head that has one reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its bytes, blank lines before it and the one after it included.
    pub(super) bytes: usize,
    pub(super) body: Framing,
    /// What follows may not be HTTP: CONNECT, or an Upgrade is offered.
    pub(super) may_switch: bool,
}

/// Reads the head at the start of `bytes`; `None` where its end is not there yet. `seen` bytes were there the last
/// time, so that a head that trickles in is not read again with each byte.
pub(super) fn read(bytes: &[u8], seen: usize, most: usize) -> Result<Option<Head>, Flaw> {
    // What cannot become a request is refused with its first bytes; after that, only an end is waited for.
    if seen > 0 && !has_end(bytes, seen) {
        return match bytes.len() > most {
            true => Err(too_long(most)),
            false => Ok(None),
        };
    }
    let mut headers = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() > most => return Err(too_long(most)),
        Ok(Status::Partial) => return Ok(None),
        Err(error) => {
            let connect = request.method == Some("CONNECT");
            let target = request.path.unwrap_or_default().as_bytes();
            return Err(explain(bytes, 1, error).of(connect, target));
        }
    };
    let connect = request.method == Some("CONNECT");
    let target = request.path.unwrap_or_default();
    let judged = if length > most {
        Err(too_long(most))
    } else {
        only_whole_line_ends(&bytes[..length])
            .and_then(|()| judge_target(connect, target))
            .and_then(|()| judge_headers(connect, request.version == Some(1), request.headers))
    };
    let (body, upgrade) = judged.map_err(|flaw| flaw.of(connect, target.as_bytes()))?;
    Ok(Some(Head {
        bytes: length,
        body,
        may_switch: connect || upgrade,
    }))
}

/// How the body of a request ends that is not this proxy's to answer, by the same measure; `head` is whole.
pub(crate) fn framing(head: &[u8], request: &httparse::Request<'_, '_>) -> Result<Framing, Flaw> {
    only_whole_line_ends(head)?;
    let connect = request.method == Some("CONNECT");
    let (body, _upgrade) = judge_headers(connect, request.version == Some(1), request.headers)?;
    Ok(body)
}

fn too_long(most: usize) -> Flaw {
    Flaw::too_large(format!(
        "the request's head is longer than {most} bytes; send less in its headers"
    ))
}

/// Whether a blank line ends in what is new.
fn has_end(bytes: &[u8], seen: usize) -> bool {
    let new = &bytes[seen.saturating_sub(3).min(bytes.len())..];
    new.windows(2).any(|pair| pair == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n")
}

/// RFC 9112, section 2.2: a lone LF may be taken for a line's end, and need not be.
fn only_whole_line_ends(head: &[u8]) -> Result<(), Flaw> {
    let mut lines = head.split(|byte| *byte == b'\n');
    // What follows the last one is nothing.
    lines.next_back();
    if lines.all(|line| line.last() == Some(&b'\r')) {
        return Ok(());
    }
    Err(Flaw::new("a line ends in LF alone; lines end in CR LF"))
}

fn judge_target(connect: bool, target: &str) -> Result<(), Flaw> {
    if target.contains('#') {
        return Err(Flaw::new(
            "the target has a fragment (#), which is no part of a request",
        ));
    }
    let uri = Uri::try_from(target).map_err(|_error| {
        let after_scheme = target.split_once("://").map_or(target, |(_, rest)| rest);
        let authority = match connect {
            true => target,
            false => after_scheme.split(['/', '?']).next().unwrap_or_default(),
        };
        target::authority(authority, connect)
            .err()
            .unwrap_or_else(|| Flaw::new("the target is not a URI (RFC 3986)"))
    })?;
    target::of_uri(connect, &uri).map(drop)
}

fn judge_headers(
    connect: bool,
    http_11: bool,
    headers: &[Header<'_>],
) -> Result<(Framing, bool), Flaw> {
    let mut hosts = 0;
    let mut length = None;
    let mut coded = false;
    let mut upgrade = false;
    for Header { name, value } in headers {
        if name.eq_ignore_ascii_case("host") {
            hosts += 1;
            if hosts > 1 {
                return Err(Flaw::new("several Host headers"));
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            if length.is_some() {
                return Err(Flaw::new("several Content-Length headers"));
            }
            length = Some(read_length(value).ok_or_else(|| {
                let shown = value[..value.len().min(MOST_SHOWN)].escape_ascii();
                Flaw::new(format!("Content-Length \"{shown}\" is not a number"))
            })?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if coded {
                return Err(Flaw::new("several Transfer-Encoding headers"));
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                let shown = value[..value.len().min(MOST_SHOWN)].escape_ascii();
                return Err(Flaw::new(format!(
                    "Transfer-Encoding \"{shown}\"; only \"chunked\", once, is understood"
                )));
            }
            coded = true;
        } else if name.eq_ignore_ascii_case("upgrade") {
            upgrade = true;
        }
    }
    let body = match (length, coded) {
        (Some(_), true) => {
            return Err(Flaw::new(
                "both Content-Length and Transfer-Encoding: the body has two ends",
            ));
        }
        (_, true) if !http_11 => {
            return Err(Flaw::new("Transfer-Encoding in HTTP/1.0, which has none"));
        }
        (None, true) => Framing::Chunked,
        (length, false) => Framing::Length(length.unwrap_or(0)),
    };
    if connect && body != Framing::Length(0) {
        return Err(Flaw::new(
            "CONNECT with a body; what follows it is the tunnel",
        ));
    }
    Ok((body, upgrade))
}

/// Digits only (RFC 9110, section 8.6), and no list: not even of the same number twice.
fn read_length(value: &[u8]) -> Option<u64> {
    // hyper keeps the highest few numbers for itself; a body of a fifth of that is none either.
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// What httparse found, in words that tell where to look. So many lines come `before` the first field.
fn explain(bytes: &[u8], before: usize, error: httparse::Error) -> Flaw {
    let has_line =
        |test: &dyn Fn(&[u8]) -> bool| bytes.split(|byte| *byte == b'\n').skip(before).any(test);
    let folded = |line: &[u8]| matches!(line, [b' ' | b'\t', ..]);
    let spaced = |line: &[u8]| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        name.iter().any(|byte| matches!(byte, b' ' | b'\t'))
    };
    match error {
        httparse::Error::TooManyHeaders => Flaw::too_large(format!(
            "more than {MOST_HEADERS} headers; send fewer of them"
        )),
        httparse::Error::HeaderName if has_line(&folded) => Flaw::new(
            "a header goes on in a second line that begins with white space (obsolete line folding)",
        ),
        httparse::Error::HeaderName if has_line(&spaced) => {
            Flaw::new("white space before the colon of a header")
        }
        _ if bytes.contains(&0) => Flaw::new("the request's head has a NUL"),
        httparse::Error::HeaderName => Flaw::new("a header's name has characters that no name has"),
        httparse::Error::HeaderValue => {
            Flaw::new("a header's value has a control character, or a CR alone")
        }
        httparse::Error::NewLine => Flaw::new("a line ends in CR alone; lines end in CR LF"),
        httparse::Error::Version => Flaw::new(
            "the request's line does not end in HTTP/1.1 or HTTP/1.0 after one space and no other",
        ),
        httparse::Error::Token | httparse::Error::Status => {
            Flaw::new("not an HTTP request: this port is an HTTP proxy")
        }
    }
}

/// Reads the line that says how long the next chunk is: its own length, and the chunk's. `None` where its end is not
/// there yet.
pub(super) fn chunk(bytes: &[u8]) -> Result<Option<(usize, u64)>, Flaw> {
    let bad =
        || Flaw::new("the size of a chunk is not a hexadecimal number at the start of a line");
    // httparse takes an empty line for a zero, and white space after the number for nothing (RFC 9112, section 7.1
    // has neither).
    let digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    match bytes.get(digits) {
        None if digits <= 16 => return Ok(None),
        Some(b'\r' | b';') if digits > 0 => {}
        _ => return Err(bad()),
    }
    match httparse::parse_chunk_size(bytes) {
        Ok(Status::Complete((line, size))) => {
            let extensions = &bytes[digits..line.saturating_sub(2)];
            match extensions
                .iter()
                .any(|byte| matches!(byte, b'\r' | b'\n' | 0))
            {
                true => Err(bad()),
                false if line > MOST_CHUNK_LINE => Err(Flaw::new("a chunk's line is too long")),
                false => Ok(Some((line, size))),
            }
        }
        Ok(Status::Partial) if bytes.len() > MOST_CHUNK_LINE => {
            Err(Flaw::new("a chunk's line is too long"))
        }
        Ok(Status::Partial) => Ok(None),
        Err(_) => Err(bad()),
    }
}

/// Reads the trailer after the last chunk, to its blank line; `None` where that is not there yet.
pub(super) fn trailer(bytes: &[u8], seen: usize) -> Result<Option<usize>, Flaw> {
    if bytes.len() >= 2 && &bytes[..2] == b"\r\n" {
        return Ok(Some(2));
    }
    let too_long = || Flaw::too_large("the trailer is longer than 16 KiB");
    if seen > 0 && !has_end(bytes, seen) {
        return match bytes.len() > MOST_TRAILER {
            true => Err(too_long()),
            false => Ok(None),
        };
    }
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    match httparse::parse_headers(bytes, &mut headers) {
        Ok(Status::Complete((length, fields))) => {
            if length >= MOST_TRAILER {
                return Err(too_long());
            }
            only_whole_line_ends(&bytes[..length])?;
            // RFC 9110, section 6.5.1: what says where the message ends or goes has no place behind it.
            for Header { name, .. } in fields {
                for barred in ["content-length", "transfer-encoding", "host"] {
                    if name.eq_ignore_ascii_case(barred) {
                        return Err(Flaw::new(format!("{barred} in a trailer")));
                    }
                }
            }
            Ok(Some(length))
        }
        Ok(Status::Partial) if bytes.len() > MOST_TRAILER => Err(too_long()),
        Ok(Status::Partial) => Ok(None),
        Err(error) => Err(explain(bytes, 0, error)),
    }
}
