//! Where metrics may be served: a socket of our own, or a loopback address.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A Unix socket: whoever may open it may read.
    Unix(PathBuf),
    /// A loopback address: every user of the machine reaches it, so a token is asked for.
    Tcp(SocketAddr),
}

/// Why metrics are not served there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// Neither form.
    #[error(
        "{0:?} is neither unix:PATH nor ADDRESS:PORT\nhint: unix:/run/user/1000/srt/metrics.sock, or 127.0.0.1:9464"
    )]
    Unknown(String),
    /// A socket whose place would depend on where the daemon was started.
    #[error("the path of the metrics' socket, {0:?}, is not absolute\nhint: unix:/…")]
    Relative(PathBuf),
    /// An address that others reach.
    #[error(
        "{0} is not a loopback address: metrics say which servers run here and what they do, and go over plain HTTP\nhint: serve them on 127.0.0.1, and let a proxy of yours with TLS and a login of its own carry them further"
    )]
    Exposed(SocketAddr),
    /// A port that nobody would know.
    #[error("port 0 is none to look at metrics by\nhint: choose one, 9464 for instance")]
    NoPort,
}

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return match path.is_absolute() {
                true => Ok(Self::Unix(path)),
                false => Err(BadPlace::Relative(path)),
            };
        }
        // Names are not looked up: what they lead to may change.
        let address: SocketAddr = text
            .parse()
            .map_err(|_| BadPlace::Unknown(text.to_owned()))?;
        if !address.ip().to_canonical().is_loopback() {
            return Err(BadPlace::Exposed(address));
        }
        match address.port() {
            0 => Err(BadPlace::NoPort),
            _ => Ok(Self::Tcp(address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_on_this_machine_is_taken() {
        for good in [
            "unix:/run/x/m.sock",
            "127.0.0.1:9464",
            "[::1]:9464",
            "127.9.9.9:1",
        ] {
            assert!(good.parse::<Place>().is_ok(), "{good}");
        }
        for exposed in [
            "0.0.0.0:9464",
            "[::]:9464",
            "192.0.2.1:9464",
            "[::ffff:192.0.2.1]:1",
        ] {
            let error = exposed.parse::<Place>().unwrap_err();
            assert!(matches!(error, BadPlace::Exposed(_)), "{exposed}");
            assert!(
                error
                    .to_string()
                    .contains("\nhint: serve them on 127.0.0.1")
            );
        }
        for bad in [
            "",
            "unix:",
            "unix:m.sock",
            "localhost:9464",
            "9464",
            "127.0.0.1",
            "127.0.0.1:0",
        ] {
            let error = bad.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains("\nhint: "), "{bad}: {error}");
        }
    }
}
