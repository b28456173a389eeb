//! What a tunnel may begin with: the first bytes of a client are held back until they are judged.
//!
//! A permit is for a name, and what decides which site of a server answers is not the address but the name inside: SNI
//! in TLS, Host in plain HTTP. Either must be the one that was permitted. Of all but HTTP only the first message of the
//! client is looked at: a protocol that begins in the clear and turns to TLS later (STARTTLS, PostgreSQL's SSLRequest)
//! is not. Where Host is to be looked at, it is that of each request ([`requests`]).

pub(crate) mod clienthello;
pub(crate) mod requests;

use srt_policy::{Denial, Host, Permit, RequestRules, Target};

use crate::http::{Framing, framing};
use clienthello::{ClientHello, First};

/// The most that a client may say before it is judged.
pub(crate) const MOST: usize = clienthello::MOST;

/// RFC 8446, section 6.2.
const ACCESS_DENIED: u8 = 49;
const UNRECOGNIZED_NAME: u8 = 112;

/// What the first bytes lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// Not yet clear: more are needed.
    More,
    /// They may pass, and all that follows.
    Pass,
    /// They begin with the head of a request, which may pass; what follows is to be judged, too.
    Request(Request),
    /// They may not.
    Refused(Box<Refusal>),
}

/// A request in plain HTTP whose head may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The bytes of its head.
    pub(crate) bytes: usize,
    /// Where its body ends.
    pub(crate) body: Framing,
    /// It offers to go on with another protocol, one that names no host.
    pub(crate) may_switch: bool,
}

/// A tunnel that ends early, most before they began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// For the record.
    pub(crate) denial: Denial,
    /// For the client, in its own protocol.
    pub(crate) reply: Vec<u8>,
}

/// Judges what has arrived so far.
pub(crate) fn judge(bytes: &[u8], permit: &Permit, rules: &RequestRules) -> Judged {
    match clienthello::read(bytes) {
        First::More => Judged::More,
        First::Hello(hello) => judge_hello(&hello, permit),
        First::Malformed(why) => malformed(permit, why),
        First::Other if rules.require_host_match => judge_request(bytes, permit.target(), true),
        First::Other => Judged::Pass,
    }
}

/// What it comes to when the client falls silent, or ends, before it is clear.
pub(crate) fn unfinished(bytes: &[u8], permit: &Permit) -> Judged {
    match clienthello::read(bytes) {
        First::More if !bytes.is_empty() => malformed(permit, "it did not arrive in time"),
        First::Other => wrong_host(
            permit.target(),
            "the request's head did not arrive in time".to_owned(),
        ),
        _ => Judged::Pass,
    }
}

fn judge_hello(hello: &ClientHello, permit: &Permit) -> Judged {
    let target = permit.target();
    if hello.encrypted && permit.refuses_ech() {
        let why = "the TLS ClientHello is encrypted (ECH), and tls.ech is \"refuse\"";
        return refused(target, why.to_owned(), alert(ACCESS_DENIED));
    }
    // An address has no name that SNI could contradict.
    let Host::Name(permitted) = &target.host else {
        return Judged::Pass;
    };
    let Some(name) = &hello.name else {
        if permit.requires_sni() {
            let why =
                format!("TLS names no server (SNI), and for {permitted} it must (tls.requireSni)");
            return refused(target, why, alert(UNRECOGNIZED_NAME));
        }
        return Judged::Pass;
    };
    let name = String::from_utf8_lossy(name);
    match Host::parse(&name) {
        Ok(named) if named == target.host => Judged::Pass,
        _ => {
            let name: String = name.chars().take(253).collect();
            let why = format!("TLS names the server {name:?} (SNI), and {permitted} was permitted");
            refused(target, why, alert(UNRECOGNIZED_NAME))
        }
    }
}

/// A ClientHello that a server may read otherwise than we do could name any server.
fn malformed(permit: &Permit, why: &str) -> Judged {
    let target = permit.target();
    match target.host {
        Host::Ip(_) if !permit.refuses_ech() => Judged::Pass,
        Host::Ip(_) | Host::Name(_) => {
            let why = format!("the TLS ClientHello cannot be read: {why}");
            refused(target, why, alert(ACCESS_DENIED))
        }
    }
}

