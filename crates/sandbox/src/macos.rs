//! The macOS backend: proxies on loopback ports and a generated Seatbelt profile run by `sandbox-exec`.
//!
//! Transparent capture does not exist here: programs that ignore proxy variables reach nothing.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio as ProcessStdio;

use tokio::process::Child;

use crate::{
    Command, Exit, LaunchError, Limits, SandboxSpec, Sockets, Stdio, Step, Tools, Violation,
    seatbelt, spawner,
};

pub use process::Processes;

/// On macOS no helper is needed; the program exists so that an installation has the same files everywhere.
pub fn jail_main() -> i32 {
    eprintln!("srt-jail is a private helper of srtd and has no work on macOS");
    2
}

/// Nothing limits a group of processes on macOS: there is nothing to make ready.
pub fn settle_limits() -> Vec<String> {
    Vec::new()
}

/// A sandbox whose proxies listen and in which nothing runs yet.
#[derive(Debug)]
pub struct Prepared {
    spec: SandboxSpec,
    sockets: Option<Sockets>,
    http: SocketAddr,
    socks: SocketAddr,
    notes: Vec<String>,
}

/// The beginning of a sandbox: nothing, on macOS.
#[derive(Debug)]
pub struct Seed(());

impl Seed {
    /// Nothing has to be done ahead.
    ///
    /// # Errors
    /// None.
    pub async fn plant(_tools: &Tools) -> Result<Self, LaunchError> {
        Ok(Self(()))
    }
}

impl Prepared {
    /// Builds the sandbox that `spec` asks for.
    ///
    /// # Errors
    /// When a listener cannot be opened.
    pub async fn new(_seed: Seed, spec: SandboxSpec, _tools: &Tools) -> Result<Self, LaunchError> {
        let notes = unenforced(&spec.limits)?;
        let listen = || -> io::Result<(TcpListener, SocketAddr)> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let failed = |error: io::Error| LaunchError::io(Step::Listeners, "listen", &error);
        let (http, http_address) = listen().map_err(failed)?;
        let (socks, socks_address) = listen().map_err(failed)?;
        Ok(Self {
            spec,
            sockets: Some(Sockets {
                http,
                socks,
                transparent: Vec::new(),
                dns_udp: Vec::new(),
                dns_tcp: Vec::new(),
                udp: Vec::new(),
                captures_every_port: false,
            }),
            http: http_address,
            socks: socks_address,
            notes,
        })
    }

    /// What was asked for and is left out, where that is allowed, for a person.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The listeners, once.
    pub fn take_sockets(&mut self) -> Option<Sockets> {
        self.sockets.take()
    }

    /// Where the server finds the HTTP proxy.
    pub fn http_proxy(&self) -> SocketAddr {
        self.http
    }

    /// Where the server finds the SOCKS5 proxy.
    pub fn socks_proxy(&self) -> SocketAddr {
        self.socks
    }

    /// Runs `command` in it. Refused uses of files are not observed on macOS yet: `_report` is never called.
    ///
    /// # Errors
    /// When `sandbox-exec` cannot be started.
    pub async fn start(
        self,
        command: Command,
        stdio: Stdio,
        _report: impl Fn(Violation) + Send + 'static,
    ) -> Result<Sandbox, LaunchError> {
        let Stdio {
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: Some(stderr),
            ..
        } = stdio
        else {
            return Err(LaunchError::Failed {
                step: Step::Terminal,
                errno: libc::ENOSYS,
                message: "not written for macOS".into(),
            });
        };
        let profile = seatbelt::profile(&self.spec, &[self.http.port(), self.socks.port()]);
        let mut process = tokio::process::Command::new("/bin/sh");
        process
            .arg("-c")
            .arg(preparation(&command, &self.spec.limits))
            .arg("sh")
            .arg("/usr/bin/sandbox-exec")
            .arg("-p")
            .arg(profile)
            .args(&command.arguments)
            .env_clear()
            .envs(&command.environment)
            .current_dir(&command.cwd)
            .stdin(ProcessStdio::from(stdin))
            .stdout(ProcessStdio::from(stdout))
            .stderr(ProcessStdio::from(stderr))
            .process_group(0)
            .kill_on_drop(true);
        // SAFETY: it allocates nothing and takes no lock: it may run between fork and exec.
        unsafe {
            process.pre_exec(|| {
                crate::signals::to_default();
                Ok(())
            })
        };
        let child = spawner::spawn(process)
            .await
            .map_err(|error| LaunchError::io(Step::Spawn, "/usr/bin/sandbox-exec", &error))?;
        let processes = Processes::of(child.id().unwrap_or(0));
        Ok(Sandbox { child, processes })
    }
}

/// The limits that are left out, where that is allowed: nothing on macOS counts what a group of processes uses.
/// `RLIMIT_NPROC` counts all processes of the user.
fn unenforced(limits: &Limits) -> Result<Vec<String>, LaunchError> {
    const WHY: &str = "macOS limits single processes only";
    let mut notes = Vec::new();
    for (key, asked) in [
        ("runtime.memoryMax", limits.memory.is_some()),
        ("runtime.cpuQuota", limits.cpu_percent.is_some()),
        ("runtime.maxProcesses", limits.processes.is_some()),
    ] {
        if asked && !limits.best_effort {
            let why = WHY.to_owned();
            return Err(LaunchError::Limit { key, why });
        }
        if asked {
            notes.push(format!("{key} is not enforced: {WHY}"));
        }
    }
    Ok(notes)
}

