//! A sandbox's egress on loopback, with servers to reach and a resolver that knows a few names.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use srt_egress::{Bounds, Config, Egress, Event, Gate, Listeners, Lookup, Resolve};
use srt_policy::{Facts, NetworkPolicy, Source, compile};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// Nothing on loopback takes this long.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Awaits with the deadline.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: nothing within {DEADLINE:?}"))
}

/// A policy from its two lists.
pub fn policy(allowed: &[&str], denied: &[&str]) -> Arc<NetworkPolicy> {
    policy_with(allowed, denied, "")
}

/// The same with further lines in "network".
pub fn policy_with(allowed: &[&str], denied: &[&str], more: &str) -> Arc<NetworkPolicy> {
    policy_and(allowed, denied, more, "")
}

/// The same with further lines beside "network".
pub fn policy_and(
    allowed: &[&str],
    denied: &[&str],
    more: &str,
    beside: &str,
) -> Arc<NetworkPolicy> {
    let text = format!(
        "{{\n\"network\": {{\n\"allowedDomains\": {allowed:?},\n\"deniedDomains\": {denied:?}{more}\n}},\n\
         \"filesystem\": {{\"denyRead\": [], \"allowWrite\": [], \"denyWrite\": []}}{beside}\n}}\n"
    );
    let source = Source {
        path: "/home/u/.srt-settings.json".into(),
        text,
    };
    let facts = Facts {
        home: "/home/u".into(),
        cwd: "/home/u/work".into(),
        protected: Vec::new(),
        program: Vec::new(),
        macos: false,
    };
    match compile(Some(&source), &facts) {
        Ok(compiled) => Arc::new(compiled.policy.network),
        Err(invalid) => panic!("{:?}", invalid.diagnostics),
    }
}

/// Knows what it is told.
struct Known(HashMap<String, Vec<IpAddr>>);

impl Resolve for Known {
    fn resolve<'a>(&'a self, name: &'a str) -> Lookup<'a> {
        Box::pin(async move {
            self.0
                .get(name)
                .cloned()
                .ok_or_else(|| io::Error::other("no such name"))
        })
    }
}

/// One sandbox's egress.
pub struct Sandbox {
    pub http: SocketAddr,
    pub socks: SocketAddr,
    pub transparent: SocketAddr,
    pub dns_udp: SocketAddr,
    pub dns_tcp: SocketAddr,
    pub policy: watch::Sender<Arc<NetworkPolicy>>,
    pub events: mpsc::Receiver<Event>,
    pub egress: Egress,
}

/// How a sandbox differs from the usual.
pub struct Options {
    pub token: Option<String>,
    pub bounds: Bounds,
    pub queue: usize,
    pub gate: Option<Arc<dyn Gate>>,
    pub udp: Vec<UdpSocket>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: None,
            bounds: Bounds::default(),
            queue: 1024,
            gate: None,
            udp: Vec::new(),
        }
    }
}

impl Sandbox {
    pub fn new(policy: Arc<NetworkPolicy>) -> Self {
        Self::with(policy, Options::default())
    }

    pub fn with(policy: Arc<NetworkPolicy>, options: Options) -> Self {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (http, socks, transparent, dns_tcp) = (listen(), listen(), listen(), listen());
        let dns_udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let known = [
            ("api.test", "127.0.0.1"),
            ("other.test", "127.0.0.1"),
            ("inside.test", "127.0.0.2"),
            ("a.example.test", "127.0.0.1"),
            ("metadata.test", "169.254.169.254"),
        ];
        let known = known
            .iter()
            .map(|(name, ip)| ((*name).to_owned(), vec![ip.parse().unwrap()]))
            .collect();
        let (policy, watched) = watch::channel(policy);
        let (sender, events) = mpsc::channel(options.queue);
        let mut config = Config::new(watched, sender);
        config.resolver = Arc::new(Known(known));
        config.token = options.token;
        config.bounds = options.bounds;
        config.gate = options.gate;
        Self {
            http: http.local_addr().unwrap(),
            socks: socks.local_addr().unwrap(),
            transparent: transparent.local_addr().unwrap(),
            dns_udp: dns_udp.local_addr().unwrap(),
            dns_tcp: dns_tcp.local_addr().unwrap(),
            policy,
            events,
            egress: Egress::serve(
                Listeners {
                    http: Some(http),
                    socks: Some(socks),
                    transparent: vec![transparent],
                    dns_udp: vec![dns_udp],
                    dns_tcp: vec![dns_tcp],
                    udp: options.udp,
                },
                config,
            )
            .unwrap(),
        }
    }

    pub async fn event(&mut self) -> Event {
        soon("an event", self.events.recv())
            .await
            .expect("the egress is gone")
    }

    /// The reason of the next event, which must be a denial by `front_end`.
    pub async fn denial(&mut self, front_end: &str) -> srt_policy::Denial {
        match self.event().await {
            Event::Denied {
                front_end: by,
                denial,
            } if by.name() == front_end => denial,
            other => panic!("not a denial by {front_end}: {other:?}"),
        }
    }

    /// Target and bytes (out, in) of the next event, which must be a flow through `front_end`.
    pub async fn flow(&mut self, front_end: &str) -> (String, u64, u64) {
        match self.event().await {
            Event::Flow {
                front_end: by,
                target,
                bytes_out,
                bytes_in,
                ..
            } if by.name() == front_end => (target.to_string(), bytes_out, bytes_in),
            other => panic!("not a flow through {front_end}: {other:?}"),
        }
    }

    pub fn no_event(&mut self) {
        assert!(
            self.events.try_recv().is_err(),
            "an event that nobody expects"
        );
    }
}

pub async fn connect(address: SocketAddr) -> TcpStream {
    soon("a connection", TcpStream::connect(address))
        .await
        .unwrap()
}

/// A server that sends back, reversed, whatever arrives until the end.
pub async fn reverser() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).await.unwrap();
                heard.reverse();
                let _ = stream.write_all(&heard).await;
            });
        }
    });
    at
}

/// Sends `bytes`, ends, and returns all that comes back.
pub async fn say(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    let (mut read, mut write) = stream.split();
    let send = async {
        write.write_all(bytes).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (_, received) = soon("an answer", async {
        tokio::join!(send, read.read_to_end(&mut heard))
    })
    .await;
    received.unwrap();
    heard
}

/// An HTTP response as read from a raw connection.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// Sends a raw request and reads one response with a Content-Length (or none).
pub async fn ask(stream: &mut TcpStream, request: &str) -> Reply {
    soon("sending", stream.write_all(request.as_bytes()))
        .await
        .unwrap();
    soon("a response", reply(stream)).await
}

/// Reads one response.
pub async fn reply(stream: &mut TcpStream) -> Reply {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(
            stream.read_u8().await.unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&head))
            }),
        );
    }
    let mut reply = Reply {
        status: 0,
        head: String::from_utf8(head).unwrap(),
        body: String::new(),
    };
    reply.status = reply.head[9..12].parse().unwrap();
    if reply.status != 101 {
        let length = reply
            .header("content-length")
            .map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        reply.body = String::from_utf8(body).unwrap();
    }
    reply
}