/// A request of a tunnel in plain HTTP, under `network.requireHostMatch`. What is no request may pass as the `first` words
/// of a client.
fn judge_request(bytes: &[u8], target: &Target, first: bool) -> Judged {
    const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if bytes.starts_with(HTTP2) {
        let why = "HTTP/2 in plain text hides its host, and network.requireHostMatch is set";
        return wrong_host(target, why.to_owned());
    }
    if HTTP2.starts_with(bytes) {
        return Judged::More;
    }
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < MOST => return Judged::More,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            let why = "the request's head is longer than 16 KiB or has more than 128 lines";
            return wrong_host(target, why.to_owned());
        }
        Err(error) => {
            let unread = || wrong_host(target, format!("the request cannot be read: {error}"));
            return match words(bytes) {
                _ if !first => unread(),
                Words::Line if bytes.len() < MOST => Judged::More,
                // A server may be more patient with what begins as HTTP does and then does not go on so.
                Words::Line | Words::Http => unread(),
                Words::Other => Judged::Pass,
            };
        }
    };
    if let Err(why) = judge_hosts(&request, target) {
        return wrong_host(target, why);
    }
    let body = match framing(&bytes[..length], &request) {
        Ok(body) => body,
        Err(flaw) => {
            return wrong_host(target, format!("the request cannot be read: {}", flaw.why));
        }
    };
    Judged::Request(Request {
        bytes: length,
        body,
        may_switch: first && may_switch(request.headers),
    })
}

/// Whether each host that a request names is the target's.
fn judge_hosts(request: &httparse::Request<'_, '_>, target: &Target) -> Result<(), String> {
    let mut hosts = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("host"));
    let authority = match request.method {
        Some("CONNECT") => request.path,
        _ => request.path.and_then(absolute),
    };
    let named = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err("the request has more than one Host".to_owned()),
        (Some(host), None) => host.value,
        (None, None) => return Err("the request has no Host".to_owned()),
    };
    for named in [Some(named), authority.map(str::as_bytes)]
        .into_iter()
        .flatten()
    {
        if !is_target(named, target) {
            let named: String = String::from_utf8_lossy(named).chars().take(253).collect();
            return Err(format!(
                "the request is for the host {named:?}, and {target} was permitted"
            ));
        }
    }
    Ok(())
}

/// Whether a request offers one protocol that would have no host of its own, such as `websocket`. HTTP/2 and TLS do.
fn may_switch(headers: &[httparse::Header<'_>]) -> bool {
    let mut offers = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("upgrade"));
    let (Some(offer), None) = (offers.next(), offers.next()) else {
        return false;
    };
    let names_hosts = |name: &[u8]| {
        let is = |prefix: &[u8]| {
            name.get(..prefix.len())
                .is_some_and(|front| front.eq_ignore_ascii_case(prefix))
        };
        is(b"h2") || is(b"http") || is(b"tls")
    };
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._/".contains(byte);
    !offer.value.is_empty() && offer.value.iter().all(token) && !names_hosts(offer.value)
}

/// What a client's first words are, where they are no request that we could read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    /// The first line is not at its end.
    Line,
    /// It has HTTP's name in it, as every request's has since version 1.0.
    Http,
    /// Another protocol's.
    Other,
}

fn words(bytes: &[u8]) -> Words {
    // Servers pass over empty lines before a request (RFC 9112, section 2.2).
    let empty = |byte: &&u8| matches!(byte, b'\r' | b'\n');
    let text = &bytes[bytes.iter().take_while(empty).count()..];
    let Some(first) = text.first() else {
        return Words::Line;
    };
    // What is no text: protocols that count lengths, whose lines would never end.
    let is_text = matches!(first, b'\t' | b' '..=b'~');
    let zero = text.iter().take(8).position(|byte| *byte == 0);
    let name = |part: &[u8]| part.eq_ignore_ascii_case(b"HTTP/");
    let named_before = |zero: usize| text[..zero].windows(5).any(name);
    if !is_text || zero.is_some_and(|zero| !named_before(zero)) {
        return Words::Other;
    }
    // Not to a carriage return alone: there are readers to which it is a blank.
    let end = text.iter().position(|byte| *byte == b'\n');
    let line = &text[..end.unwrap_or(text.len())];
    match (line.windows(5).any(name), end) {
        (true, _) => Words::Http,
        (false, None) => Words::Line,
        (false, Some(_)) => Words::Other,
    }
}