/// What a shell does on the way: no safe call does it to a child alone.
fn preparation(command: &Command, limits: &Limits) -> String {
    let files = match (limits.file_descriptors, crate::descriptors::soft_limit()) {
        (Some(files), _) => format!("ulimit -n {files} || exit 126; "),
        // The daemon's own was raised; programs that use select(2) break with more than they know.
        (None, Some(soft)) => format!("ulimit -S -n {soft}; "),
        (None, None) => String::new(),
    };
    // In blocks of 512 bytes (sh(1)). Ignored, SIGXFSZ leaves the write to fail with EFBIG.
    let size = match limits.file_size {
        Some(bytes) => format!(
            "trap '' XFSZ; ulimit -f {} || exit 126; ",
            bytes.div_ceil(512)
        ),
        None => String::new(),
    };
    format!(
        "umask {:03o}; {files}{size}exec \"$@\"",
        command.umask & 0o777
    )
}

/// A running sandbox. Dropping it kills it.
#[derive(Debug)]
pub struct Sandbox {
    child: Child,
    processes: Processes,
}

impl Sandbox {
    /// Its processes, to signal.
    pub fn processes(&self) -> &Processes {
        &self.processes
    }

    /// None: no server has a terminal on macOS.
    pub fn take_terminal(&mut self) -> Option<std::os::fd::OwnedFd> {
        None
    }

    /// Waits until the server has ended, then ends its process group. Cancel safe.
    pub async fn wait(&mut self) -> Exit {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.child.wait().await.ok();
        self.processes.kill();
        let signal = status.and_then(|status| status.signal());
        let code = match (status.and_then(|status| status.code()), signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 128 + libc::SIGKILL,
        };
        Exit {
            code,
            signal,
            out_of_memory: None,
        }
    }
}

/// Processes of a launch: its process group.
pub mod process {
    use rustix::process::{Pid, Signal, kill_process, kill_process_group};

    /// The processes of one sandbox.
    #[derive(Clone, Debug)]
    pub struct Processes(u32);

    impl Processes {
        pub(crate) fn of(pid: u32) -> Self {
            Self(pid)
        }

        /// One that has ended is no error.
        fn with(&self, act: impl FnOnce(Pid) -> rustix::io::Result<()>) {
            if let Some(pid) = i32::try_from(self.0).ok().and_then(Pid::from_raw) {
                let _ = act(pid);
            }
        }

        /// The server's process id.
        pub fn pid(&self) -> u32 {
            self.0
        }

        /// Not known on macOS: 0.
        pub fn start_time(&self) -> u64 {
            0
        }

        /// Nothing has a process 1 of its own on macOS.
        pub fn init(&self) -> Option<(u32, u64)> {
            None
        }

        /// Sends a signal to the server. One that has ended is no error.
        pub fn signal(&self, signal: i32) {
            if let Some(signal) = Signal::from_named_raw(signal) {
                self.with(|pid| kill_process(pid, signal));
            }
        }

        /// Sends a signal to the server's process group.
        pub fn signal_all(&self, signal: i32) {
            if let Some(signal) = Signal::from_named_raw(signal) {
                self.with(|pid| kill_process_group(pid, signal));
            }
        }

        /// Kills the server's process group.
        pub fn kill(&self) {
            self.with(|pid| kill_process_group(pid, Signal::KILL));
        }

        /// A process group's end cannot be waited for.
        pub async fn gone(&self) {}
    }

    /// Not measured on macOS yet: zeros.
    pub fn usage<'a>(sandboxes: impl IntoIterator<Item = &'a Processes>) -> Vec<crate::Usage> {
        sandboxes.into_iter().map(|_| Default::default()).collect()
    }

    /// Closes every descriptor but standard input, output and error, which whoever started us left open by mistake.
    ///
    /// For the first line of `main`, before anything is opened.
    pub fn close_inherited() {
        // SAFETY: getdtablesize(2) and close(2) take no pointers. Called before this process opened anything, there
        // is no owner in it whose descriptor is closed.
        unsafe {
            for fd in 3..libc::getdtablesize() {
                libc::close(fd);
            }
        }
    }

    /// Without a start time no pid is trusted: false.
    pub fn is_alive(_pid: u32, _start_time: u64) -> bool {
        false
    }

    /// Without a start time no pid is trusted: nothing is killed.
    pub fn kill_if(_pid: u32, _start_time: u64) -> bool {
        false
    }
}

/// `doctor`'s checks on macOS.
pub mod probe {
    use crate::Tools;
    use crate::support::Check;

    /// Tries every mechanism.
    pub fn checks(_tools: &Tools) -> Vec<Check> {
        let trial = std::process::Command::new("/usr/bin/sandbox-exec")
            .args(["-p", "(version 1)(allow default)", "/usr/bin/true"])
            .output();
        let seatbelt = match trial {
            Ok(output) if output.status.success() => Check::ok("Seatbelt", "sandbox-exec works"),
            Ok(_) => Check::missing(
                "Seatbelt",
                "sandbox-exec refuses",
                "it cannot run inside another sandbox: start srtd outside of one",
            ),
            Err(error) => Check::missing(
                "Seatbelt",
                error.to_string(),
                "macOS ships /usr/bin/sandbox-exec; restore it",
            ),
        };
        let capture = Check::warning(
            "TCP without a proxy",
            "macOS has none: programs that ignore proxy variables reach nothing",
            "use programs that honour HTTP_PROXY and HTTPS_PROXY",
        );
        let datagrams = Check::warning(
            "UDP",
            "refused, network.allowedUdp as well: there is nothing here to relay it by",
            "use TCP, through the proxies",
        );
        vec![seatbelt, capture, datagrams]
    }
}
