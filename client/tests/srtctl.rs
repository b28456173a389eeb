//! The person's tool as a person or a script sees it: the real `srtctl`, against mocks of the daemon's services.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use srt_proto::v1::approvals_server::{Approvals, ApprovalsServer};
use srt_proto::v1::audit_server::{Audit, AuditServer};
use srt_proto::v1::daemon_server::{Daemon, DaemonServer};
use srt_proto::v1::servers_server::{Servers, ServersServer};
use srt_proto::v1::{
    AddRequest, AddResponse, ApprovalsRequest, ApprovalsResponse, AuditEntry, AuditRequest,
    DaemonStatus, DaemonStatusRequest, DaemonStopRequest, DaemonStopResponse, DaemonUpgradeRequest,
    DaemonUpgradeResponse, ListRequest, ListResponse, LogLine, LogsRequest, OtlpLine,
    ReloadRequest, ReloadResponse, Reloaded, RemoveRequest, RemoveResponse, SelectRequest,
    SelectResponse, SelectResult, Server, SettleQuestionRequest, SettleQuestionResponse,
    ShowPolicyRequest, ShowPolicyResponse, WhoTouchedAnswer, WhoTouchedRequest, WhyRequest,
    WhyResponse,
};
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use support::{Home, refusal, text};
use tonic::{Request, Response, Status};

/// Two servers: `files` runs, `git` failed. `slow` never finishes. Anything else is unknown.
#[derive(Clone, Default)]
struct Mock {
    added: Arc<Mutex<Vec<AddRequest>>>,
    selected: Arc<Mutex<Vec<(&'static str, SelectRequest)>>>,
    queried: Arc<Mutex<Vec<AuditRequest>>>,
    logged: Arc<Mutex<Vec<LogsRequest>>>,
    socket: PathBuf,
}

type Items<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

fn items<T>(items: impl IntoIterator<Item = T>) -> Response<Items<T>> {
    let items: Vec<_> = items.into_iter().map(Ok).collect();
    Response::new(tokio_stream::iter(items))
}

fn known(name: &str) -> Result<(), Status> {
    match name {
        "files" | "git" | "slow" => Ok(()),
        name => Err(refusal(
            "4",
            &format!("no server is called \"{name}\"\nhint: srtctl list"),
        )),
    }
}

impl Mock {
    async fn select(
        &self,
        verb: &'static str,
        request: SelectRequest,
    ) -> Result<Response<SelectResponse>, Status> {
        self.selected.lock().unwrap().push((verb, request.clone()));
        if request.names.iter().any(|name| name == "slow") {
            std::future::pending::<()>().await;
        }
        let result = |name: &String| match known(name) {
            Ok(()) => SelectResult {
                name: name.clone(),
                ..SelectResult::default()
            },
            Err(status) => SelectResult {
                name: name.clone(),
                error: status.message().into(),
                exit_code: 4,
            },
        };
        Ok(Response::new(SelectResponse {
            results: request.names.iter().map(result).collect(),
        }))
    }
}

#[tonic::async_trait]
impl Servers for Mock {
    type LogsStream = Items<LogLine>;

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let names = request.into_inner().names;
        names.iter().try_for_each(|name| known(name))?;
        let files = Server {
            name: "files".into(),
            state: "running".into(),
            pid: 7,
            ..Server::default()
        };
        let git = Server {
            name: "git".into(),
            state: "failed".into(),
            ..Server::default()
        };
        let mut servers = vec![files, git];
        servers.retain(|server| names.is_empty() || names.contains(&server.name));
        Ok(Response::new(ListResponse { servers }))
    }
    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddResponse>, Status> {
        self.added.lock().unwrap().push(request.into_inner());
        Ok(Response::new(AddResponse {}))
    }
    async fn remove(
        &self,
        request: Request<RemoveRequest>,
    ) -> Result<Response<RemoveResponse>, Status> {
        known(&request.into_inner().name).map(|()| Response::new(RemoveResponse {}))
    }
    async fn start(
        &self,
        request: Request<SelectRequest>,
    ) -> Result<Response<SelectResponse>, Status> {
        self.select("start", request.into_inner()).await
    }
    async fn stop(
        &self,
        request: Request<SelectRequest>,
    ) -> Result<Response<SelectResponse>, Status> {
        self.select("stop", request.into_inner()).await
    }
    async fn restart(
        &self,
        request: Request<SelectRequest>,
    ) -> Result<Response<SelectResponse>, Status> {
        self.select("restart", request.into_inner()).await
    }
    async fn logs(
        &self,
        request: Request<LogsRequest>,
    ) -> Result<Response<Items<LogLine>>, Status> {
        let request = request.into_inner();
        known(&request.name)?;
        let quiet = request.name == "git";
        self.logged.lock().unwrap().push(request);
        let line = |id| LogLine {
            id,
            stream: "stderr".into(),
            line: format!("line {id}"),
            ..LogLine::default()
        };
        Ok(items((1..=2).filter(|_| !quiet).map(line)))
    }
    /// The settings of git cannot be used.
    async fn reload(
        &self,
        request: Request<ReloadRequest>,
    ) -> Result<Response<ReloadResponse>, Status> {
        let names = request.into_inner().names;
        names.iter().try_for_each(|name| known(name))?;
        let told = |name: &String| Reloaded {
            name: name.clone(),
            error: if name == "git" {
                "/s.json:1:2: error: x".into()
            } else {
                String::new()
            },
            ..Reloaded::default()
        };
        let servers = names.iter().map(told).collect();
        Ok(Response::new(ReloadResponse { servers }))
    }
    async fn show_policy(
        &self,
        request: Request<ShowPolicyRequest>,
    ) -> Result<Response<ShowPolicyResponse>, Status> {
        known(&request.into_inner().name).map(|()| Response::new(ShowPolicyResponse::default()))
    }
    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyResponse>, Status> {
        let request = request.into_inner();
        known(&request.name)?;
        // The first letter of what is asked about decides.
        let decision = match request.subject.trim_start_matches('/').chars().next() {
            Some('a') => "allow",
            Some('o') => "would-deny",
            Some('q') => "ask",
            _ => "deny",
        };
        Ok(Response::new(WhyResponse {
            decision: decision.into(),
            subject: format!("{} {}", request.operation, request.subject),
            ..WhyResponse::default()
        }))
    }
}

