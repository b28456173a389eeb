//! What a TLS client says in the clear before anything else: the server's name (SNI), and whether it hides another
//! (ECH).
//!
//! Read here and not by a library, because this is a decision and not a connection: those that parse TLS (tls-parser,
//! rustls's acceptor) let trailing bytes, doubled extensions or second names pass, ignore names that they do not like,
//! or refuse clients for reasons that are the server's. What two readers can take for two names must be no name at
//! all. RFC 8446, sections 4.1.2, 4.2 and 5.1; RFC 6066, section 3; RFC 9849, section 5; RFC 5246, appendix E.2.

/// The most bytes that a ClientHello may take, records' heads included. With post-quantum keys it has two thousand.
pub(crate) const MOST: usize = 16 * 1024;

const RECORD_HEAD: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// RFC 9849, section 5.
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
/// Its forerunner, draft-ietf-tls-esni up to -06: an encrypted server name.
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Not yet clear: more are needed.
    More,
    /// No TLS.
    Other,
    /// A whole ClientHello.
    Hello(ClientHello),
    /// TLS by its first byte, and then not a ClientHello that can be read in one way only.
    Malformed(&'static str),
}

/// What policy asks of a ClientHello.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientHello {
    /// The name in SNI, as sent.
    pub(crate) name: Option<Vec<u8>>,
    /// Whether it carries an encrypted ClientHello, or a made-up one (GREASE): nobody but the server can tell.
    pub(crate) encrypted: bool,
}

/// Reads what has arrived so far.
pub(crate) fn read(bytes: &[u8]) -> First {
    match bytes.first() {
        None => First::More,
        Some(&HANDSHAKE) => match message(bytes) {
            Ok(Some(body)) => match hello(&body) {
                Some(Ok(hello)) => First::Hello(hello),
                Some(Err(why)) => First::Malformed(why),
                None => First::Malformed("its lengths do not fit"),
            },
            Ok(None) if bytes.len() >= MOST => First::Malformed("it is longer than 16 KiB"),
            Ok(None) => First::More,
            Err(why) => First::Malformed(why),
        },
        // The form of SSL 2, in which some servers still take a ClientHello; it cannot name a server.
        Some(first) if first & 0x80 != 0 => match bytes {
            [_, _, CLIENT_HELLO, 3, _, ..] => First::Hello(ClientHello::default()),
            [_] | [_, _] | [_, _, CLIENT_HELLO] | [_, _, CLIENT_HELLO, 3] => First::More,
            _ => First::Other,
        },
        // A record of TLS that no client begins with: some servers pass over an alert, or a change of ciphers, and
        // take what follows for the beginning.
        Some(&(20..=24)) => match bytes {
            [_] | [_, 3] => First::More,
            [_, 3, 0..=4, ..] => First::Malformed("another record comes before it"),
            _ => First::Other,
        },
        Some(_) => First::Other,
    }
}

/// The body of the handshake message that the records carry, once it is complete.
fn message(bytes: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        let [kind, _major, _minor, high, low, after @ ..] = rest else {
            // A record of another kind in between is one no matter how little of it there is.
            return match rest.first() {
                Some(&kind) if kind != HANDSHAKE => Err("another record comes in between"),
                _ => Ok(None),
            };
        };
        if *kind != HANDSHAKE {
            return Err("another record comes in between");
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length == 0 {
            return Err("it has an empty record");
        }
        if length > 1 << 14 {
            return Err("a record is longer than 16 KiB");
        }
        let held = after.len().min(length);
        message.extend_from_slice(&after[..held]);
        if let [kind, ..] = message[..]
            && kind != CLIENT_HELLO
        {
            return Err("the first message is another");
        }
        if let [_, a, b, c, body @ ..] = &message[..] {
            let wanted = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if wanted > MOST {
                return Err("it is longer than 16 KiB");
            }
            // What follows in the same record would be a second message, which no client sends here.
            match body.len().cmp(&wanted) {
                std::cmp::Ordering::Greater => return Err("another message follows it"),
                std::cmp::Ordering::Equal if held == length => return Ok(Some(body.to_vec())),
                std::cmp::Ordering::Equal => return Err("another message follows it"),
                std::cmp::Ordering::Less => {}
            }
        }
        if held < length {
            return Ok(None);
        }
        rest = &rest[RECORD_HEAD + length..];
    }
}

/// `None` where a length leads beyond the end, or something is left over.
fn hello(body: &[u8]) -> Option<Result<ClientHello, &'static str>> {
    let mut body = Reader(body);
    let _version = body.take(2)?;
    let _random = body.take(32)?;
    let session = body.counted8()?;
    let suites = body.counted16()?;
    let compression = body.counted8()?;
    if session.len() > 32 || suites.is_empty() || suites.len() % 2 != 0 || compression.is_empty() {
        return None;
    }
    let mut found = ClientHello::default();
    // Before TLS 1.3 there may be none.
    if body.0.is_empty() {
        return Some(Ok(found));
    }
    let mut extensions = Reader(body.counted16()?);
    if !body.0.is_empty() {
        return None;
    }
    let mut seen = Vec::new();
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let data = extensions.counted16()?;
        seen.push(kind);
        match kind {
            SERVER_NAME => match server_name(data)? {
                Ok(name) => found.name = Some(name),
                Err(why) => return Some(Err(why)),
            },
            ENCRYPTED_CLIENT_HELLO | ENCRYPTED_SERVER_NAME => found.encrypted = true,
            _ => {}
        }
    }
    seen.sort_unstable();
    if seen.windows(2).any(|pair| pair[0] == pair[1]) {
        return Some(Err("an extension is there twice"));
    }
    Some(Ok(found))
}

fn server_name(data: &[u8]) -> Option<Result<Vec<u8>, &'static str>> {
    let mut data = Reader(data);
    let mut list = Reader(data.counted16()?);
    if !data.0.is_empty() {
        return None;
    }
    let [kind] = list.take(1)? else { return None };
    if *kind != HOST_NAME {
        return Some(Err("its server name is of an unknown kind"));
    }
    let name = list.counted16()?;
    if !list.0.is_empty() {
        return Some(Err("it names more than one server"));
    }
    Some(Ok(name.to_vec()))
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*number))
    }

    fn counted8(&mut self) -> Option<&'a [u8]> {
        let [count] = self.take(1)? else { return None };
        self.take(usize::from(*count))
    }

    fn counted16(&mut self) -> Option<&'a [u8]> {
        let count = self.number()?;
        self.take(usize::from(count))
    }
}

#[cfg(test)]
mod tests;
