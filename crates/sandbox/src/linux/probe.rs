//! `doctor`'s checks on Linux. Each mechanism is used once, for real, by a program of its own.

use std::path::Path;
use std::process::Command;

use super::cgroup;
use crate::Tools;
use crate::support::Check;

/// The oldest bubblewrap with the options in use (`--perms`, `--clearenv`, `--ro-bind-data`): bwrap's NEWS.
const OLDEST_BWRAP: (u32, u32) = (0, 5);

/// Tries every mechanism.
pub fn checks(tools: &Tools) -> Vec<Check> {
    let mut checks = vec![kernel(), bubblewrap(&tools.bwrap)];
    checks.extend(namespaces(&tools.jail));
    checks.extend([landlock(), seccomp()]);
    checks.extend(limits());
    checks
}

fn kernel() -> Check {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {release} {}", uname.machine().to_string_lossy());
    // Descriptors are handed over by the answer to a call (SECCOMP_ADDFD_FLAG_SEND): the newest thing that a launch
    // cannot do without.
    if version >= (5, 14) {
        Check::ok("kernel", found)
    } else {
        Check::missing(
            "kernel",
            found,
            "Linux 5.14 or later is needed (seccomp user notification that hands descriptors over)",
        )
    }
}

/// Stage 1 of a launch, tried for real: the user and network namespace, and the capture of connections.
fn namespaces(jail: &Path) -> Vec<Check> {
    const NAME: &str = "user namespaces";
    const CAPTURE: &str = "TCP without a proxy";
    let output = match Command::new(jail).arg("probe").output() {
        Ok(output) => output,
        Err(error) => {
            return vec![Check::missing(
                "srt-jail",
                format!("{}: {error}", jail.display()),
                "it belongs beside srtd: make install",
            )];
        }
    };
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let works = Check::ok(NAME, "an ordinary user can create them");
    let helper = Check::ok("srt-jail", jail.display().to_string());
    // The helper makes some of the namespaces, bubblewrap the others: a limit stops either.
    if let Some((found, remedy)) = no_room() {
        return vec![helper, Check::missing(NAME, found, remedy)];
    }
    if output.status.success() {
        let capture = match said.strip_prefix("partial: ") {
            None => Check::ok(CAPTURE, "every port is captured (nftables redirect)"),
            Some(why) => Check::warning(
                CAPTURE,
                format!("only the usual ports and those that settings name are captured: {why}"),
                "sudo modprobe nft_redir nft_chain_nat",
            ),
        };
        let datagrams = Check::ok(
            "UDP",
            "refused at once, so that QUIC falls back to TCP; but for DNS, which srtd answers, and network.allowedUdp",
        );
        return vec![helper, works, capture, datagrams];
    }
    let (found, remedy) = why_no_namespaces(&said);
    vec![helper, Check::missing(NAME, found, remedy)]
}

/// Ubuntu's restriction, the distribution's switches and the limits, each with its own remedy.
fn why_no_namespaces(said: &str) -> (String, String) {
    if sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1" {
        return (
            "AppArmor restricts them (Ubuntu 23.10 and later)".into(),
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, and to keep it: \
             echo kernel.apparmor_restrict_unprivileged_userns=0 | sudo tee /etc/sysctl.d/60-srt.conf"
                .into(),
        );
    }
    if sysctl("kernel.unprivileged_userns_clone") == "0" {
        return (
            "kernel.unprivileged_userns_clone is 0".into(),
            "sudo sysctl -w kernel.unprivileged_userns_clone=1, and to keep it: \
             echo kernel.unprivileged_userns_clone=1 | sudo tee /etc/sysctl.d/60-srt.conf"
                .into(),
        );
    }
    if said.contains("(os error 28)") {
        return (
            "this user has as many namespaces as the limits user.max_*_namespaces allow, or they are nested too deep"
                .into(),
            "end some sandboxes or containers, or raise the limits that sysctl user shows".into(),
        );
    }
    (
        format!("an ordinary user cannot create them: {said}"),
        "in a container: run it with user namespaces allowed (for example --security-opt seccomp=unconfined); \
         on a kernel of your own: CONFIG_USER_NS=y and CONFIG_NET_NS=y"
            .into(),
    )
}

