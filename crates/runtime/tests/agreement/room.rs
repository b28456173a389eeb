//! One case in a real sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use srt_policy::{Facts, Source, compile};
use srt_runtime::{Config, LaunchRequest, RuntimeError, SandboxManager, Stdio, Tools};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::draw::{CWD, Case, HOME, Name, Spelling, Step};
use crate::judge::{Came, Judge};
use crate::tree::{difference, look, make, replace, resolve};

/// What became of a case.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// So many steps agreed; so many of these had to work.
    Agreed { steps: usize, worked: usize },
    /// The policy does not compile, or hides the working directory, or a launch refuses it for a link in it.
    NotTried,
    /// The policy and the sandbox differ.
    Differs(String),
}

/// Tries a case.
///
/// # Errors
/// What kept it from being tried at all.
pub(crate) async fn run(case: &Case) -> Result<Outcome, String> {
    let room = tempfile::tempdir().map_err(|error| error.to_string())?;
    let real = room
        .path()
        .canonicalize()
        .map_err(|error| error.to_string())?;
    let top = real.join("tree");
    for folder in ["", HOME, CWD, "out"] {
        std::fs::create_dir(top.join(folder)).map_err(|error| error.to_string())?;
    }
    for item in &case.tree {
        // Shrunk trees lack folders.
        let _ = make(&top, item);
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let facts = Facts {
        home: top.join(HOME),
        cwd: top.join(CWD),
        protected: vec![real.join("launches")],
        program: vec![program.clone()],
        macos: false,
    };
    let source = Source {
        path: "/settings.json".into(),
        text: document(case, &top),
    };
    let Ok(compiled) = compile(Some(&source), &facts) else {
        return Ok(Outcome::NotTried);
    };
    let files = compiled.policy.filesystem.resolved(resolve);
    if !files.decide_read(&facts.cwd).allowed || !files.decide_read(&program).allowed {
        return Ok(Outcome::NotTried);
    }
    let mut judge = Judge {
        at_launch: look(&top),
        changed: BTreeSet::new(),
        files,
        top,
    };
    let manager = SandboxManager::new(Config {
        tools: Tools {
            jail: srt_tests::built("srt-jail"),
            bwrap: "/usr/bin/bwrap".into(),
        },
        launches: real.join("launches"),
        layers: real.join("layers"),
        home: facts.home.clone(),
    })
    .map_err(|error| error.to_string())?;
    let (events, _traffic) = mpsc::channel(1);
    let (denials, _refused) = mpsc::unbounded_channel();
    let prepared = manager
        .prepare(LaunchRequest {
            id: Uuid::new_v4(),
            server: "agreement".to_owned(),
            policy: Arc::new(compiled.policy),
            command: vec![program.display().to_string(), crate::PROBE.to_owned()],
            cwd: facts.cwd,
            cwd_identity: None,
            offered: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            named: Vec::new(),
            umask: 0o022,
            events,
            denials,
            gate: None,
        })
        .await;
    let prepared = match prepared {
        Ok(prepared) => prepared,
        // A link in a rule could be moved by the very server.
        Err(RuntimeError::LooseLink { .. }) => return Ok(Outcome::NotTried),
        Err(error) => return Err(format!("cannot prepare: {error}")),
    };
    let before = look(&judge.top);
    for item in &case.later {
        let _ = make(&judge.top, item);
    }
    judge.changed.extend(difference(&before, &look(&judge.top)));
    let pipe = || std::io::pipe().map_err(|error| error.to_string());
    let ((stdin, input), (output, stdout)) = (pipe()?, pipe()?);
    let stderr = std::io::stderr();
    let stderr = rustix::io::dup(&stderr).map_err(|error| error.to_string())?;
    let stdio = Stdio::of(stdin.into(), stdout.into(), stderr);
    let mut launch = prepared
        .start(stdio)
        .await
        .map_err(|error| format!("cannot start: {error}"))?;
    let steps = case.steps.clone();
    let tried = tokio::task::spawn_blocking(move || {
        let mut probe = Probe {
            input,
            output: BufReader::new(output),
        };
        all(&mut judge, &steps, &mut probe)
    })
    .await
    .map_err(|error| error.to_string())?;
    launch.wait().await;
    launch.close().await;
    tried
}

/// Tries every step.
fn all(judge: &mut Judge, steps: &[Step], probe: &mut Probe) -> Result<Outcome, String> {
    let mut worked = 0;
    for step in steps {
        let before = look(&judge.top);
        match step {
            Step::HostMakes(item) => drop(make(&judge.top, item)),
            Step::HostReplaces(path) => drop(replace(&judge.top, path)),
            step => {
                let expected = judge.expect(step, &before);
                let said = probe.ask(&words(judge, step))?;
                let came = Came {
                    ok: said.strip_prefix("ok ").map(str::to_owned),
                    after: look(&judge.top),
                    before: before.clone(),
                };
                worked += usize::from(came.ok.is_some());
                if let Err(why) = judge.check(step, &expected, &came) {
                    return Ok(Outcome::Differs(format!(
                        "{why}, at {step:?}, which said {said:?}"
                    )));
                }
            }
        }
        let after = look(&judge.top);
        judge.changed.extend(difference(&before, &after));
    }
    Ok(Outcome::Agreed {
        steps: steps.len(),
        worked,
    })
}

/// A step as the probe understands it.
fn words(judge: &Judge, step: &Step) -> Vec<String> {
    let name = |name: &Name| spelled(&judge.top, name);
    let one = |verb: &str, path: &Name| vec![verb.to_owned(), name(path)];
    let two = |verb: &str, from: &Name, to: &Name| vec![verb.to_owned(), name(from), name(to)];
    match step {
        Step::Read(path) => one("read", path),
        Step::Append(path) => one("append", path),
        Step::Create(path) => one("create", path),
        Step::Open(path) => one("open", path),
        Step::MakeFolder(path) => one("mkdir", path),
        Step::Unlink(path) => one("unlink", path),
        Step::RemoveFolder(path) => one("rmdir", path),
        Step::Rename(from, to) => two("rename", from, to),
        Step::Exchange(from, to) => two("exchange", from, to),
        Step::HardLink(from, to) => two("link", from, to),
        Step::Symlink(text, path) => {
            let text = text.replace("TOP", &judge.top.to_string_lossy());
            vec!["symlink".to_owned(), text, name(path)]
        }
        Step::HostMakes(_) | Step::HostReplaces(_) => Vec::new(),
    }
}

fn spelled(top: &Path, name: &Name) -> String {
    let whole = top.join(&name.path).display().to_string();
    let inside = name.path.strip_prefix("home/p/").unwrap_or(&name.path);
    match name.spelling {
        Spelling::Absolute => whole,
        Spelling::Root => format!("/proc/self/root{whole}"),
        Spelling::Relative => inside.to_owned(),
        Spelling::Cwd => format!("/proc/self/cwd/{inside}"),
    }
}

struct Probe {
    input: PipeWriter,
    output: BufReader<PipeReader>,
}

impl Probe {
    fn ask(&mut self, words: &[String]) -> Result<String, String> {
        let mut line = String::new();
        writeln!(self.input, "{}", words.join("\t")).map_err(|error| error.to_string())?;
        self.output
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        if line.is_empty() {
            return Err(format!("the probe is gone at {words:?}"));
        }
        Ok(line.trim_end_matches('\n').to_owned())
    }
}

/// The settings file of a case.
pub(crate) fn document(case: &Case, top: &Path) -> String {
    let mut files = serde_json::Map::new();
    if case.minimal {
        files.insert("mode".into(), "minimal".into());
    }
    for (key, entry) in &case.rules {
        let entry = entry.replace("TOP", &top.to_string_lossy());
        let list = files
            .entry(*key)
            .or_insert_with(|| Vec::<String>::new().into());
        if let Some(list) = list.as_array_mut() {
            list.push(entry.into());
        }
    }
    serde_json::json!({ "filesystem": files }).to_string()
}