#[tonic::async_trait]
impl Audit for Mock {
    type QueryStream = Items<AuditEntry>;

    async fn query(
        &self,
        request: Request<AuditRequest>,
    ) -> Result<Response<Items<AuditEntry>>, Status> {
        let request = request.into_inner();
        // As many as it takes to fill a pipe that nobody reads.
        let count = match request.kind.as_str() {
            "deny" => 2,
            "allow" => 20_000,
            _ => 0,
        };
        self.queried.lock().unwrap().push(request);
        let entry = |seq| AuditEntry {
            seq,
            at: "2026-11-20T12:00:00.000Z".into(),
            kind: "deny".into(),
            detail: "{\"via\":\"dns\",\"rule\":\"default\"}".into(),
            ..AuditEntry::default()
        };
        Ok(items((1..=count).map(entry)))
    }

    type ExportOtlpStream = Items<OtlpLine>;

    async fn export_otlp(
        &self,
        _: Request<AuditRequest>,
    ) -> Result<Response<Items<OtlpLine>>, Status> {
        let json = "{\"resourceLogs\":[]}".to_owned();
        Ok(items([OtlpLine { json }]))
    }

    async fn who_touched(
        &self,
        request: Request<WhoTouchedRequest>,
    ) -> Result<Response<WhoTouchedAnswer>, Status> {
        let what = request.into_inner().what;
        let notes = vec![format!("asked for {what}")];
        Ok(Response::new(WhoTouchedAnswer {
            notes,
            ..WhoTouchedAnswer::default()
        }))
    }
}

#[tonic::async_trait]
impl Approvals for Mock {
    type ListStream = Items<ApprovalsResponse>;

