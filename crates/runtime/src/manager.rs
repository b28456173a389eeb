//! Launching: policy and command in, a running sandbox with its own way out, and all of it gone afterwards.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use srt_egress::{Egress, FlowsHandle, Listeners};
use srt_policy::{
    AuditPolicy, FilesystemMode, FilesystemPolicy, NetworkPolicy, Policy, UnixSockets,
};
use srt_sandbox::{
    Command, Exit, LaunchError, Prepared, Processes, Sandbox, SandboxSpec, Seed, Stdio, Step,
    Tools, Violation,
};
use tokio::sync::{mpsc, watch};

use crate::caches;
use crate::denial::{FileDenial, explain, is_one};
use crate::disk::{Disk, links};
use crate::error::RuntimeError;
use crate::folder::{self, Folder};
use crate::layers::{Laid, Layers};
use crate::links::{Judges, Loose, Seat, expected, first_loose, identity_of};
use crate::lower::{Look as _, Place, lower};
use crate::minimal::{Account, own_places};
use crate::network::NetworkHandle;
use crate::overlays;
use crate::request::LaunchRequest;
use crate::server_environment;
use crate::sockets;
use crate::why::{self, FileAnswer};

/// How long after a launch the next one's helper is started.
const SPARE_DELAY: Duration = Duration::from_millis(5);

/// What every launch of a manager shares.
#[derive(Clone, Debug)]
pub struct Config {
    /// The programs that a launch needs.
    pub tools: Tools,
    /// Where launches have their folders; nobody else's files may be in it.
    pub launches: PathBuf,
    /// Where what servers change of overlaid folders is kept; nobody else's files may be in it.
    pub layers: PathBuf,
    /// The user's home folder.
    pub home: PathBuf,
}

impl Config {
    /// The programs that run outside of sandboxes, as far as they are known here: the tools, and those that are
    /// installed beside the helper.
    fn programs(&self) -> Vec<PathBuf> {
        let jail = &self.tools.jail;
        let beside = ["srt", "srtd", "srtctl"].map(|name| jail.with_file_name(name));
        [jail.clone(), self.tools.bwrap.clone()]
            .into_iter()
            .chain(beside)
            .collect()
    }
}

/// What was left of launches that nobody ended, by name.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// Their folders: the launches' ids.
    pub folders: Vec<String>,
    /// Their cgroups, with whatever still ran in them.
    pub cgroups: Vec<String>,
}

/// Launches sandboxes.
#[derive(Debug)]
pub struct SandboxManager {
    config: Config,
    swept: Swept,
    judges: Judges,
    layers: Layers,
    /// A helper that has made its namespaces already: taken by the next launch, replaced after it.
    spare: Arc<Mutex<Option<Seed>>>,
}

