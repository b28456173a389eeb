//! Asking the user's own proxy (`network.proxyConfig`) to carry a permitted connection on.
//!
//! Replies are read to their exact end and not a byte further, so that the stream can be relayed as it is.

use std::io;

use srt_policy::{Host, Target, Upstream};
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
    /// It does not speak the protocol.
    #[error("its answer is not {0}")]
    Garbled(&'static str),
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
        Upstream::Http(_) => connect(stream, target).await,
        Upstream::Socks5(_) => socks5(stream, target).await,
    }
}

async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: &Target,
) -> Result<(), HandoffError> {
    let ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
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
) -> Result<(), HandoffError> {
    stream.write_all(&[5, 1, 0]).await?;
    let mut method = [0; 2];
    stream.read_exact(&mut method).await?;
    match method {
        [5, 0] => {}
        [5, _] => {
            return Err(HandoffError::Refused(
                "a method that needs credentials".into(),
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
        let http = || Upstream::Http(proxy());
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
        let socks = || Upstream::Socks5(proxy());
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
}