/// The authority of a target in absolute form.
fn absolute(path: &str) -> Option<&str> {
    let (_scheme, rest) = path.split_once("://").filter(|_| !path.starts_with('/'))?;
    Some(rest.split(['/', '?', '#']).next().unwrap_or_default())
}

/// Whether a Host names this host and port; without a port it is HTTP's own. What has two readings names nothing.
fn is_target(named: &[u8], target: &Target) -> bool {
    let read = || {
        let (host, port) = crate::http::authority(std::str::from_utf8(named).ok()?)?;
        Some((Host::parse(host).ok()?, port.unwrap_or(80)))
    };
    read().is_some_and(|(host, port)| host.means(&target.host) && port == target.port)
}

fn wrong_host(target: &Target, why: String) -> Judged {
    let mut judged = refused(target, why, Vec::new());
    if let Judged::Refused(refusal) = &mut judged {
        let text = crate::refusal_text(&refusal.denial);
        refusal.reply = format!(
            "HTTP/1.1 421 Misdirected Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nX-Proxy-Error: blocked-by-srt\r\nConnection: close\r\n\r\n{text}",
            text.len()
        )
        .into_bytes();
    }
    judged
}

fn refused(target: &Target, why: String, reply: Vec<u8>) -> Judged {
    let denial = crate::refusal::without_rule(target.to_string(), why);
    Judged::Refused(Box::new(Refusal { denial, reply }))
}

/// A fatal alert (RFC 8446, section 6) in a record of its own.
fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a patient server may read as a request for another host passes in no piece of it.
    #[test]
    fn a_request_that_cannot_be_read_does_not_pass_however_it_is_cut() {
        let target = Target {
            host: Host::Name("a.test".to_owned()),
            port: 80,
        };
        for line in [
            "GET  / HTTP/1.1",
            " GET / HTTP/1.1",
            "\r\n\r\nGET  / HTTP/1.1",
            "GET /\u{1} HTTP/1.1",
            "GET\r/ HTTP/1.1",
            "G@T / HTTP/1.1",
            "GET / HTTP/11.",
            "GET / x HTTP/1.1",
        ] {
            let whole = format!("{line}\r\nHost: b.test\r\n\r\n");
            for end in 1..=whole.len() {
                let judged = judge_request(&whole.as_bytes()[..end], &target, true);
                let held = matches!(judged, Judged::More | Judged::Refused(_));
                assert!(held, "{end} of {whole:?}: {judged:?}");
            }
            let judged = judge_request(whole.as_bytes(), &target, true);
            assert!(
                matches!(judged, Judged::Refused(_)),
                "{whole:?}: {judged:?}"
            );
        }
    }

    #[test]
    fn what_is_no_http_passes_at_once_or_at_its_lines_end() {
        let target = Target {
            host: Host::Name("a.test".to_owned()),
            port: 80,
        };
        for (first, passes) in [
            (&b"SSH-2.0-x\r\n"[..], true),
            (b"*1\r\n$4\r\nPING\r\n", true),
            (b"\x10\x0c\0\x04MQTT", true),
            (b"AMQP\0\0\x09\x01", true),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", true),
            // MongoDB: a length, whose first byte is a letter here.
            (b"A\0\0\0\x01\0\0\0", true),
            (b"\x13BitTorrent protocol", true),
            (b"(GET", false),
        ] {
            let judged = judge_request(first, &target, true);
            assert_eq!(judged == Judged::Pass, passes, "{first:?}: {judged:?}");
        }
    }
}