    async fn list(
        &self,
        _: Request<ApprovalsRequest>,
    ) -> Result<Response<Items<ApprovalsResponse>>, Status> {
        Ok(items(std::iter::once(ApprovalsResponse::default())))
    }
    /// Says back what it was told, where a target would be.
    async fn settle(
        &self,
        request: Request<SettleQuestionRequest>,
    ) -> Result<Response<SettleQuestionResponse>, Status> {
        let asked = request.into_inner();
        let told = format!("{} {} {}", asked.approve, asked.scope, asked.seconds);
        Ok(Response::new(SettleQuestionResponse {
            server: asked.id,
            target: told,
            ..SettleQuestionResponse::default()
        }))
    }
}

#[tonic::async_trait]
impl Daemon for Mock {
    async fn status(
        &self,
        _: Request<DaemonStatusRequest>,
    ) -> Result<Response<DaemonStatus>, Status> {
        Ok(Response::new(DaemonStatus {
            version: "9.9".into(),
            pid: 3,
            ..DaemonStatus::default()
        }))
    }
    async fn stop(
        &self,
        _: Request<DaemonStopRequest>,
    ) -> Result<Response<DaemonStopResponse>, Status> {
        // What the real one does when all is over.
        std::fs::remove_file(&self.socket)?;
        Ok(Response::new(DaemonStopResponse {}))
    }
    async fn upgrade(
        &self,
        _: Request<DaemonUpgradeRequest>,
    ) -> Result<Response<DaemonUpgradeResponse>, Status> {
        Err(Status::unimplemented("the mock is no program"))
    }
}

fn home() -> (Home, Mock) {
    let mut home = Home::empty();
    let mock = Mock {
        socket: home.socket(),
        ..Mock::default()
    };
    home.listen(|routes| {
        routes
            .add_service(ServersServer::new(mock.clone()))
            .add_service(AuditServer::new(mock.clone()))
            .add_service(ApprovalsServer::new(mock.clone()))
            .add_service(DaemonServer::new(mock.clone()));
    });
    (home, mock)
}

