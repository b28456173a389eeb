//! What is under way: listed, and closed when policy takes it back; and what waits for a person's answer.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod common;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Options, Sandbox, ask, connect, policy, policy_with, reverser, say, soon};
use srt_egress::{Asked, Bounds, Event, FlowEnd, FrontEnd, Gate, Verdict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

/// Loopback opened for names that lead there: names may not, unless its address is allowed itself.
const LOOPBACK: &str = "127.0.0.1";

/// A server that says "begun", and then nothing until its client has gone; it tells when that was.
async fn patient() -> (SocketAddr, mpsc::UnboundedReceiver<Instant>) {
    serve(b"begun").await
}

/// The same for HTTP: the head and a part of the body.
async fn patient_http() -> (SocketAddr, mpsc::UnboundedReceiver<Instant>) {
    serve(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun").await
}

async fn serve(first: &'static [u8]) -> (SocketAddr, mpsc::UnboundedReceiver<Instant>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (gone, ends) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let gone = gone.clone();
            tokio::spawn(async move {
                stream.write_all(first).await.unwrap();
                let mut heard = [0; 1024];
                while stream.read(&mut heard).await.is_ok_and(|read| read > 0) {}
                let _ = gone.send(Instant::now());
            });
        }
    });
    (at, ends)
}

/// Asks a SOCKS5 proxy for a name and returns its reply's code.
async fn socks(client: &mut TcpStream, name: &str, port: u16) -> u8 {
    let mut ask = vec![5, 1, 0, 5, 1, 0, 3, name.len() as u8];
    ask.extend(name.as_bytes());
    ask.extend(port.to_be_bytes());
    client.write_all(&ask).await.unwrap();
    let mut answer = [0; 12];
    soon("a reply", client.read_exact(&mut answer))
        .await
        .unwrap();
    answer[3]
}

async fn begun(client: &mut TcpStream) {
    let mut heard = [0; 5];
    soon("the server", client.read_exact(&mut heard))
        .await
        .unwrap();
    assert_eq!(&heard, b"begun");
}

/// The flow's target and why it ended.
async fn ended(sandbox: &mut Sandbox) -> (FrontEnd, String, FlowEnd) {
    match sandbox.event().await {
        Event::Flow {
            front_end,
            target,
            ended,
            ..
        } => (front_end, target.to_string(), ended),
        other => panic!("not a flow: {other:?}"),
    }
}

