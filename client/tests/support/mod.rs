//! A mock of srtd for the client's tests: the services of the contract over a socket in a temporary folder.
//!
//! It launches nothing. What a "server" does is chosen by the session's command; see [`Mock::attach`].
#![allow(dead_code, unreachable_pub)]
// each test binary includes this file and uses a part
// unwrap: this is all tests. Conversions: the generated code may hold chunks as Vec<u8> or as Bytes.
#![allow(clippy::unwrap_used, clippy::useless_conversion)]

use srt_proto::v1::attach_request::Message as Request;
use srt_proto::v1::attach_response::Message as Response;
use srt_proto::v1::sessions_server::{Sessions, SessionsServer};
use srt_proto::v1::{
    AttachRequest, AttachResponse, Exited, Open, Opened, SignalRequest, SignalResponse,
};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Response as Reply, Status, Streaming};

/// Long enough for a loaded machine; nothing is asserted to be slow.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// What the mock saw.
#[derive(Default, Debug)]
pub struct Seen {
    pub opens: Vec<Open>,
    pub signals: Vec<(String, i32)>,
    /// Streams that ended before the mock had said Exited.
    pub lost: usize,
    pub stdin_ends: usize,
    /// Chunks that `fill` could hand to the stream.
    pub filled: usize,
}

#[derive(Clone, Default)]
pub struct Mock {
    pub seen: Arc<Mutex<Seen>>,
}

type Replies = mpsc::Sender<Result<AttachResponse, Status>>;

impl Mock {
    /// The command's first word says what the "server" is: `echo` sends stdin back, `exit N` ends at once after
    /// writing to both outputs, `fill` writes for ever, `hang` does nothing, `die` ends the stream without Exited,
    /// `count` says after stdin's end how many bytes came, `refuse` is no server at all, `mixed` swaps big and
    /// small chunks.
    async fn serve(self, open: Open, mut requests: Streaming<AttachRequest>, replies: Replies) {
        let send = |message| {
            let replies = replies.clone();
            async move {
                let message = Some(message);
                replies.send(Ok(AttachResponse { message })).await.is_ok()
            }
        };
        let exited = |code| {
            Response::Exited(Exited {
                code,
                signal: 0,
                reason: format!("exited with status {code}"),
                again: false,
            })
        };
        let opened = Opened {
            attachment: "mock-attachment".into(),
            launch: "mock-launch".into(),
            name: open.name.clone(),
            ..Opened::default()
        };
        send(Response::Opened(opened)).await;
        let word = open.command.first().map_or("echo", String::as_str);
        match word {
            "exit" => {
                send(Response::Stdout(b"out\n".to_vec().into())).await;
                send(Response::Stderr(b"err\n".to_vec().into())).await;
                send(Response::Notice("a step".into())).await;
                send(exited(open.command[1].parse().unwrap())).await;
                return;
            }
            "fill" => {
                let chunk = vec![b'x'; srt_proto::CHUNK];
                while send(Response::Stdout(chunk.clone().into())).await {
                    self.seen.lock().unwrap().filled += 1;
                }
                self.seen.lock().unwrap().lost += 1;
                return;
            }
            "die" => {
                send(Response::Stdout(b"half".to_vec().into())).await;
                return;
            }
            "mixed" => {
                let mut next = 0u32;
                for size in [1, 70, 64, 16_384, 3, 16_384, 16_384, 1, 1].repeat(40) {
                    let words: Vec<u8> = (next..next + size).flat_map(u32::to_le_bytes).collect();
                    next += size;
                    send(Response::Stdout(words.into())).await;
                }
                send(exited(0)).await;
                return;
            }
            _ => {}
        }
        let mut count = 0;
        loop {
            match requests.message().await {
                Ok(Some(AttachRequest {
                    message: Some(Request::Stdin(chunk)),
                })) => {
                    assert!(chunk.len() <= srt_proto::CHUNK);
                    count += chunk.len();
                    if word == "echo" {
                        send(Response::Stdout(chunk)).await;
                    }
                }
                Ok(Some(AttachRequest {
                    message: Some(Request::StdinEnd(_)),
                })) => {
                    self.seen.lock().unwrap().stdin_ends += 1;
                    if word == "count" {
                        send(Response::Stdout(count.to_string().into_bytes().into())).await;
                    }
                    if word != "hang" {
                        send(exited(0)).await;
                        return;
                    }
                }
                Ok(Some(_)) => panic!("a message that has no place here"),
                Ok(None) | Err(_) => {
                    self.seen.lock().unwrap().lost += 1;
                    return;
                }
            }
        }
    }
}

