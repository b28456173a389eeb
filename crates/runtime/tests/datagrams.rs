//! Datagrams of a real sandbox: refused at once where nothing names their target, and relayed where something does.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use srt_policy::{Facts, Source, compile};
use srt_runtime::{
    Config, Event, FlowEnd, FrontEnd, Launch, LaunchRequest, SandboxManager, Stdio, Tools,
};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Runs a script of bash under these lines of "network"; what it wrote, and what was told of its traffic. `meanwhile`
/// has the launch while it runs.
async fn run(
    network: &str,
    script: &str,
    meanwhile: impl AsyncFnOnce(&Launch),
) -> (String, Vec<Event>) {
    let room = tempfile::tempdir().unwrap();
    let top = room.path().canonicalize().unwrap();
    let cwd = top.join("work");
    std::fs::create_dir(&cwd).unwrap();
    let facts = Facts {
        home: top.clone(),
        cwd: cwd.clone(),
        protected: vec![top.join("launches")],
        program: vec!["/usr/bin/bash".into()],
        macos: false,
    };
    let source = Source {
        path: "/settings.json".into(),
        text: format!(
            r#"{{"network": {{"allowedDomains": [], "deniedDomains": [], {network}}},
                "filesystem": {{"denyRead": [], "allowWrite": [], "denyWrite": []}}}}"#
        ),
    };
    let policy = compile(Some(&source), &facts).unwrap().policy;
    let manager = SandboxManager::new(Config {
        tools: Tools {
            jail: srt_tests::built("srt-jail"),
            bwrap: "/usr/bin/bwrap".into(),
        },
        launches: top.join("launches"),
        layers: top.join("layers"),
        home: top.clone(),
    })
    .unwrap();
    let (events, mut traffic) = mpsc::channel(64);
    let (denials, _refused) = mpsc::unbounded_channel();
    let prepared = manager
        .prepare(LaunchRequest {
            id: Uuid::new_v4(),
            server: "datagrams".to_owned(),
            policy: Arc::new(policy),
            command: ["bash", "-c", script].map(str::to_owned).to_vec(),
            cwd,
            cwd_identity: None,
            offered: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            named: Vec::new(),
            umask: 0o022,
            events,
            denials,
            gate: None,
        })
        .await
        .unwrap();
    let (mut output, stdout) = std::io::pipe().unwrap();
    let (stdin, _) = std::io::pipe().unwrap();
    let stderr = rustix::io::dup(std::io::stderr()).unwrap();
    let stdio = Stdio::of(stdin.into(), stdout.into(), stderr);
    let mut launch = prepared.start(stdio).await.unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let mut said = String::new();
        output.read_to_string(&mut said).unwrap();
        said
    });
    meanwhile(&launch).await;
    let deadline = Duration::from_secs(30);
    let said = tokio::time::timeout(deadline, reading)
        .await
        .unwrap()
        .unwrap();
    launch.wait().await;
    launch.close().await;
    let mut told = Vec::new();
    while let Ok(event) = traffic.try_recv() {
        told.push(event);
    }
    (said, told)
}

/// Answers each datagram with "heard " before it.
fn server(at: &str) -> u16 {
    let socket = UdpSocket::bind(at).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&[b"heard ", &buffer[..length]].concat(), from);
        }
    });
    port
}

/// Sends a line to a target and says what came back. The socket is connected: an answer from another address than the
/// one that was asked does not come through. dd(1) takes a datagram as a whole, which bash's `read` does not.
const ASK: &str = "take() { timeout $1 dd bs=2048 count=1 2>/dev/null || echo \"none after $?\"; }; \
    ask() { exec 3<>/dev/udp/$1/$2; echo hello >&3 2>/dev/null; take 10 <&3; exec 3>&-; }; ";

#[tokio::test]
async fn without_a_rule_datagrams_are_refused_at_once() {
    let port = server("127.0.0.1:0");
    // The attack works without the sandbox.
    let script = format!("{ASK} ask 127.0.0.1 {port}");
    let outside = std::process::Command::new("bash")
        .args(["-c", &script])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&outside.stdout), "heard hello\n");
    // It fails with 1 where the socket has an error (ECONNREFUSED), and with 124 where it waits in vain.
    let script = format!("{ASK} ask 127.0.0.1 {port}; ask 8.8.8.8 443; ask 2001:db8::1 443");
    let (said, told) = run(r#""allowedUdp": []"#, &script, async |_| {}).await;
    assert_eq!(said, "none after 1\nnone after 1\nnone after 1\n");
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test]
async fn what_is_named_is_reached_and_answers_as_itself() {
    let port = server("127.0.0.1:0");
    let script = format!(
        "{ASK} ask 127.0.0.1 {port}; ask 127.0.0.1 {port}; \
         exec 4<>/dev/udp/9.9.9.9/{port}; echo x >&4; echo x >&4; take 0.3 <&4"
    );
    let rule = format!(r#""allowedUdp": ["127.0.0.1:{port}"]"#);
    let (said, told) = run(&rule, &script, async |_| {}).await;
    assert_eq!(said, "heard hello\nheard hello\nnone after 124\n");
    let mut flows = 0;
    let mut denied = Vec::new();
    for event in told {
        match event {
            Event::Flow {
                front_end,
                target,
                bytes_out,
                bytes_in,
                ended,
                ..
            } => {
                flows += 1;
                assert_eq!((front_end, bytes_out, bytes_in), (FrontEnd::Udp, 6, 12));
                assert_eq!(target.to_string(), format!("127.0.0.1:{port}"));
                assert_eq!(ended, FlowEnd::Done);
            }
            Event::Denied { front_end, denial } => denied.push((front_end, denial.subject)),
            other @ Event::Failed { .. } => panic!("{other:?}"),
        }
    }
    assert_eq!(flows, 2);
    assert_eq!(denied, [(FrontEnd::Udp, format!("9.9.9.9:{port}"))]);
}

#[tokio::test]
async fn policy_may_take_it_back() {
    let port = server("127.0.0.1:0");
    let script = format!(
        "{ASK} exec 4<>/dev/udp/127.0.0.1/{port}; echo one >&4; take 10 <&4; \
         for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.3; echo two >&4; \
         take 0.3 <&4 | grep -q heard || {{ echo ended; exit; }}; done; echo goes on"
    );
    let rule = format!(r#""allowedUdp": ["127.0.0.1:{port}"]"#);
    let (said, told) = run(&rule, &script, async |launch| {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while launch.flows().list().is_empty() {
            assert!(std::time::Instant::now() < deadline, "no flow");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        launch.set_network(Arc::default());
    })
    .await;
    assert_eq!(said, "heard one\nended\n");
    let taken = told.iter().any(|event| {
        matches!(
            event,
            Event::Flow {
                front_end: FrontEnd::Udp,
                ended: FlowEnd::NoLongerPermitted(_),
                ..
            }
        )
    });
    assert!(taken, "{told:?}");
}