/// The value of a key of sysctl(8); empty where there is none.
fn sysctl(key: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/")))
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// Which of the namespaces that a sandbox consists of this user may have none of (namespaces(7), `/proc/sys/user`).
fn no_room() -> Option<(String, String)> {
    let kinds = ["user", "net", "pid", "mnt", "ipc", "uts", "cgroup"];
    let none: Vec<String> = (kinds.into_iter())
        .map(|kind| format!("user.max_{kind}_namespaces"))
        .filter(|key| sysctl(key) == "0")
        .collect();
    let set: Vec<String> = none.iter().map(|key| format!("{key}=15000")).collect();
    (!none.is_empty()).then(|| {
        let are = if none.len() == 1 { "is" } else { "are" };
        (
            format!("{} {are} 0", none.join(" and ")),
            format!("sudo sysctl -w {}", set.join(" ")),
        )
    })
}

fn bubblewrap(program: &Path) -> Check {
    const NAME: &str = "bubblewrap";
    const INSTALL: &str = "sudo apt install bubblewrap (or your system's package of that name)";
    let Ok(output) = Command::new(program).arg("--version").output() else {
        return Check::missing(NAME, "not found", INSTALL);
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim().trim_start_matches("bubblewrap ").to_owned();
    let mut numbers = version
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    let parsed = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if parsed < OLDEST_BWRAP {
        return Check::missing(NAME, version, format!("0.5 or later is needed: {INSTALL}"));
    }
    let trial = Command::new(program)
        .args([
            "--unshare-all",
            "--ro-bind",
            "/",
            "/",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
            "true",
        ])
        .output();
    match trial {
        Ok(output) if output.status.success() => Check::ok(NAME, version),
        Ok(output) => Check::missing(
            NAME,
            format!(
                "{version}, which cannot build a sandbox here: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ),
            "see \"user namespaces\"; in a container, /proc must not be masked (for example --security-opt systempaths=unconfined)",
        ),
        Err(error) => Check::missing(NAME, error.to_string(), INSTALL),
    }
}

fn landlock() -> Check {
    // SAFETY: landlock_create_ruleset(2) with a null attribute, size 0 and LANDLOCK_CREATE_RULESET_VERSION reads
    // no memory and only returns the ABI version.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0usize,
            1u32,
        )
    };
    if abi > 0 {
        Check::ok("Landlock", format!("ABI {abi}"))
    } else {
        Check::warning(
            "Landlock",
            "not there: the mounts stand without their second wall",
            "Linux 5.13 or later with landlock in the boot parameter lsm=",
        )
    }
}

fn seccomp() -> Check {
    let actions =
        std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let has = |name| actions.split_whitespace().any(|action| action == name);
    match (has("errno"), has("user_notif")) {
        (true, true) => Check::ok("seccomp", "filters, user notification"),
        (true, false) => Check::missing(
            "seccomp",
            "no user notification",
            "Linux 5.14 or later: rules about files are judged by it",
        ),
        (false, _) => Check::missing(
            "seccomp",
            "no filters",
            "a kernel with CONFIG_SECCOMP_FILTER=y",
        ),
    }
}

/// Which limits can be held.
fn limits() -> Vec<Check> {
    const NAME: &str = "memory and CPU limits";
    const REMEDY: &str = "run srtd as a systemd user service, whose cgroup is delegated to it: systemctl --user enable --now srtd";
    let found = match cgroup::find() {
        Err(why) => Check::warning(
            NAME,
            format!("{why}: runtime.memoryMax and runtime.cpuQuota are refused"),
            REMEDY,
        ),
        Ok(controllers) => {
            let lacking: Vec<&str> = ["memory", "cpu"]
                .into_iter()
                .filter(|name| !controllers.contains(*name))
                .collect();
            match lacking.as_slice() {
                [] => Check::ok(NAME, "cgroup v2, delegated to this user"),
                lacking => Check::warning(
                    NAME,
                    format!("the cgroup is delegated without {}", lacking.join(" and ")),
                    "enable the controller for user services: Delegate=cpu memory pids in a drop-in of user@.service",
                ),
            }
        }
    };
    let processes = if nix::unistd::geteuid().is_root() {
        Check::warning(
            "process limits",
            "runtime.maxProcesses needs a cgroup for root, whom RLIMIT_NPROC does not bind",
            "run srtd as an ordinary user",
        )
    } else {
        Check::ok(
            "process limits",
            "number of processes, size of files, descriptors",
        )
    };
    vec![found, processes]
}