fn run(home: &Home, args: &[&str]) -> Output {
    home.srtctl(args).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn check(home: &Home, args: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = run(home, args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(
        (output.status.code(), out, err),
        (Some(code), stdout, stderr),
        "{args:?}"
    );
}

#[track_caller]
fn parsed(home: &Home, args: &[&str]) -> Value {
    let output = run(home, args);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    assert_eq!(
        value.to_string(),
        sorted.to_string(),
        "{args:?}: keys are not sorted"
    );
    value
}

#[test]
fn list_and_status() {
    let (home, _) = home();
    let heading =
        "NAME   STATE    ENABLED  PID  SESSIONS  RESTARTS  UPTIME  MEM  POLICY  LAST-EXIT\n";
    let files = "files  running  -        7    0         0         0s      0 B  -       -\n";
    let git = "git    failed   -        -    0         0         -       -    -       -\n";
    check(&home, &["list"], 0, &format!("{heading}{files}{git}"), "");
    check(&home, &["status"], 0, &format!("{heading}{files}{git}"), "");
    check(
        &home,
        &["status", "files"],
        0,
        "files\n  state        running\n  pid          7\n  up for       0s\n  memory       0 B\n  \
         restarts     0\n  starts       when a host attaches; it is not registered\n  sessions     0\n",
        "",
    );
    assert_eq!(
        run(&home, &["status", "files", "git"]).status.code(),
        Some(3)
    );
    assert_eq!(run(&home, &["list", "git"]).status.code(), Some(0));
    let unknown = "error: no server is called \"nope\"\nhint: srtctl list\n";
    check(&home, &["status", "nope"], 4, "", unknown);
}

#[test]
fn why_ends_with_the_decision_and_sends_whole_paths() {
    let (home, _) = home();
    for (subject, code) in [
        ("allowed", 0),
        ("observed", 0),
        ("queried", 7),
        ("denied", 7),
    ] {
        let output = run(&home, &["policy", "why", "files", "connect", subject]);
        assert_eq!(output.status.code(), Some(code), "{subject}");
    }
    let path = home.path().canonicalize().unwrap().join("x/y");
    let value = parsed(&home, &["policy", "why", "files", "read", "--json", "x/y"]);
    assert_eq!(value["subject"], format!("read {}", path.display()));
    assert_eq!(
        (&value["rule"], &value["running"]),
        (&Value::Null, &false.into())
    );
    let output = run(&home, &["policy", "why", "nope", "write", "x"]);
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn an_answer_says_for_how_long() {
    let (home, _) = home();
    for (words, told) in [
        (&["approve", "k7x2"][..], "true once 0"),
        (&["approve", "k7x2", "--for", "session"], "true session 0"),
        (&["approve", "k7x2", "--for", "1h"], "true time 3600"),
        (&["approve", "k7x2", "--for", "always"], "true always 0"),
        (&["deny", "k7x2"], "false  0"),
    ] {
        let value = parsed(&home, &[words, &["--json"]].concat());
        assert_eq!(value["target"], told, "{words:?}");
        assert_eq!(value["server"], "k7x2");
    }
    check(&home, &["approvals"], 0, "nothing waits for approval\n", "");
    check(&home, &["approvals", "--json"], 0, "[]\n", "");
    check(
        &home,
        &["deny", "k7x2"],
        0,
        "k7x2 may not connect to false  0\n",
        "",
    );
}

#[test]
fn status_json_has_stable_names() {
    let (home, _) = home();
    let value = parsed(&home, &["status", "--json"]);
    assert_eq!(
        value[1],
        json!({
            "attached": [], "command": [], "cwd": "", "enabled": false, "last_exit": null, "memory_bytes": 0, "name": "git", "next_retry": null, "next_start": [],
            "pid": null, "policy": {"digest": "", "files": [], "generation": 0, "profile": null, "source": ""}, "policy_trouble": "", "ready": false, "reason": "", "registered": false,
            "restart": "", "restarts": 0, "sessions": 0, "state": "failed", "uptime_seconds": 0.0, "warm": 0,
        })
    );
    assert_eq!(value[0]["pid"], 7);
    assert_eq!(
        run(&home, &["status", "--json", "git"]).status.code(),
        Some(3)
    );
}

#[test]
fn nothing_is_an_empty_array() {
    let (home, _) = home();
    check(&home, &["audit", "--json"], 0, "[]\n", "");
    check(
        &home,
        &["audit", "--json", "-n", "0", "--kind", "deny"],
        0,
        "[]\n",
        "",
    );
    check(&home, &["logs", "git", "--json"], 0, "[]\n", "");
    assert_eq!(
        parsed(&home, &["policy", "show", "git", "--json"])["lines"],
        json!([])
    );
}

#[test]
fn add_and_remove_are_silent() {
    let (home, mock) = home();
    let args = [
        "add", "files", "--cwd", "w", "--env", "A", "--env", "B=c=d", "--", "npx", "-y", "--cwd",
    ];
    check(&home, &args, 0, "", "");
    let added = mock.added.lock().unwrap().remove(0);
    let here = std::fs::canonicalize(home.path()).unwrap();
    assert_eq!(added.name, "files");
    assert_eq!(added.command, ["npx", "-y", "--cwd"]);
    assert_eq!(added.cwd, here.join("w").display().to_string());
    assert_eq!(added.settings, "");
    let env: Vec<_> = added
        .env
        .iter()
        .map(|var| (var.name.as_str(), var.value.as_deref()))
        .collect();
    assert_eq!(env, [("A", None), ("B", Some("c=d"))]);
    check(&home, &["remove", "files"], 0, "", "");
    assert_eq!(run(&home, &["remove", "nope"]).status.code(), Some(4));
}

#[test]
fn start_stop_restart() {
    let (home, mock) = home();
    for verb in ["start", "stop", "restart"] {
        check(&home, &[verb, "files", "git"], 0, "", "");
    }
    check(&home, &["stop", "--all"], 0, "", "");
    let unknown = "error: no server is called \"nope\"\nhint: srtctl list\n";
    check(&home, &["start", "files", "nope"], 4, "", unknown);
    let late = "error: restart is not done after 1 s\nhint: it may still succeed: srtctl status\n";
    check(&home, &["restart", "slow", "--timeout", "1"], 124, "", late);
    let selected = mock.selected.lock().unwrap();
    let verbs: Vec<_> = selected.iter().map(|(verb, _)| *verb).collect();
    assert_eq!(
        verbs,
        ["start", "stop", "restart", "stop", "start", "restart"]
    );
    assert_eq!(selected[0].1.environment["TZ"], "UTC");
    assert!(selected[1].1.environment.is_empty());
    assert!(selected[3].1.all);
}

#[test]
fn reload_tells_of_files_that_cannot_be_used() {
    let (home, _) = home();
    check(&home, &["reload", "files"], 0, "files\n", "");
    let told =
        "files\ngit: /s.json:1:2: error: x\n  it cannot be started before that is put right\n";
    check(&home, &["reload", "files", "git"], 6, told, "");
    assert_eq!(run(&home, &["reload", "nobody"]).status.code(), Some(4));
}

#[test]
fn logs_and_audit() {
    let (home, mock) = home();
    let output = run(&home, &["logs", "files", "-n", "5", "--stream", "stderr"]);
    assert!(
        text(&output.stdout).ends_with("stderr line 2\n"),
        "{output:?}"
    );
    assert_eq!(
        parsed(&home, &["logs", "files", "--json"])[1]["line"],
        "line 2"
    );
    check(
        &home,
        &["audit", "--kind", "deny", "--server", "files"],
        0,
        "TIME                 KIND        SERVER             SUBJECT                       DETAIL\n\
         2026-11-20 12:00:00  deny                                                         rule: default  via=dns\n\
         2026-11-20 12:00:00  deny                                                         rule: default  via=dns\n",
        "",
    );
    let value = parsed(&home, &["audit", "--kind", "deny", "--json"]);
    assert_eq!(value[1]["detail"], json!({"rule": "default", "via": "dns"}));
    let lines = run(&home, &["audit", "--kind", "deny", "--json", "-f"]);
    let lines: Vec<Value> = text(&lines.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    run(&home, &["audit", "--since", "2026-11-20T08:00:00+02:00"]);
    // A full page says how to get the next one, having looked whether there is any.
    let page = run(&home, &["audit", "--kind", "deny", "-n", "2"]);
    assert!(
        text(&page.stdout).ends_with("\nolder entries: --before 1\n"),
        "{page:?}"
    );
    let touched = parsed(&home, &["audit", "who-touched", "x.example", "--json"]);
    assert_eq!(touched["notes"], json!(["asked for x.example"]));
    let exported = run(
        &home,
        &["audit", "export", "--kind", "deny", "--format", "csv"],
    );
    assert_eq!(text(&exported.stdout).lines().count(), 3, "{exported:?}");
    let exported = run(&home, &["audit", "export", "--format", "otlp"]);
    assert_eq!(text(&exported.stdout), "{\"resourceLogs\":[]}\n");
    let queried = mock.queried.lock().unwrap();
    let limits: Vec<_> = queried.iter().map(|request| request.limit).collect();
    assert_eq!(limits, [0, 0, 10, 0, 2, 1, 0]);
    assert_eq!(queried[5].before, 1);
    assert_eq!(queried[3].since, "2026-11-20T06:00:00Z");
    assert_eq!(mock.logged.lock().unwrap()[0].lines, 5);
}

#[test]
fn a_reader_that_leaves_ends_us_quietly() {
    let (home, _) = home();
    for args in [
        &["audit", "--kind", "allow"][..],
        &["audit", "--kind", "allow", "--json"],
    ] {
        let mut child = support::piped(&mut home.srtctl(args));
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    }
}

/// Reads an HTTP/2 connection up to its first DATA frame (RFC 9113, section 4.1): a whole request by then.
fn read_request(stream: &mut UnixStream) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).unwrap();
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).unwrap();
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).unwrap();
        if header[3] == 0 {
            return;
        }
    }
}

