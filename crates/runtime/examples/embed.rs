//! A sandbox in a program of one's own, without the daemon: what an agent platform does.
//!
//! `embed SRT-JAIL SETTINGS COMMAND…` runs a command by a settings file, with its own stdin, stdout and stderr, and says on
//! stderr what it was refused and what it reached. Its exit status is the command's.

use std::collections::BTreeMap;
use std::error::Error;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use srt_policy::{Facts, Source, compile};
use srt_runtime::{Config, Event, LaunchRequest, SandboxManager, Stdio, Tools};
use tokio::sync::mpsc;
use uuid::Uuid;

#[tokio::main]
async fn main() -> ExitCode {
    run().await.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

async fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(jail), Some(settings)) = (arguments.next(), arguments.next()) else {
        return Err("usage: embed SRT-JAIL SETTINGS COMMAND…".into());
    };
    let command: Vec<String> = arguments.collect();
    let home = PathBuf::from(std::env::var_os("HOME").ok_or("HOME is not set")?);
    let cwd = std::env::current_dir()?;
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let path = environment.get("PATH").cloned().unwrap_or_default();

    // What holds launches' folders and what servers change is nobody's business inside.
    let state = tempfile::tempdir()?;
    let facts = Facts {
        program: srt_runtime::program(&command, &path, &cwd, &home),
        protected: vec![state.path().canonicalize()?],
        home: home.clone(),
        cwd: cwd.clone(),
        macos: cfg!(target_os = "macos"),
    };
    let source = Source {
        text: std::fs::read_to_string(&settings)?,
        path: settings.into(),
    };
    // Each fault with its line and its column; what to write instead is each one's hint.
    let compiled = compile(Some(&source), &facts)?;
    for warning in &compiled.warnings {
        eprintln!("warning: {}", warning.message);
    }

    // One manager for all launches. What an earlier one with the same folders left behind is removed.
    let manager = SandboxManager::new(Config {
        tools: Tools {
            jail: jail.into(),
            bwrap: "/usr/bin/bwrap".into(),
        },
        launches: state.path().join("launches"),
        layers: state.path().join("layers"),
        home,
    })?;
    let (events, mut traffic) = mpsc::channel(1024);
    let (denials, mut refused) = mpsc::unbounded_channel();
    let prepared = manager
        .prepare(LaunchRequest {
            id: Uuid::now_v7(),
            server: "embedded".to_owned(),
            policy: Arc::new(compiled.policy),
            command,
            cwd,
            cwd_identity: None,
            offered: environment,
            named: Vec::new(),
            umask: 0o022,
            events,
            denials,
            gate: None,
        })
        .await?;
    for note in prepared.notes() {
        eprintln!("note: {note}");
    }
    // Until the launch is closed: what is not received holds its traffic up.
    let told = tokio::spawn(async move {
        while let Some(event) = traffic.recv().await {
            match event {
                Event::Denied { denial, .. } => {
                    eprintln!("refused: {}: {}", denial.subject, denial.reason);
                }
                Event::Flow {
                    target, bytes_in, ..
                } => eprintln!("reached: {target}, {bytes_in} bytes from it"),
                Event::Failed { target, error, .. } => eprintln!("failed: {target}: {error}"),
            }
        }
    });
    let files = tokio::spawn(async move {
        while let Some(denial) = refused.recv().await {
            let what = if denial.write { "writing" } else { "reading" };
            eprintln!(
                "refused: {what} {}: {}",
                denial.path.display(),
                denial.reason
            );
        }
    });

    let mut launch = prepared
        .start(Stdio::of(
            std::io::stdin().as_fd().try_clone_to_owned()?,
            std::io::stdout().as_fd().try_clone_to_owned()?,
            std::io::stderr().as_fd().try_clone_to_owned()?,
        ))
        .await?;
    let exit = launch.wait().await;
    launch.close().await;
    told.await?;
    files.await?;
    Ok(ExitCode::from(u8::try_from(exit.code).unwrap_or(1)))
}