#[tokio::test]
async fn a_change_of_policy_closes_what_it_no_longer_permits_and_nothing_else() {
    let (at, mut ends) = patient().await;
    let (http, mut http_ends) = patient_http().await;
    let (port, http_port) = (at.port(), http.port());
    let mut sandbox = Sandbox::new(policy(&[LOOPBACK, "api.test", "other.test"], &[]));
    let mut kept = connect(sandbox.socks).await;
    assert_eq!(socks(&mut kept, "other.test", port).await, 0);
    begun(&mut kept).await;
    let mut tunnel = connect(sandbox.http).await;
    let request = format!("CONNECT api.test:{port} HTTP/1.1\r\nHost: api.test:{port}\r\n\r\n");
    assert_eq!(ask(&mut tunnel, &request).await.status, 200);
    begun(&mut tunnel).await;
    let mut by_socks = connect(sandbox.socks).await;
    assert_eq!(socks(&mut by_socks, "api.test", port).await, 0);
    begun(&mut by_socks).await;
    let mut response = connect(sandbox.http).await;
    let request = format!("GET http://api.test:{http_port}/ HTTP/1.1\r\nHost: api.test\r\n\r\n");
    response.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\nbegun") {
        head.push(soon("the response", response.read_u8()).await.unwrap());
    }

    let live = sandbox.egress.flows();
    let listed: Vec<_> = live
        .iter()
        .map(|flow| (flow.front_end, flow.target.to_string(), flow.bytes_in))
        .collect();
    assert_eq!(
        listed,
        [
            (FrontEnd::Socks5, format!("other.test:{port}"), 5),
            (FrontEnd::Connect, format!("api.test:{port}"), 5),
            (FrontEnd::Socks5, format!("api.test:{port}"), 5),
            (FrontEnd::Http, format!("api.test:{http_port}"), 5),
        ]
    );
    assert_eq!(live[0].address, at);
    assert_eq!(live[0].rule.pattern, "other.test");

    // One that still permits everything ends nothing.
    sandbox.policy.send_replace(policy(
        &[LOOPBACK, "new.test", "api.test", "other.test"],
        &[],
    ));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(sandbox.egress.watch().list().len(), 4);

    let changed = Instant::now();
    sandbox
        .policy
        .send_replace(policy(&[LOOPBACK, "other.test"], &["api.test"]));
    for _ in 0..2 {
        let gone = soon("the end at the server", ends.recv()).await.unwrap();
        assert!(gone - changed < Duration::from_secs(1));
    }
    let gone = soon("the end at the HTTP server", http_ends.recv())
        .await
        .unwrap();
    assert!(gone - changed < Duration::from_secs(1));
    let mut refused = Vec::new();
    for _ in 0..3 {
        let (front_end, target, end) = ended(&mut sandbox).await;
        let FlowEnd::NoLongerPermitted(denial) = end else {
            panic!("{target} ended as if by itself");
        };
        assert_eq!(denial.subject, target);
        assert!(denial.reason.contains("api.test"), "{}", denial.reason);
        refused.push(front_end);
    }
    refused.sort();
    assert_eq!(
        refused,
        [FrontEnd::Http, FrontEnd::Connect, FrontEnd::Socks5]
    );
    // The clients notice too.
    for client in [&mut tunnel, &mut by_socks, &mut response] {
        let end = soon("the end at the client", client.read(&mut [0; 8])).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }

    let live = sandbox.egress.flows();
    assert_eq!(live.len(), 1, "{live:?}");
    drop(kept);
    let (_, target, end) = ended(&mut sandbox).await;
    assert_eq!((target, end), (format!("other.test:{port}"), FlowEnd::Done));
    let handle = sandbox.egress.watch();
    sandbox.egress.shutdown().await;
    assert!(handle.list().is_empty());
}

#[tokio::test]
async fn a_kept_connection_is_decided_anew_and_its_idle_server_connection_is_closed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut sandbox = Sandbox::new(policy(&[LOOPBACK, "api.test"], &[]));
    let mut client = connect(sandbox.http).await;
    let request = format!("GET http://api.test:{port}/ HTTP/1.1\r\nHost: api.test\r\n\r\n");
    let answered = async {
        let (mut stream, _) = soon("the request", listener.accept()).await.unwrap();
        let mut heard = vec![0; 1024];
        let _ = stream.read(&mut heard).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
        stream
    };
    let (mut server, reply) = tokio::join!(answered, ask(&mut client, &request));
    assert_eq!((reply.status, reply.body.as_str()), (200, "ok"));
    assert!(matches!(sandbox.event().await, Event::Flow { .. }));
    sandbox
        .policy
        .send_replace(policy(&[LOOPBACK, "other.test"], &[]));
    // The connection that waited for another request goes, and the client's stays to hear why.
    let end = soon("the end of the idle connection", server.read(&mut [0; 8])).await;
    assert!(matches!(end, Ok(0)), "{end:?}");
    let reply = ask(&mut client, &request).await;
    assert_eq!(reply.status, 403, "{}", reply.body);
    sandbox.denial("http").await;
}

/// Hands each question to the test, with a way to answer it.
struct Asking(mpsc::UnboundedSender<(Asked, oneshot::Sender<Verdict>)>);

impl Gate for Asking {
    fn ask<'a>(&'a self, asked: Asked) -> Pin<Box<dyn Future<Output = Verdict> + Send + 'a>> {
        Box::pin(async move {
            let (answer, verdict) = oneshot::channel();
            self.0.send((asked, answer)).unwrap();
            verdict.await.unwrap_or(Verdict::Refused {
                reason: "the test gave no answer".into(),
            })
        })
    }
}

