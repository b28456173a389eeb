//! What the tests of real sandboxes share: a folder with a spec for it, and a command run in it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test program uses its part; a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use srt_sandbox::{
    Access, Command, Exit, LaunchError, Limits, NetworkSpec, OwnPlaces, PathRule, Prepared,
    Sandbox, SandboxSpec, Seed, Stdio, TempFolder, Tools, UnixSockets, Violation,
};

pub fn tools() -> Tools {
    Tools {
        jail: std::env::var_os("SRT_BIN_DIR").map_or_else(
            || PathBuf::from(env!("CARGO_BIN_EXE_srt-jail")),
            |folder| PathBuf::from(folder).join("srt-jail"),
        ),
        bwrap: "/usr/bin/bwrap".into(),
    }
}

/// A server's descriptors, and the other ends: its standard input, and its output and errors together.
pub fn pipes() -> (Stdio, std::io::PipeWriter, std::io::PipeReader) {
    let (stdin, input) = std::io::pipe().unwrap();
    let (output, stdout) = std::io::pipe().unwrap();
    let stderr = stdout.try_clone().unwrap().into();
    let stdio = Stdio::of(stdin.into(), stdout.into(), stderr);
    (stdio, input, output)
}

pub fn command(arguments: &[&str]) -> Command {
    Command {
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        environment: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        cwd: "/".into(),
        expected: Vec::new(),
        umask: 0o027,
    }
}

pub async fn prepare(spec: SandboxSpec, tools: &Tools) -> Result<Prepared, LaunchError> {
    Prepared::new(Seed::plant(tools).await?, spec, tools).await
}

/// All that a server writes until it ends.
pub async fn read_all(mut output: std::io::PipeReader) -> String {
    tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        text
    })
    .await
    .unwrap()
}

pub struct Room {
    pub folder: tempfile::TempDir,
    pub files: Vec<(PathBuf, Access)>,
}

impl Room {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        Self {
            folder,
            files: vec![("/run".into(), Access::None)],
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    pub fn rule(&mut self, name: &str, access: Access) -> PathBuf {
        let path = self.path(name);
        self.files.push((path.clone(), access));
        path
    }

    pub fn spec(&self) -> SandboxSpec {
        SandboxSpec {
            files: self
                .files
                .iter()
                .map(|(path, access)| PathRule {
                    path: path.clone(),
                    access: *access,
                })
                .collect(),
            temp: TempFolder {
                host: self.path("tmp"),
                inside: "/run/srt/tmp".into(),
            },
            network: NetworkSpec::default(),
            limits: Limits::default(),
            unix_sockets: UnixSockets::default(),
            nested_user_namespaces: false,
            overlays: Vec::new(),
            own: OwnPlaces::default(),
            patterns: srt_sandbox::Patterns::default(),
            judged: None,
            observe: true,
        }
    }

    pub async fn start(
        &self,
        script: &str,
    ) -> Result<(Sandbox, std::io::PipeWriter, std::io::PipeReader), LaunchError> {
        self.start_spec(self.spec(), script).await
    }

    pub async fn start_spec(
        &self,
        spec: SandboxSpec,
        script: &str,
    ) -> Result<(Sandbox, std::io::PipeWriter, std::io::PipeReader), LaunchError> {
        let prepared = prepare(spec, &tools()).await?;
        let (stdio, input, output) = pipes();
        let command = command(&["sh", "-c", script]);
        let sandbox = prepared.start(command, stdio, |_| {}).await?;
        Ok((sandbox, input, output))
    }

    pub async fn run(&self, script: &str) -> (Exit, String) {
        self.run_spec(self.spec(), script).await
    }

    pub async fn run_spec(&self, spec: SandboxSpec, script: &str) -> (Exit, String) {
        let (mut sandbox, input, output) = self.start_spec(spec, script).await.unwrap();
        drop(input);
        let text = read_all(output).await;
        (sandbox.wait().await, text)
    }
}

/// Runs a script and collects what was observed of it.
pub async fn observed(room: &Room, spec: SandboxSpec, script: &str) -> (String, Vec<Violation>) {
    let prepared = prepare(spec, &tools()).await.unwrap();
    run_observed(room, prepared, script).await
}

/// The same, in a sandbox that stands already.
pub async fn run_observed(
    room: &Room,
    prepared: Prepared,
    script: &str,
) -> (String, Vec<Violation>) {
    let (stdio, input, output) = pipes();
    let command = Command {
        cwd: room.path(""),
        ..command(&["sh", "-c", script])
    };
    let (report, reports) = std::sync::mpsc::channel();
    let mut sandbox = prepared
        .start(command, stdio, move |violation| {
            report.send(violation).unwrap()
        })
        .await
        .unwrap();
    drop(input);
    let text = read_all(output).await;
    sandbox.wait().await;
    (text, reports.into_iter().collect())
}
