//! The smallest HTTP/1.1 GET that can go through a proxy.
//!
//! Written out by hand so that what goes over the wire is known: absolute form to a proxy, origin form without.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long the whole exchange may take.
const EXCHANGE: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const ANSWER: u64 = 64 * 1024;
/// How much of a body is shown.
const BODY: usize = 400;

/// What came back, as far as a person wants to know.
pub(crate) struct Response {
    /// The status line without the protocol: `200 OK`.
    status: String,
    /// The `X-Proxy-Error` header.
    proxy_error: Option<String>,
    /// The first bytes of the body.
    body: String,
}

impl Response {
    /// Whether the status is one of success.
    pub(crate) fn succeeded(&self) -> bool {
        self.status.starts_with('2')
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "status: {}", self.status)?;
        if let Some(reason) = &self.proxy_error {
            writeln!(f, "X-Proxy-Error: {reason}")?;
        }
        write!(f, "{}", self.body)
    }
}

/// Fetches `url`, through `proxy` (`http://HOST:PORT`) where there is one.
pub(crate) async fn get(url: &str, proxy: Option<&str>) -> io::Result<Response> {
    tokio::time::timeout(EXCHANGE, exchange(url, proxy))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))?
}

/// Splits `http://AUTHORITY/PATH` into authority and path.
fn split(url: &str) -> io::Result<(&str, &str)> {
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| io::Error::other(format!("{url} does not begin with http://")))?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    Ok((authority, if path.is_empty() { "/" } else { path }))
}

/// Adds the port of http:// where none is given. A colon inside brackets is no port's.
fn with_port(authority: &str) -> String {
    let after_brackets = authority.rfind(']').unwrap_or(0);
    if authority[after_brackets..].contains(':') {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    }
}

async fn exchange(url: &str, proxy: Option<&str>) -> io::Result<Response> {
    let (authority, path) = split(url)?;
    let (peer, target) = match proxy {
        Some(proxy) => (with_port(split(proxy)?.0), url),
        None => (with_port(authority), path),
    };
    let mut stream = TcpStream::connect(&peer).await?;
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let read = stream.take(ANSWER).read_to_end(&mut bytes).await;
    // A peer that resets after its answer has still answered.
    if bytes.is_empty() {
        read?;
    }
    parse(&bytes).ok_or_else(|| io::Error::other("the connection closed without an HTTP answer"))
}

fn parse(bytes: &[u8]) -> Option<Response> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..)?.to_owned();
    let proxy_error = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("x-proxy-error"))
        .map(|(_, value)| value.trim().to_owned());
    Some(Response {
        status,
        proxy_error,
        body: body.chars().take(BODY).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_added_only_where_there_is_none() {
        assert_eq!(with_port("a.example"), "a.example:80");
        assert_eq!(with_port("a.example:8080"), "a.example:8080");
        assert_eq!(with_port("[::1]"), "[::1]:80");
        assert_eq!(with_port("[::1]:3000"), "[::1]:3000");
    }

    #[test]
    fn a_url_splits_into_authority_and_path() {
        assert_eq!(split("http://h:1/x/y").unwrap(), ("h:1", "/x/y"));
        assert_eq!(split("http://h").unwrap(), ("h", "/"));
        assert!(split("https://h").is_err());
    }

    #[test]
    fn an_answer_is_read_for_status_reason_and_body() {
        let refused = b"HTTP/1.1 403 Forbidden\r\nx-proxy-error: blocked-by-srt\r\n\r\nno";
        let response = parse(refused).unwrap();
        assert!(!response.succeeded());
        assert_eq!(
            response.to_string(),
            "status: 403 Forbidden\nX-Proxy-Error: blocked-by-srt\nno"
        );
        assert!(parse(b"SSH-2.0-x\r\n").is_none());
    }
}