#[tonic::async_trait]
impl Sessions for Mock {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: tonic::Request<Streaming<AttachRequest>>,
    ) -> Result<Reply<Self::AttachStream>, Status> {
        let mut requests = request.into_inner();
        let Some(AttachRequest {
            message: Some(Request::Open(open)),
        }) = requests.message().await?
        else {
            return Err(Status::invalid_argument("the first request is not Open"));
        };
        self.seen.lock().unwrap().opens.push(open.clone());
        if open.command.first().is_some_and(|word| word == "refuse") {
            return Err(refusal(
                &open.command[1],
                "no such thing\nhint: do otherwise",
            ));
        }
        let (replies, queue) = mpsc::channel(4);
        tokio::spawn(self.clone().serve(open, requests, replies));
        Ok(Reply::new(Box::pin(ReceiverStream::new(queue))))
    }

    async fn signal(
        &self,
        request: tonic::Request<SignalRequest>,
    ) -> Result<Reply<SignalResponse>, Status> {
        let request = request.into_inner();
        let mut seen = self.seen.lock().unwrap();
        seen.signals.push((request.attachment, request.signal));
        Ok(Reply::new(SignalResponse {}))
    }
}

/// A refusal as the contract describes it.
pub fn refusal(code: &str, text: &str) -> Status {
    let mut status = Status::failed_precondition(text);
    status
        .metadata_mut()
        .insert(srt_proto::EXIT_CODE, code.parse().unwrap());
    status
}

/// A temporary home with a mock daemon in it.
pub struct Home {
    pub folder: tempfile::TempDir,
    pub mock: Mock,
    /// Dropping it ends the mock.
    _stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Home {
    /// Nobody listens.
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            mock: Mock::default(),
            _stop: None,
        }
    }

    /// A mock daemon listens, with the Sessions service and what `add` adds.
    pub fn with(add: impl FnOnce(&mut tonic::service::RoutesBuilder)) -> Self {
        let mut home = Self::empty();
        home.listen(add);
        home
    }

    /// The mock begins to listen.
    pub fn listen(&mut self, add: impl FnOnce(&mut tonic::service::RoutesBuilder)) {
        let socket = self.socket();
        let folder = socket.parent().unwrap();
        if !folder.exists() {
            std::fs::DirBuilder::new()
                .mode(0o700)
                .create(folder)
                .unwrap();
        }
        let mut routes = tonic::service::Routes::builder();
        routes.add_service(SessionsServer::new(self.mock.clone()));
        add(&mut routes);
        let routes = routes.routes();
        let (ready, wait) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::bind(socket).unwrap();
                ready.send(()).unwrap();
                let stopped = async { drop(stopped.await) };
                tonic::transport::Server::builder()
                    .add_routes(routes)
                    .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stopped)
                    .await
                    .unwrap();
            });
        });
        wait.recv_timeout(DEADLINE).unwrap();
        self._stop = Some(stop);
    }

    pub fn listening() -> Self {
        Self::with(|_| ())
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run/srtd.sock")
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// One of our programs with nothing but this home in its environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", "/usr/bin:/bin")
            .env("SRT_SOCKET", self.socket())
            .env("TZ", "UTC")
            .current_dir(self.path());
        command
    }

    pub fn srt(&self, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_srt"));
        command.args(args);
        command
    }

    pub fn srtctl(&self, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_srtctl"));
        command.args(args);
        command
    }
}

/// Puts a copy of one of our programs, and a script as the srtd beside it, into the home's `bin`; returns the
/// program's path. Other processes write both: a descriptor of ours that is open for writing may be inherited for a
/// moment by a child that another test forks, and the kernel executes no file that somebody may write.
pub fn install(home: &Home, program: &str, script: &str) -> PathBuf {
    let bin = home.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let own = bin.join(Path::new(program).file_name().unwrap());
    let put = "mkdir -p \"$1\" && cp \"$2\" \"$1\" && cat > \"$1/srtd\" && chmod 755 \"$1/srtd\"";
    let mut command = Command::new("sh");
    command.args(["-c", put, "sh"]).arg(&bin).arg(program);
    let output = run_with(&mut command, format!("#!/bin/sh\n{script}\n").as_bytes());
    assert!(output.status.success(), "{output:?}");
    own
}

/// Starts with all three streams as pipes.
pub fn piped(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs with `input` on stdin.
pub fn run_with(command: &mut Command, input: &[u8]) -> Output {
    let mut child = piped(command);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut stdin, &input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Waits until `ready` says so.
pub fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !ready() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until a count has begun to grow and then stays the same for a while.
pub fn settled(what: &str, mut count: impl FnMut() -> usize) -> usize {
    let (mut last, mut same) = (0, 0);
    eventually(what, || {
        let now = count();
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        same == 50
    });
    last
}

/// Waits for a child's end, and kills it if that never comes.
pub fn ended(child: &mut Child) -> std::process::ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            panic!("did not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