type Questions = mpsc::UnboundedReceiver<(Asked, oneshot::Sender<Verdict>)>;

fn asking(bounds: Bounds) -> (Sandbox, Questions) {
    let (sender, questions) = mpsc::unbounded_channel();
    let options = Options {
        gate: Some(Arc::new(Asking(sender))),
        bounds,
        ..Options::default()
    };
    let policy = policy_with(
        &[LOOPBACK, "known.test"],
        &["denied.test"],
        ",\n\"ask\": true",
    );
    (Sandbox::with(policy, options), questions)
}

async fn question(questions: &mut Questions) -> (Asked, oneshot::Sender<Verdict>) {
    soon("a question", questions.recv()).await.unwrap()
}

#[tokio::test]
async fn an_unknown_host_waits_for_its_answer() {
    let at = reverser().await;
    let port = at.port();
    let (mut sandbox, mut questions) = asking(Bounds::default());

    // Once, for a SOCKS tunnel: and then the next one asks again.
    for verdict in [
        Verdict::Once { grant: "g1".into() },
        Verdict::Refused {
            reason: "denied by ada".into(),
        },
    ] {
        let mut client = connect(sandbox.socks).await;
        let once = matches!(verdict, Verdict::Once { .. });
        let answering = async {
            let (asked, answer) = question(&mut questions).await;
            assert_eq!(asked.front_end, FrontEnd::Socks5);
            assert_eq!(asked.target.to_string(), format!("api.test:{port}"));
            answer.send(verdict).unwrap();
        };
        let (code, ()) = tokio::join!(socks(&mut client, "api.test", port), answering);
        if once {
            assert_eq!(code, 0);
            assert_eq!(say(&mut client, b"hello").await, b"olleh");
            let Event::Flow { rule, ended, .. } = sandbox.event().await else {
                panic!("no flow");
            };
            assert_eq!(ended, FlowEnd::Done);
            assert!(format!("{:?}", rule.origin).contains("g1"), "{rule:?}");
        } else {
            assert_eq!(code, 2);
            let denial = sandbox.denial("socks5").await;
            assert!(denial.reason.contains("denied by ada"), "{denial:?}");
        }
    }

    // CONNECT: what the person said is what the client reads.
    let mut client = connect(sandbox.http).await;
    let request = format!("CONNECT api.test:{port} HTTP/1.1\r\nHost: api.test:{port}\r\n\r\n");
    let (reply, ()) = tokio::join!(ask(&mut client, &request), async {
        let (asked, answer) = question(&mut questions).await;
        assert_eq!(asked.front_end, FrontEnd::Connect);
        let reason = "nobody answered within 60 s".to_owned();
        answer.send(Verdict::Refused { reason }).unwrap();
    });
    assert_eq!(reply.status, 403);
    assert!(
        reply.body.contains("nobody answered within 60 s"),
        "{}",
        reply.body
    );
    sandbox.denial("connect").await;

    // A denied host is not asked about.
    let mut client = connect(sandbox.socks).await;
    assert_eq!(socks(&mut client, "denied.test", port).await, 2);
    sandbox.denial("socks5").await;
    assert!(questions.try_recv().is_err());
    sandbox.no_event();
}

