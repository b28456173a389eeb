//! Connections of programs that know of no proxy: Node's fetch, database drivers, git over ssh.

use std::net::SocketAddr;
use std::sync::Arc;

use srt_policy::Host;
use tokio::net::TcpStream;

use crate::FrontEnd;
use crate::context::Context;
use crate::relay::{Side, relay};

/// Connects a captured connection to where it was going.
pub(crate) async fn serve(context: Arc<Context>, client: TcpStream) {
    // It fails only for a client that is gone already.
    if let Ok(destination) = destination(&client) {
        carry(context, client, destination).await;
    }
}

async fn carry(context: Arc<Context>, mut client: TcpStream, destination: SocketAddr) {
    let target = context.target(Host::Ip(destination.ip()), destination.port());
    let opened = tokio::select! {
        biased;
        () = context.cancel.cancelled() => return,
        opened = context.connect(FrontEnd::Tcp, &target, Some(&client)) => opened,
    };
    match opened {
        Ok(mut outbound) => {
            let client = Side {
                stream: &mut client,
                early: &[],
            };
            let server = Side {
                stream: &mut outbound.stream,
                early: &[],
            };
            relay(&context, outbound.exchange, client, server).await;
        }
        // A reset, so that the client fails at once instead of taking the end for an empty answer.
        Err(_recorded) => {
            let _ = client.set_zero_linger();
        }
    }
}

fn destination(client: &TcpStream) -> std::io::Result<SocketAddr> {
    let local = client.local_addr()?;
    #[cfg(target_os = "linux")]
    let local = crate::original_dst::original_destination(client, local).unwrap_or(local);
    Ok(SocketAddr::new(local.ip().to_canonical(), local.port()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{IpAddr, TcpListener, TcpStream as StdStream};
    use std::time::Duration;

    use srt_policy::{Facts, Source, compile};
    use tokio::sync::{mpsc, watch};

    use super::*;
    use crate::{Config, Egress, Event, Listeners, Lookup, Resolve};

    struct Loopback;
    impl Resolve for Loopback {
        fn resolve<'a>(&'a self, _name: &'a str) -> Lookup<'a> {
            Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) })
        }
    }

    fn network(text: &str) -> Arc<srt_policy::NetworkPolicy> {
        let text = format!(
            r#"{{"network": {text}, "filesystem": {{"denyRead": [], "allowWrite": [], "denyWrite": []}}}}"#
        );
        let source = Source {
            path: "/s.json".into(),
            text,
        };
        let facts = Facts {
            home: "/home/u".into(),
            cwd: "/w".into(),
            protected: Vec::new(),
            program: Vec::new(),
            macos: false,
        };
        Arc::new(compile(Some(&source), &facts).unwrap().policy.network)
    }

    /// Never answers, and tells when nobody waits any more.
    struct Silent(mpsc::UnboundedSender<&'static str>);
    impl crate::Gate for Silent {
        fn ask<'a>(
            &'a self,
            _asked: crate::Asked,
        ) -> std::pin::Pin<Box<dyn Future<Output = crate::Verdict> + Send + 'a>> {
            struct Gone<'a>(&'a Silent);
            impl Drop for Gone<'_> {
                fn drop(&mut self) {
                    self.0.0.send("gone").unwrap();
                }
            }
            Box::pin(async move {
                self.0.send("asked").unwrap();
                let _gone = Gone(self);
                std::future::pending().await
            })
        }
    }

    #[tokio::test]
    async fn a_captured_connection_waits_for_an_answer_until_it_is_given_up() {
        let soon = Duration::from_secs(10);
        let (_policy, policy) = watch::channel(network(
            r#"{"allowedDomains": [], "deniedDomains": [], "ask": true}"#,
        ));
        let (events, mut recorded) = mpsc::channel(8);
        let (told, mut tells) = mpsc::unbounded_channel();
        let mut config = Config::new(policy, events);
        config.gate = Some(Arc::new(Silent(told)));
        let egress = Egress::serve(Listeners::default(), config).unwrap();
        let synthetic = egress.context.names.address("api.test").unwrap();
        for early in [&b""[..], b"words that nobody has read"] {
            let capture = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = StdStream::connect(capture.local_addr().unwrap()).unwrap();
            client.write_all(early).unwrap();
            let (stream, _) = capture.accept().await.unwrap();
            let context = Arc::clone(&egress.context);
            let carried = tokio::spawn(carry(context, stream, (synthetic, 443).into()));
            let next = tokio::time::timeout(soon, tells.recv()).await.unwrap();
            assert_eq!(next, Some("asked"));
            drop(client);
            let next = tokio::time::timeout(soon, tells.recv()).await.unwrap();
            assert_eq!(next, Some("gone"));
            tokio::time::timeout(soon, carried).await.unwrap().unwrap();
            let Some(Event::Denied { denial, .. }) = recorded.recv().await else {
                panic!("no denial");
            };
            assert_eq!(denial.subject, "api.test:443");
        }
        egress.shutdown().await;
    }

    /// Here capturing side and origin share one loopback, so a real listener's address cannot lead elsewhere; the
    /// captured destination is given instead.
    #[tokio::test]
    async fn carries_to_an_address_and_to_the_name_behind_a_synthetic_one() {
        let origin = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = origin.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = origin.accept().unwrap();
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).unwrap();
                heard.reverse();
                stream.write_all(&heard).unwrap();
            }
        });
        let (_policy, policy) = watch::channel(network(&format!(
            r#"{{"allowedDomains": ["{at}", "api.test:{}"], "deniedDomains": []}}"#,
            at.port()
        )));
        let (events, mut recorded) = mpsc::channel(8);
        let mut config = Config::new(policy, events);
        config.resolver = Arc::new(Loopback);
        let egress = Egress::serve(Listeners::default(), config).unwrap();
        let synthetic = egress.context.names.address("api.test").unwrap();

        for (destination, target) in [
            (at, at.to_string()),
            (
                (synthetic, at.port()).into(),
                format!("api.test:{}", at.port()),
            ),
        ] {
            let capture = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let captured_at = capture.local_addr().unwrap();
            let client = std::thread::spawn(move || {
                let mut client =
                    StdStream::connect_timeout(&captured_at, Duration::from_secs(5)).unwrap();
                client.write_all(b"hello").unwrap();
                client.shutdown(std::net::Shutdown::Write).unwrap();
                let mut heard = String::new();
                client.read_to_string(&mut heard).unwrap();
                heard
            });
            let (stream, _) = capture.accept().await.unwrap();
            assert_eq!(super::destination(&stream).unwrap(), captured_at);
            carry(Arc::clone(&egress.context), stream, destination).await;
            assert_eq!(client.join().unwrap(), "olleh");
            let Some(Event::Flow {
                front_end,
                target: flown,
                address,
                bytes_out,
                bytes_in,
                ..
            }) = recorded.recv().await
            else {
                panic!("no flow");
            };
            assert_eq!(
                (front_end, flown.to_string(), address, bytes_out, bytes_in),
                (FrontEnd::Tcp, target, at, 5, 5)
            );
        }
        server.join().unwrap();
        egress.shutdown().await;
    }
}
