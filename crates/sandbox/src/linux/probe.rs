//! `doctor`'s checks on Linux. Each mechanism is used once, for real, by a program of its own.

use std::path::Path;
use std::process::Command;

use crate::Tools;
use crate::support::Check;

/// The oldest bubblewrap with the options in use (`--perms`, `--clearenv`, `--ro-bind-data`): bwrap's NEWS.
const OLDEST_BWRAP: (u32, u32) = (0, 5);

/// Tries every mechanism.
pub fn checks(tools: &Tools) -> Vec<Check> {
    let mut checks = vec![kernel(), bubblewrap(&tools.bwrap)];
    checks.extend(namespaces(&tools.jail));
    checks.extend([landlock(), seccomp(), cgroups()]);
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
    // close_range with CLOSE_RANGE_CLOEXEC is the newest call that a launch cannot do without.
    if version >= (5, 11) {
        Check::ok("kernel", found)
    } else {
        Check::missing(
            "kernel",
            found,
            "Linux 5.11 or later is needed (close_range with CLOEXEC)",
        )
    }
}

/// Stage 1 of a launch, tried for real: the user and network namespace, and the capture of connections.
fn namespaces(jail: &Path) -> Vec<Check> {
    const NAME: &str = "user namespaces";
    const CAPTURE: &str = "capture of every port";
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
    if output.status.success() {
        let capture = match said.strip_prefix("partial: ") {
            None => Check::ok(CAPTURE, "nftables redirect"),
            Some(why) => Check::warning(
                CAPTURE,
                format!("{why}: programs that ignore proxy variables reach named ports only"),
                "sudo modprobe nft_redir nft_chain_nat",
            ),
        };
        return vec![helper, works, capture];
    }
    let (found, remedy) = why_no_namespaces(&said);
    vec![helper, Check::missing(NAME, found, remedy)]
}

/// Ubuntu's restriction, the distribution's switches and the limits, each with its own remedy.
fn why_no_namespaces(said: &str) -> (String, String) {
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    };
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        return (
            "AppArmor restricts them (Ubuntu 23.10 and later)".into(),
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, and to keep it: \
             echo kernel.apparmor_restrict_unprivileged_userns=0 | sudo tee /etc/sysctl.d/60-srt.conf"
                .into(),
        );
    }
    if read("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        return (
            "kernel.unprivileged_userns_clone is 0".into(),
            "sudo sysctl -w kernel.unprivileged_userns_clone=1, and to keep it: \
             echo kernel.unprivileged_userns_clone=1 | sudo tee /etc/sysctl.d/60-srt.conf"
                .into(),
        );
    }
    for key in ["user.max_user_namespaces", "user.max_net_namespaces"] {
        if read(&format!("/proc/sys/{}", key.replace('.', "/"))) == "0" {
            return (format!("{key} is 0"), format!("sudo sysctl -w {key}=15000"));
        }
    }
    (
        format!("an ordinary user cannot create them: {said}"),
        "in a container: run it with user namespaces allowed (for example --security-opt seccomp=unconfined); \
         on a kernel of your own: CONFIG_USER_NS=y and CONFIG_NET_NS=y"
            .into(),
    )
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
    if actions.split_whitespace().any(|action| action == "errno") {
        Check::ok("seccomp", "filters with errno")
    } else {
        Check::missing(
            "seccomp",
            "no filters",
            "a kernel with CONFIG_SECCOMP_FILTER=y",
        )
    }
}

fn cgroups() -> Check {
    const NAME: &str = "cgroup delegation";
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(|path| format!("/sys/fs/cgroup{path}/cgroup.subtree_control"));
    let writable = path.is_some_and(|path| {
        rustix::fs::access(path.as_str(), rustix::fs::Access::WRITE_OK).is_ok()
    });
    if writable {
        Check::ok(NAME, "delegated to this user")
    } else {
        Check::warning(
            NAME,
            "none: CPU and memory limits cannot be enforced",
            "run srtd as a systemd user service with Delegate=yes",
        )
    }
}
