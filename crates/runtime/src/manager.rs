//! Launching: policy and command in, a running sandbox with its own way out, and all of it gone afterwards.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use srt_egress::{Egress, Event, Listeners};
use srt_policy::{FilesystemPolicy, NetworkPolicy, Policy};
use srt_sandbox::{
    Command, Exit, LaunchError, Prepared, Processes, Sandbox, SandboxSpec, Seed, Stdio, Step, Tools,
};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::caches;
use crate::denial::{FileDenial, explain};
use crate::disk::Disk;
use crate::folder::{self, Folder};
use crate::lower::{LooseLink, Place, lower};
use crate::server_environment;
use crate::stubs::{Held, Stubs};

/// How long after a launch the next one's helper is started.
const SPARE_DELAY: Duration = Duration::from_millis(5);

/// What every launch of a manager shares.
#[derive(Clone, Debug)]
pub struct Config {
    /// The programs that a launch needs.
    pub tools: Tools,
    /// Where launches have their folders; nobody else's files may be in it.
    pub launches: PathBuf,
    /// The user's home folder.
    pub home: PathBuf,
}

/// Why a launch did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The sandbox could not be built, or the command not run in it.
    #[error(transparent)]
    Sandbox(#[from] LaunchError),
    /// The launch's folder could not be made.
    #[error("cannot make the launch's folder in {}: {source}\nhint: the state folder must be writable and have space left", path.display())]
    Folder {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The place of a denied path could not be held.
    #[error(
        "cannot hold the place of a denied path that does not exist yet: {source}\nhint: create it, or deny the folder around it"
    )]
    Stub {
        /// What the system said.
        source: io::Error,
    },
    /// A link that the server could replace stands between a rule and its path.
    #[error(
        "{} is a symbolic link in a folder that the server may write, so it could replace it, and {rule:?} would no longer hold\nhint: allow writing in narrower folders, or put a file or folder in the link's place", link.display()
    )]
    LooseLink {
        /// The link.
        link: PathBuf,
        /// The rule's path, as written.
        rule: String,
    },
    /// The working directory cannot be used.
    #[error("the working directory {} {why}\nhint: --cwd chooses another", path.display())]
    WorkingDirectory {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The proxies could not be served.
    #[error(transparent)]
    Egress(#[from] srt_egress::ServeError),
}

/// One launch to be.
#[derive(Debug)]
pub struct LaunchRequest {
    /// Names the launch's folder.
    pub id: Uuid,
    /// What it may do.
    pub policy: Arc<Policy>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Absolute.
    pub cwd: PathBuf,
    /// The environment that policy chooses from.
    pub offered: BTreeMap<String, String>,
    /// Names asked for beside the baseline.
    pub named: Vec<String>,
    /// The file mode creation mask (umask(2)), 9 bits.
    pub umask: u32,
    /// Where what happens to its traffic is told. Keep receiving until the launch is closed.
    pub events: mpsc::Sender<Event>,
    /// Where refused uses of files are told. Their number is bounded: a path that is refused again is counted.
    pub denials: mpsc::UnboundedSender<FileDenial>,
}

/// Launches sandboxes.
#[derive(Debug)]
pub struct SandboxManager {
    config: Config,
    stubs: Stubs,
    /// A helper that has made its namespaces already: taken by the next launch, replaced after it.
    spare: Arc<Mutex<Option<Seed>>>,
}

impl SandboxManager {
    /// A manager. Whatever an earlier one with the same folder left behind is removed first.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn new(config: Config) -> io::Result<Self> {
        let swept = folder::sweep(&config.launches)?;
        if !swept.is_empty() {
            tracing::info!(
                count = swept.len(),
                "removed the folders of launches that a dead daemon left"
            );
        }
        Ok(Self {
            config,
            stubs: Stubs::default(),
            spare: Arc::default(),
        })
    }

    /// Builds everything but the server itself.
    ///
    /// # Errors
    /// The step that failed. Nothing is left behind.
    pub async fn prepare(&self, request: LaunchRequest) -> Result<PreparedLaunch, RuntimeError> {
        let disk = Disk::default();
        match disk.place(&request.cwd) {
            Place::Folder => {}
            Place::File => return Err(bad_cwd(&request.cwd, "is not a folder")),
            Place::Absent => {
                return Err(bad_cwd(&request.cwd, "does not exist or cannot be entered"));
            }
        }
        let cwd = disk.resolve(&request.cwd);
        let top = &self.config.launches;
        let folder = Folder::create(top, &request.id.to_string()).map_err(|source| {
            RuntimeError::Folder {
                path: top.clone(),
                source,
            }
        })?;
        let mut belongings = Belongings {
            folder,
            stubs: None,
        };
        let temp = belongings.folder.temp();
        let mut lowered = lower(
            &request.policy,
            &request.cwd,
            &temp,
            |path| match self.stubs.holds(path) {
                true => Place::Absent,
                false => disk.place(path),
            },
            |path| disk.resolve(path),
            links,
        );
        if let Some(LooseLink { link, rule }) = lowered.loose.into_iter().next() {
            return Err(RuntimeError::LooseLink { link, rule });
        }
        let files = lowered.files;
        let caches = caches::of(&request.command, &self.config.home, &files, |path| {
            (disk.place(path) == Place::Folder).then(|| disk.resolve(path))
        });
        for (index, cache) in caches.into_iter().enumerate() {
            let overlay =
                belongings
                    .folder
                    .overlay(index, cache)
                    .map_err(|source| RuntimeError::Folder {
                        path: top.clone(),
                        source,
                    })?;
            lowered.spec.overlays.push(overlay);
        }
        let stub = |source| RuntimeError::Stub { source };
        belongings
            .folder
            .record_stubs(&lowered.stubs)
            .map_err(stub)?;
        belongings.stubs = Some(self.stubs.hold(&lowered.stubs).map_err(stub)?);

        let temp_inside = lowered.spec.temp.inside.display().to_string();
        let mut prepared = self.prepared(lowered.spec).await?;
        let (network, policy) = watch::channel(Arc::new(request.policy.network.clone()));
        let mut config = srt_egress::Config::new(policy, request.events);
        config.token = token();
        let selection = request
            .policy
            .environment
            .select(&request.offered, &request.named);
        let environment = server_environment(
            &selection,
            &request.policy.network,
            &request.command,
            prepared.http_proxy(),
            prepared.socks_proxy(),
            &temp_inside,
            config.token.as_deref(),
        );
        let egress = match prepared.take_sockets() {
            None => None,
            Some(sockets) => Some(Egress::serve(
                Listeners {
                    http: Some(sockets.http),
                    socks: Some(sockets.socks),
                    transparent: sockets.transparent,
                    dns_udp: sockets.dns_udp,
                    dns_tcp: sockets.dns_tcp,
                },
                config,
            )?),
        };
        Ok(PreparedLaunch {
            prepared,
            egress,
            network,
            belongings,
            command: Command {
                arguments: request.command,
                environment,
                cwd,
                umask: request.umask,
            },
            notes: lowered.notes,
            files,
            denials: request.denials,
            left_out: selection.left_out,
        })
    }

    /// Makes the next launch's namespaces ahead of it. Without it, or where it fails, a launch makes its own.
    pub fn make_ready(&self) {
        let (spare, tools) = (self.spare.clone(), self.config.tools.clone());
        tokio::spawn(async move {
            // Not while the launch before it is still on its way to its first byte.
            tokio::time::sleep(SPARE_DELAY).await;
            if spare
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some()
            {
                return;
            }
            if let Ok(seed) = Seed::plant(&tools).await {
                *spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(seed);
            }
        });
    }

    /// Takes down what was made ahead.
    pub fn stand_down(&self) {
        let _ = self.take_spare();
    }

    fn take_spare(&self) -> Option<Seed> {
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// A sandbox from the spare helper, else from a new one. Once more with a new one where the spare has died
    /// meanwhile, or a port that policy names is the very one that a helper was given for its own.
    async fn prepared(&self, spec: SandboxSpec) -> Result<Prepared, LaunchError> {
        let tools = &self.config.tools;
        if let Some(seed) = self.take_spare()
            && let Ok(prepared) = Prepared::new(seed, spec.clone(), tools).await
        {
            return Ok(prepared);
        }
        let seed = Seed::plant(tools).await?;
        match Prepared::new(seed, spec.clone(), tools).await {
            Err(error) if error.step() == Some(Step::Listeners) => {
                Prepared::new(Seed::plant(tools).await?, spec, tools).await
            }
            other => other,
        }
    }
}

/// Everything but the server.
#[derive(Debug)]
pub struct PreparedLaunch {
    prepared: Prepared,
    egress: Option<Egress>,
    network: watch::Sender<Arc<NetworkPolicy>>,
    belongings: Belongings,
    command: Command,
    notes: Vec<String>,
    left_out: Vec<String>,
    files: FilesystemPolicy,
    denials: mpsc::UnboundedSender<FileDenial>,
}

impl PreparedLaunch {
    /// Rules that have no effect at the moment, for a person.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Names of variables that were offered and not passed on, sorted.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Starts the server.
    ///
    /// # Errors
    /// The step that failed. Nothing is left behind.
    pub async fn start(self, stdio: Stdio) -> Result<Launch, RuntimeError> {
        let (files, denials) = (self.files, self.denials);
        let report = move |violation| {
            // Whoever has stopped listening has no use for it.
            let _ = denials.send(explain(violation, &files));
        };
        match self.prepared.start(self.command, stdio, report).await {
            Ok(sandbox) => Ok(Launch {
                sandbox,
                egress: self.egress,
                network: self.network,
                belongings: self.belongings,
            }),
            Err(error) => {
                if let Some(egress) = self.egress {
                    egress.shutdown().await;
                }
                Err(error.into())
            }
        }
    }

    /// Takes it down without having started the server.
    pub async fn abandon(self) {
        drop(self.prepared);
        if let Some(egress) = self.egress {
            egress.shutdown().await;
        }
    }
}

/// A running server in its sandbox.
#[derive(Debug)]
pub struct Launch {
    sandbox: Sandbox,
    egress: Option<Egress>,
    network: watch::Sender<Arc<NetworkPolicy>>,
    belongings: Belongings,
}

impl Launch {
    /// Its processes, to signal and count.
    pub fn processes(&self) -> &Processes {
        self.sandbox.processes()
    }

    /// Replaces the rules for its traffic: new requests are decided by them at once.
    pub fn set_network(&self, network: Arc<NetworkPolicy>) {
        self.network.send_replace(network);
    }

    /// Waits until the server has ended and no process of the launch is left. Cancel safe.
    pub async fn wait(&mut self) -> Exit {
        self.sandbox.wait().await
    }

    /// Ends its way out and removes its folder. To be called after [`Launch::wait`].
    pub async fn close(self) {
        drop(self.sandbox);
        if let Some(egress) = self.egress {
            egress.shutdown().await;
        }
        // A server may have left a million files.
        let belongings = self.belongings;
        let _ = tokio::task::spawn_blocking(move || drop(belongings)).await;
    }
}

/// What a launch has on the host; dropping it removes it.
#[derive(Debug)]
struct Belongings {
    folder: Folder,
    stubs: Option<Held>,
}

impl Drop for Belongings {
    fn drop(&mut self) {
        // First the stubs, which the folder's record is about.
        self.stubs = None;
        if let Err(error) = self.folder.remove() {
            tracing::error!(%error, "cannot remove a launch's folder");
        }
    }
}

fn bad_cwd(path: &Path, why: &'static str) -> RuntimeError {
    RuntimeError::WorkingDirectory {
        path: path.into(),
        why,
    }
}

/// The links that a path leads through, each by its place without links.
fn links(path: &Path) -> Vec<PathBuf> {
    /// As many as the kernel follows (path_resolution(7)).
    const MOST: usize = 40;
    let mut found = Vec::new();
    let mut here = PathBuf::from("/");
    let mut rest: Vec<PathBuf> = path.iter().rev().map(PathBuf::from).collect();
    while let Some(part) = rest.pop() {
        match part.to_str() {
            Some("/") => here = PathBuf::from("/"),
            Some(".") => {}
            Some("..") => {
                here.pop();
            }
            _ => {
                let there = here.join(&part);
                match std::fs::read_link(&there) {
                    Ok(target) if found.len() < MOST => {
                        rest.extend(target.iter().rev().map(PathBuf::from));
                        found.push(there);
                    }
                    _ => here = there,
                }
            }
        }
    }
    found
}

/// On Linux each sandbox has listeners that nobody else can reach, and needs no token.
#[cfg(target_os = "linux")]
fn token() -> Option<String> {
    None
}
#[cfg(not(target_os = "linux"))]
fn token() -> Option<String> {
    Some(Uuid::new_v4().simple().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_link_on_the_way_is_found_where_it_really_is() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("real/deep")).unwrap();
        symlink("real", top.join("one")).unwrap();
        symlink("../deep/nowhere", top.join("real/deep/two")).unwrap();
        symlink(top.join("loop"), top.join("loop")).unwrap();
        assert_eq!(links(&top.join("real/deep")), [] as [PathBuf; 0]);
        assert_eq!(
            links(&top.join("one/deep/two/x")),
            [top.join("one"), top.join("real/deep/two")]
        );
        assert_eq!(links(&top.join("loop")).len(), 40);
    }
}