#[tokio::test]
async fn it_is_the_policy_that_lets_pass_and_never_the_gate() {
    let at = reverser().await;
    let (mut sandbox, mut questions) = asking(Bounds::default());
    let check = async |sandbox: &mut Sandbox,
                       questions: &mut Questions,
                       change: Option<Arc<srt_policy::NetworkPolicy>>,
                       verdict: Verdict| {
        let mut client = connect(sandbox.socks).await;
        let sender = sandbox.policy.clone();
        let answering = async {
            let (_asked, answer) = question(questions).await;
            if let Some(policy) = change {
                sender.send_replace(policy);
            }
            answer.send(verdict).unwrap();
        };
        let (code, ()) = tokio::join!(socks(&mut client, "api.test", at.port()), answering);
        code
    };
    // The gate says that policy has changed, and it has not: still a question, so a denial.
    let code = check(&mut sandbox, &mut questions, None, Verdict::DecideAgain).await;
    assert_eq!(code, 2);
    sandbox.denial("socks5").await;
    // It says "once", and the policy in force by then denies the host.
    let denies = policy_with(&[LOOPBACK], &["api.test"], ",\n\"ask\": true");
    let grant = "g2".to_owned();
    let code = check(
        &mut sandbox,
        &mut questions,
        Some(denies),
        Verdict::Once { grant },
    )
    .await;
    assert_eq!(code, 2);
    assert!(sandbox.denial("socks5").await.reason.contains("api.test"));
    // It has changed, and allows.
    sandbox
        .policy
        .send_replace(policy_with(&[LOOPBACK], &[], ",\n\"ask\": true"));
    let allows = policy_with(&[LOOPBACK, "api.test"], &[], ",\n\"ask\": true");
    let code = check(
        &mut sandbox,
        &mut questions,
        Some(allows),
        Verdict::DecideAgain,
    )
    .await;
    assert_eq!(code, 0);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_question_along() {
    let (mut sandbox, mut questions) = asking(Bounds::default());
    // Each once with and once without words that nobody has read yet.
    for early in [&b""[..], b"early"] {
        let mut by_socks = connect(sandbox.socks).await;
        let mut ask = b"\x05\x01\x00\x05\x01\x00\x03\x08api.test\x01\xbb".to_vec();
        ask.extend(early);
        by_socks.write_all(&ask).await.unwrap();
        let (_, mut answer) = question(&mut questions).await;
        drop(by_socks);
        soon("the end of the question", answer.closed()).await;
        let denial = sandbox.denial("socks5").await;
        assert!(denial.reason.contains("given up"), "{denial:?}");
    }
    let mut by_http = connect(sandbox.http).await;
    by_http
        .write_all(b"GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n")
        .await
        .unwrap();
    let (_, mut answer) = question(&mut questions).await;
    drop(by_http);
    soon("the end of the question", answer.closed()).await;
    let denial = sandbox.denial("http").await;
    assert!(denial.reason.contains("given up"), "{denial:?}");
    sandbox.no_event();
}

#[tokio::test]
async fn more_questions_than_a_person_can_look_at_are_refused() {
    let bounds = Bounds {
        held: 2,
        ..Bounds::default()
    };
    let (mut sandbox, mut questions) = asking(bounds);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = connect(sandbox.socks).await;
        client
            .write_all(b"\x05\x01\x00\x05\x01\x00\x03\x08api.test\x01\xbb")
            .await
            .unwrap();
        held.push((client, question(&mut questions).await));
    }
    let mut third = connect(sandbox.socks).await;
    assert_eq!(socks(&mut third, "api.test", 443).await, 2);
    let denial = sandbox.denial("socks5").await;
    assert!(denial.reason.contains("2 connections"), "{denial:?}");
    // The end of the sandbox ends the waiting.
    sandbox.egress.shutdown().await;
    for (_client, (_asked, mut answer)) in held {
        soon("the end of the question", answer.closed()).await;
    }
}

#[tokio::test]
async fn what_is_only_observed_passes_and_is_told() {
    let at = reverser().await;
    let port = at.port();
    let observed = policy_with(
        &[LOOPBACK, "known.test"],
        &[],
        ",\n\"enforceAllowlist\": false",
    );
    let mut sandbox = Sandbox::new(observed);
    let mut client = connect(sandbox.socks).await;
    assert_eq!(socks(&mut client, "api.test", port).await, 0);
    assert_eq!(say(&mut client, b"hello").await, b"olleh");
    let Event::Flow {
        would_be_denied, ..
    } = sandbox.event().await
    else {
        panic!("no flow");
    };
    let denial = would_be_denied.unwrap();
    assert_eq!(denial.subject, format!("api.test:{port}"));
    // Denied classes stay denied.
    let mut client = connect(sandbox.socks).await;
    assert_eq!(socks(&mut client, "metadata.test", 80).await, 2);
    sandbox.denial("socks5").await;
}
