//! The program `srtd` as its clients find it: the socket, the standard services, the log's form, the orderly end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// What a loaded machine may need.
const SOON: Duration = Duration::from_secs(30);

struct Daemon {
    child: Child,
    home: tempfile::TempDir,
}

impl Daemon {
    fn start(arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_srtd"))
            .args(arguments)
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("SRT_SOCKET", home.path().join("run/srtd.sock"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, home }
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("run/srtd.sock")
    }

    async fn connect(&self) -> Channel {
        let endpoint = Endpoint::try_from(format!("unix://{}", self.socket().display())).unwrap();
        let deadline = Instant::now() + SOON;
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it by SIGTERM; its status and what it logged.
    fn end(mut self) -> (ExitStatus, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        (self.child.wait().unwrap(), log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn health_and_reflection_are_on() {
    let daemon = Daemon::start(&[]);
    let channel = daemon.connect().await;
    let names = ["Sessions", "Servers", "Audit", "Daemon"].map(|name| format!("srt.v1.{name}"));
    for service in &names {
        let request = HealthCheckRequest {
            service: service.clone(),
        };
        let answer = HealthClient::new(channel.clone())
            .check(request)
            .await
            .unwrap();
        assert_eq!(
            answer.into_inner().status(),
            ServingStatus::Serving,
            "{service}"
        );
    }
    let unknown = HealthCheckRequest {
        service: "srt.v1.Nothing".into(),
    };
    HealthClient::new(channel.clone())
        .check(unknown)
        .await
        .unwrap_err();

    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(list))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = answer else {
        panic!("no list of services: {answer:?}");
    };
    let listed: Vec<String> = listed
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for service in &names {
        assert!(listed.contains(service), "{service} is not in {listed:?}");
    }
}

#[tokio::test]
async fn the_socket_is_ours_alone_and_goes_with_the_daemon() {
    let daemon = Daemon::start(&[]);
    drop(daemon.connect().await);
    let socket = daemon.socket();
    let meta = std::fs::symlink_metadata(&socket).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    let folder = std::fs::metadata(socket.parent().unwrap()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    // A second daemon on the same socket is told of the first, which goes on.
    let second = Command::new(env!("CARGO_BIN_EXE_srtd"))
        .env_clear()
        .env("HOME", daemon.home.path())
        .env("SRT_SOCKET", &socket)
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        said.contains(&daemon.child.id().to_string()) && said.contains("hint: "),
        "{said}"
    );
    drop(daemon.connect().await);
    let home = daemon.home.path().to_owned();
    let (status, log) = daemon.end();
    assert!(status.success(), "{status}: {log}");
    assert!(!socket.exists() && !home.join("run").join("srtd.sock").exists());
}

#[tokio::test]
async fn the_log_is_json_where_that_is_asked_for() {
    let daemon = Daemon::start(&["--log-format", "json"]);
    drop(daemon.connect().await);
    let (_, log) = daemon.end();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(
        lines
            .iter()
            .any(|line| line["fields"]["message"] == "ready" && line["level"] == "INFO"),
        "{log}"
    );
}