#[test]
fn a_daemon_that_ends_before_its_answer_is_out_was_stopped() {
    for (leaves, timeout, code) in [(true, "30", 0), (false, "1", 5)] {
        let home = Home::empty();
        let socket = home.socket();
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(socket.parent().unwrap())
            .unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let lock = std::fs::File::create(srt_proto::socket::lock_of(&socket)).unwrap();
        lock.lock().unwrap();
        let mut child = support::piped(&mut home.srtctl(&["daemon", "stop", "--timeout", timeout]));
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&mut stream);
        drop(stream);
        if leaves {
            drop(lock);
            assert_eq!(support::ended(&mut child).code(), Some(code));
        } else {
            // It stays: the lost connection settles nothing.
            assert_eq!(support::ended(&mut child).code(), Some(code));
            drop(lock);
        }
    }
}

#[test]
fn the_daemon() {
    let (home, _) = home();
    let value = parsed(&home, &["daemon", "status", "--json"]);
    assert_eq!(
        (&value["running"], &value["version"]),
        (&json!(true), &json!("9.9"))
    );
    assert!(text(&run(&home, &["daemon", "status"]).stdout).contains("version        9.9\n"));
    check(&home, &["daemon", "start"], 0, "", "");
    check(&home, &["daemon", "stop"], 0, "", "");
    check(&home, &["daemon", "stop"], 0, "", "");
    check(&home, &["daemon", "status"], 3, "not running\n", "");
    check(
        &home,
        &["daemon", "status", "--json"],
        3,
        "{\n  \"running\": false\n}\n",
        "",
    );
    let output = run(&home, &["list"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        text(&output.stderr).ends_with("\nhint: srtctl daemon start\n"),
        "{output:?}"
    );
}

/// Puts srtctl and a script as srtd into a home's `bin`; returns srtctl's path.
fn with_srtd(home: &Home, script: &str) -> PathBuf {
    support::install(home, env!("CARGO_BIN_EXE_srtctl"), script)
}

#[test]
fn check_and_doctor_ask_srtd_itself() {
    let home = Home::empty();
    let answer = r#"{"platform":"linux","checks":[{"status":"missing","name":"bubblewrap","found":"","remedy":"apt install bubblewrap"}],"files":[{"path":"s.json","ok":false,"diagnostics":[{"severity":"error","line":3,"column":7,"message":"no","hint":"yes"}]}]}"#;
    let srtctl = with_srtd(
        &home,
        &format!(
            "echo \"$*\" >> \"$HOME/asked\"; echo '{answer}'; [ $1 = check ] && exit 6; exit 1"
        ),
    );
    let run = |args: &[&str]| {
        home.command(srtctl.to_str().unwrap())
            .args(args)
            .output()
            .unwrap()
    };
    let output = run(&["policy", "check", "s.json"]);
    assert_eq!(output.status.code(), Some(6));
    assert_eq!(text(&output.stdout), "s.json:3:7: error: no\nhint: yes\n");
    let output = run(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "MISSING  bubblewrap\nhint: apt install bubblewrap\n"
    );
    let output = run(&["doctor", "--json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["checks"][0]["found"], "");
    assert!(text(&output.stdout).find("\"checks\"") < text(&output.stdout).find("\"platform\""));
    let asked = std::fs::read_to_string(home.path().join("asked")).unwrap();
    assert_eq!(
        asked,
        "check --json -- s.json\ndoctor --json\ndoctor --json\n"
    );
    let home = Home::empty();
    let srtctl = with_srtd(&home, "echo not json");
    let output = home
        .command(srtctl.to_str().unwrap())
        .arg("doctor")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("hint: srtctl and srtd may be of different versions"));
}

#[test]
fn completions_name_the_commands() {
    let home = Home::empty();
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&home, &["completions", shell]);
        assert!(
            output.status.success() && text(&output.stdout).contains("doctor"),
            "{shell}"
        );
    }
}

#[test]
fn no_colour_unless_on_a_terminal() {
    let (home, _) = home();
    for args in [&["status"][..], &["status", "nope"], &["--help"]] {
        let output = run(&home, args);
        assert!(
            !output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b),
            "{args:?}"
        );
    }
}
