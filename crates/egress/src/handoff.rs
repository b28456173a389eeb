//! Asking the user's own proxy (`network.proxyConfig`) to carry a permitted connection on.
//!
//! Replies are read to their exact end and not a byte further, so that the stream can be relayed as it is.

use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use srt_policy::{Credentials, Host, Target, Upstream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The most that a proxy's answer to CONNECT may hold.
const MOST_HEAD: usize = 8 * 1024;

/// Why the user's own proxy did not hand on.
#[derive(Debug, thiserror::Error)]
pub enum HandoffError {
    /// Talking to it failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It did not answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// It refused: the HTTP status line or the SOCKS5 reply code.
    #[error("it answered {0:?}")]
    Refused(String),
    /// There is no TLS with it, or its certificate is not one for it.
    #[error("no TLS with it: {0}")]
    Tls(String),
    /// It does not speak the protocol.
    #[error("its answer is not {0}")]
    Garbled(&'static str),
    /// A user name or password too long for SOCKS5.
    #[error("the user name or password is too long for SOCKS5")]
    CredentialsTooLong,
    /// A name too long for SOCKS5.
    #[error("the name is too long for SOCKS5")]
    NameTooLong,
}

/// Has the proxy at the other end of `stream` connect to `target`.
pub(crate) async fn hand_on(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    upstream: &Upstream,
    target: &Target,
) -> Result<(), HandoffError> {
    match upstream {
        Upstream::Http { credentials, .. } => connect(stream, target, credentials.as_ref()).await,
        Upstream::Socks5 { credentials, .. } => socks5(stream, target, credentials.as_ref()).await,
    }
}

/// The value of `Proxy-Authorization` (RFC 7617).
pub(crate) fn basic(credentials: &Credentials) -> String {
    let Credentials { user, password } = credentials;
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{password}"))
    )
}

async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: &Target,
    credentials: Option<&Credentials>,
) -> Result<(), HandoffError> {
    let mut ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(credentials) = credentials {
        ask.push_str(&format!("Proxy-Authorization: {}\r\n", basic(credentials)));
    }
    ask.push_str("\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MOST_HEAD {
            return Err(HandoffError::Garbled("an HTTP answer"));
        }
        // One byte at a time: what follows the blank line already belongs to the tunnel.
        head.push(stream.read_u8().await?);
    }
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    match (words.next(), words.next()) {
        (Some("HTTP/1.1" | "HTTP/1.0"), Some(code)) if code.len() == 3 && code.starts_with('2') => {
            Ok(())
        }
        (Some("HTTP/1.1" | "HTTP/1.0"), Some(_)) => {
            Err(HandoffError::Refused(line.chars().take(120).collect()))
        }
        _ => Err(HandoffError::Garbled("an HTTP answer")),
    }
}

async fn socks5(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: &Target,
    credentials: Option<&Credentials>,
) -> Result<(), HandoffError> {
    match credentials {
        None => stream.write_all(&[5, 1, 0]).await?,
        Some(_) => stream.write_all(&[5, 2, 0, 2]).await?,
    }
    let mut method = [0; 2];
    stream.read_exact(&mut method).await?;
    match (method, credentials) {
        ([5, 0], _) => {}
        ([5, 2], Some(credentials)) => authenticate(stream, credentials).await?,
        ([5, _], None) => {
            return Err(HandoffError::Refused(
                "a method that needs credentials".into(),
            ));
        }
        ([5, _], Some(_)) => {
            return Err(HandoffError::Refused(
                "a method other than user name and password".into(),
            ));
        }
        _ => return Err(HandoffError::Garbled("a SOCKS5 answer")),
    }
    let mut ask = vec![5, 1, 0];
    match &target.host {
        Host::Ip(std::net::IpAddr::V4(v4)) => {
            ask.push(1);
            ask.extend(v4.octets());
        }
        Host::Ip(std::net::IpAddr::V6(v6)) => {
            ask.push(4);
            ask.extend(v6.octets());
        }
        Host::Name(name) => {
            ask.push(3);
            ask.push(u8::try_from(name.len()).map_err(|_| HandoffError::NameTooLong)?);
            ask.extend(name.as_bytes());
        }
    }
    ask.extend(target.port.to_be_bytes());
    stream.write_all(&ask).await?;
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).await?;
    let [5, code, _, kind] = reply else {
        return Err(HandoffError::Garbled("a SOCKS5 answer"));
    };
    if code != 0 {
        return Err(HandoffError::Refused(format!("SOCKS5 reply {code}")));
    }
    let address = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await?),
        _ => return Err(HandoffError::Garbled("a SOCKS5 answer")),
    };
    let mut bound = vec![0; address + 2];
    stream.read_exact(&mut bound).await?;
    Ok(())
}