impl SandboxManager {
    /// A manager. Whatever an earlier one with the same folder left behind is removed first.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn new(config: Config) -> io::Result<Self> {
        // Processes first: what is in a cgroup may still write in its folder.
        let swept = Swept {
            cgroups: srt_sandbox::settle_limits(),
            folders: folder::sweep(&config.launches)?,
        };
        Ok(Self {
            swept,
            layers: Layers::new(config.layers.clone())?,
            config,
            judges: Judges::default(),
            spare: Arc::default(),
        })
    }

    /// What an earlier manager with the same folder left behind, and is gone.
    pub fn swept(&self) -> &Swept {
        &self.swept
    }

    /// What servers changed of overlaid folders.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// What policy says of reading or writing `path` (absolute), as a launch that begins now would be answered. It looks
    /// at the disk.
    pub fn examine_file(
        &self,
        policy: &Policy,
        cwd: &Path,
        path: &Path,
        write: bool,
    ) -> FileAnswer {
        why::examine(policy, cwd, &self.config.programs(), path, write)
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
        if let Some(identity) = request.cwd_identity
            && identity_of(&cwd) != Some(identity)
        {
            return Err(bad_cwd(
                &request.cwd,
                "is another folder than the host is in: it was replaced meanwhile",
            ));
        }
        let top = &self.config.launches;
        let folder = Folder::create(top, &request.id.to_string()).map_err(|source| {
            RuntimeError::Folder {
                path: top.clone(),
                source,
            }
        })?;
        let mut belongings = Belongings {
            folder,
            seat: None,
            laid: Laid::default(),
        };
        let temp = belongings.folder.temp();
        let mut lowered = lower(
            &request.policy,
            &request.cwd,
            &temp,
            &self.config.programs(),
            &disk,
        );
        if let Some(judged) = &lowered.spec.judged {
            belongings.seat = Some(self.judges.add(request.id, judged.judge.clone()));
        }
        let written = &request.policy.filesystem;
        if let Some(Loose { link, rule, target }) = first_loose(written, &disk, &self.judges) {
            return Err(RuntimeError::LooseLink { link, rule, target });
        }
        let files = lowered.files;
        let (layers, policy) = (&self.layers, &request.policy);
        belongings.laid = Laid::over(layers, &request.server, policy, &files, &cwd).await?;
        lowered.spec.overlays = belongings.laid.overlays();
        lowered.spec.files = overlays::beneath(lowered.spec.files, &lowered.spec.overlays, &files);
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
        lowered.notes.extend(sockets::add(
            &request.policy.sockets,
            &files,
            &mut lowered.spec,
            &disk,
        ));
        if files.mode() == FilesystemMode::Minimal {
            let home = disk.resolve(&self.config.home);
            let mut beside = vec![request.cwd.as_path()];
            if let UnixSockets::Listed(sockets) = &request.policy.sockets {
                beside.extend(sockets.iter().map(|socket| socket.path.as_path()));
            }
            lowered.spec.own = own_places(
                &request.policy.filesystem,
                &lowered.spec,
                &home,
                &beside,
                &Account::own(&request.offered),
                |path| {
                    let says = |link: PathBuf| Some((link.clone(), std::fs::read_link(link).ok()?));
                    links(path).into_iter().filter_map(says).collect()
                },
                |index| belongings.folder.own(index),
            );
            let own = &lowered.spec.own;
            own.folders
                .iter()
                .map(|folder| folder.host.clone())
                .chain(lowered.spec.private_on_host(&home))
                .chain(
                    lowered
                        .spec
                        .ways()
                        .iter()
                        .filter_map(|way| lowered.spec.private_on_host(way)),
                )
                .try_for_each(|path| belongings.folder.make_own(&path))
                .map_err(|source| RuntimeError::Folder {
                    path: top.clone(),
                    source,
                })?;
        }

        let expected = expected(&files, &lowered.spec, &disk, &cwd);
        let temp_inside = lowered.spec.temp.inside.display().to_string();
        let mut prepared = self.prepared(lowered.spec).await?;
        lowered.notes.extend_from_slice(prepared.notes());
        let (network, policy) = watch::channel(Arc::new(request.policy.network.clone()));
        let mut config = srt_egress::Config::new(policy, request.events);
        config.token = token();
        config.gate = request.gate;
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
                    udp: sockets.udp,
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
                expected,
                umask: request.umask,
            },
            notes: lowered.notes,
            files,
            audit: request.policy.audit.clone(),
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
    files: Arc<FilesystemPolicy>,
    audit: AuditPolicy,
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

    /// Where the rules for its traffic are replaced, from before its first byte until its end.
    pub fn network(&self) -> NetworkHandle {
        NetworkHandle::new(self.network.clone())
    }

    /// Starts the server.
    ///
    /// # Errors
    /// The step that failed. Nothing is left behind.
    pub async fn start(self, stdio: Stdio) -> Result<Launch, RuntimeError> {
        let (files, audit, denials) = (self.files, self.audit, self.denials);
        let report = move |violation: Violation| {
            let on_host = |path: &Path| path.symlink_metadata().is_ok();
            if audit.ignores(&violation.program, &violation.path)
                || !is_one(&violation, &files, on_host)
            {
                return;
            }
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

    /// Its permitted exchanges, to list as long as it lives and after. The handle does not keep it alive.
    pub fn flows(&self) -> FlowsHandle {
        self.egress.as_ref().map(Egress::watch).unwrap_or_default()
    }

    /// Replaces the rules for its traffic: new requests are decided by them at once, and what is under way and no
    /// longer permitted is closed.
    pub fn set_network(&self, network: Arc<NetworkPolicy>) {
        self.network.send_replace(network);
    }

    /// The other side of its own terminal, once, where it has one: whoever holds it shows it.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.sandbox.take_terminal()
    }

    /// Waits until it has changed more of an overlaid folder than it may, and says so; for ever, as long as it has not.
    pub fn overfull(&self) -> impl Future<Output = String> + Send + use<> {
        self.belongings.laid.overfull()
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
        let mut belongings = self.belongings;
        belongings.laid.end().await;
        // A server may have left a million files.
        let _ = tokio::task::spawn_blocking(move || drop(belongings)).await;
    }
}

/// What a launch has on the host; dropping it removes it.
#[derive(Debug)]
struct Belongings {
    folder: Folder,
    seat: Option<Seat>,
    /// What it holds of layers.
    laid: Laid,
}

impl Drop for Belongings {
    fn drop(&mut self) {
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

/// On Linux each sandbox has listeners that nobody else can reach, and needs no token.
#[cfg(target_os = "linux")]
fn token() -> Option<String> {
    None
}
#[cfg(not(target_os = "linux"))]
fn token() -> Option<String> {
    Some(uuid::Uuid::new_v4().simple().to_string())
}