/// User name and password (RFC 1929).
async fn authenticate(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    credentials: &Credentials,
) -> Result<(), HandoffError> {
    let mut ask = vec![1];
    for text in [&credentials.user, &credentials.password] {
        ask.push(u8::try_from(text.len()).map_err(|_| HandoffError::CredentialsTooLong)?);
        ask.extend(text.as_bytes());
    }
    stream.write_all(&ask).await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    match answer {
        [1, 0] => Ok(()),
        [1, _] => Err(HandoffError::Refused(
            "no to the user name and password".into(),
        )),
        _ => Err(HandoffError::Garbled("a SOCKS5 answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(
        upstream: Upstream,
        answer: &[u8],
    ) -> (Result<(), HandoffError>, Vec<u8>, Vec<u8>) {
        let target = Target {
            host: Host::Name("a.test".into()),
            port: 443,
        };
        let (mut near, mut far) = tokio::io::duplex(4096);
        far.write_all(answer).await.unwrap();
        far.shutdown().await.unwrap();
        let result = hand_on(&mut near, &upstream, &target).await;
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
        drop(near);
        let mut asked = Vec::new();
        far.read_to_end(&mut asked).await.unwrap();
        (result, asked, rest)
    }

    fn proxy() -> Target {
        Target {
            host: Host::Ip([127, 0, 0, 1].into()),
            port: 3128,
        }
    }

    #[tokio::test]
    async fn http_reads_to_the_blank_line_only() {
        let http = || Upstream::Http {
            proxy: proxy(),
            tls: false,
            credentials: None,
        };
        let (result, asked, rest) = check(http(), b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nhello").await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(
            asked,
            b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"
        );
        assert_eq!(rest, b"hello");
        let (result, ..) = check(http(), b"HTTP/1.1 407 No\r\n\r\n").await;
        assert!(
            matches!(&result, Err(HandoffError::Refused(line)) if line.contains("407")),
            "{result:?}"
        );
        let (result, ..) = check(http(), b"SSH-2.0-OpenSSH\r\n\r\n").await;
        assert!(
            matches!(result, Err(HandoffError::Garbled(_))),
            "{result:?}"
        );
        let (result, ..) = check(http(), b"HTTP/1.1 200 OK\r\n").await;
        assert!(matches!(result, Err(HandoffError::Io(_))), "{result:?}");
    }

    #[tokio::test]
    async fn socks5_reads_to_the_bound_address_only() {
        let socks = || Upstream::Socks5 {
            proxy: proxy(),
            credentials: None,
        };
        let (result, asked, rest) = check(
            socks(),
            b"\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00hello",
        )
        .await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(asked, b"\x05\x01\x00\x05\x01\x00\x03\x06a.test\x01\xbb");
        assert_eq!(rest, b"hello");
        let (result, ..) =
            check(socks(), b"\x05\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00").await;
        assert!(
            matches!(&result, Err(HandoffError::Refused(_))),
            "{result:?}"
        );
        let (result, ..) = check(socks(), b"\x04\x00").await;
        assert!(
            matches!(result, Err(HandoffError::Garbled(_))),
            "{result:?}"
        );
    }

    #[tokio::test]
    async fn credentials_are_shown_to_the_proxy_alone() {
        let credentials = || {
            Some(Credentials {
                user: "ada".into(),
                password: "s p:c".into(),
            })
        };
        let http = Upstream::Http {
            proxy: proxy(),
            tls: false,
            credentials: credentials(),
        };
        let (result, asked, _) = check(http, b"HTTP/1.1 200 OK\r\n\r\n").await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(
            asked,
            b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nProxy-Authorization: Basic YWRhOnMgcDpj\r\n\r\n"
        );
        let socks = || Upstream::Socks5 {
            proxy: proxy(),
            credentials: credentials(),
        };
        let (result, asked, rest) = check(
            socks(),
            b"\x05\x02\x01\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00hello",
        )
        .await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(
            asked,
            b"\x05\x02\x00\x02\x01\x03ada\x05s p:c\x05\x01\x00\x03\x06a.test\x01\xbb"
        );
        assert_eq!(rest, b"hello");
        let (result, ..) = check(socks(), b"\x05\x02\x01\x01").await;
        assert!(
            matches!(&result, Err(HandoffError::Refused(_))),
            "{result:?}"
        );
        let (result, ..) = check(socks(), b"\x05\xff").await;
        assert!(
            matches!(&result, Err(HandoffError::Refused(_))),
            "{result:?}"
        );
    }
}
