//! Minimal mode: what a server sees of the host where no rule of its document says more. One place, each with its
//! reason.
//!
//! Nothing can be read but this, what the program needs in order to run, the working directory, and what the
//! document's `allowRead`, `allowWrite` and `overlay` name. Within that the document's `denyRead` and the credential
//! stores hold as in shared mode: what is shown here opens nothing that they close.
//!
//! A sandbox has `/etc/hosts`, `/etc/resolv.conf`, `/etc/passwd` and `/etc/group` of its own, so the host's are not
//! here. Nor is what names this machine or its other users, or may hold passwords: `/etc/machine-id`, `/etc/shadow`,
//! `/etc/ssh`, `/etc/sudoers`, `/etc/environment`, `/etc/npmrc`, `/etc/pip.conf`, `/etc/gitconfig`, the rest of `/sys`.

use std::path::Path;

use crate::stores::On;
use crate::{Facts, FileOverlay, FileRule, FileRuleKind, FilesystemMode, Origin, paths};

const PROGRAMS: &str = "programs and their libraries";
const CERTIFICATES: &str = "certificates that TLS trusts";
const LINKER: &str = "where the dynamic linker finds libraries";
const TIME: &str = "the local time";
const NAMES: &str = "how names of hosts, services and users are looked up";
const SETTINGS: &str = "an interpreter does not start without it, or differently";
const DEVICES: &str = "the sandbox's own devices and processes";
const MACHINE: &str = "how many processors and how much memory there are";

#[rustfmt::skip]
const SHOWN: &[(&str, &str, On)] = &[
    ("/usr", PROGRAMS, On::Both),
    ("/bin", PROGRAMS, On::Both),
    ("/sbin", PROGRAMS, On::Both),
    ("/lib", PROGRAMS, On::Linux),
    ("/lib32", PROGRAMS, On::Linux),
    ("/lib64", PROGRAMS, On::Linux),
    ("/libx32", PROGRAMS, On::Linux),
    ("/nix/store", PROGRAMS, On::Both),
    ("/gnu/store", PROGRAMS, On::Linux),
    ("/run/current-system", PROGRAMS, On::Linux),
    // Not all of it: below /System/Volumes/Data is all that is the user's.
    ("/System/Library", PROGRAMS, On::Macos),
    ("/System/Applications", PROGRAMS, On::Macos),
    ("/System/iOSSupport", PROGRAMS, On::Macos),
    ("/System/Cryptexes", LINKER, On::Macos),
    ("/System/Volumes/Preboot/Cryptexes", LINKER, On::Macos),
    ("/Library/Apple", PROGRAMS, On::Macos),
    ("/Library/Frameworks", PROGRAMS, On::Macos),
    ("/Library/Java", PROGRAMS, On::Macos),
    ("/Library/Developer/CommandLineTools", PROGRAMS, On::Macos),
    ("/opt/homebrew", PROGRAMS, On::Macos),

    ("/dev", DEVICES, On::Both),
    ("/proc", DEVICES, On::Linux),
    ("/sys/devices/system/cpu", MACHINE, On::Linux),
    ("/sys/kernel/mm/transparent_hugepage", MACHINE, On::Linux),

    // Not the whole of /etc/ssl: the machine's private keys are beside them.
    ("/etc/ssl/certs", CERTIFICATES, On::Linux),
    ("/etc/ssl/cert.pem", CERTIFICATES, On::Linux),
    ("/etc/ssl/openssl.cnf", CERTIFICATES, On::Linux),
    ("/etc/pki", CERTIFICATES, On::Linux),
    ("/etc/crypto-policies", CERTIFICATES, On::Linux),
    ("/var/lib/ca-certificates", CERTIFICATES, On::Linux),
    ("/etc/ld.so.cache", LINKER, On::Linux),
    ("/etc/ld-musl-x86_64.path", LINKER, On::Linux),
    ("/etc/ld-musl-aarch64.path", LINKER, On::Linux),
    ("/etc/localtime", TIME, On::Linux),
    ("/etc/timezone", TIME, On::Linux),
    ("/etc/nsswitch.conf", NAMES, On::Linux),
    ("/etc/host.conf", NAMES, On::Linux),
    ("/etc/gai.conf", NAMES, On::Linux),
    ("/etc/protocols", NAMES, On::Linux),
    ("/etc/services", NAMES, On::Linux),
    ("/etc/alternatives", "links from names of programs to the ones in use", On::Linux),
    ("/etc/static", "where NixOS keeps the files of /etc", On::Linux),
    ("/etc/mime.types", "which file is of which type", On::Linux),
    ("/etc/magic", "which file is of which type", On::Linux),
    ("/etc/locale.alias", "the languages there are", On::Linux),
    ("/etc/locale.conf", "the languages there are", On::Linux),
    ("/etc/os-release", "which system this is", On::Linux),
    ("/etc/lsb-release", "which system this is", On::Linux),
    ("/etc/debian_version", "which system this is", On::Linux),
    ("/etc/fonts", "fonts, for programs that draw", On::Linux),
    ("/var/cache/fontconfig", "fonts, for programs that draw", On::Linux),
    ("/etc/java", SETTINGS, On::Linux),
    ("/etc/java-8-openjdk", SETTINGS, On::Linux),
    ("/etc/java-11-openjdk", SETTINGS, On::Linux),
    ("/etc/java-17-openjdk", SETTINGS, On::Linux),
    ("/etc/java-21-openjdk", SETTINGS, On::Linux),
    ("/etc/java-25-openjdk", SETTINGS, On::Linux),
    ("/etc/nodejs", SETTINGS, On::Linux),
    ("/etc/php", SETTINGS, On::Linux),
    ("/etc/dotnet", SETTINGS, On::Linux),

    ("/private/etc/ssl", CERTIFICATES, On::Macos),
    ("/private/etc/localtime", TIME, On::Macos),
    ("/private/etc/protocols", NAMES, On::Macos),
    ("/private/etc/services", NAMES, On::Macos),
    ("/private/etc/hosts", NAMES, On::Macos),
    ("/private/etc/resolv.conf", NAMES, On::Macos),
    ("/private/var/run/resolv.conf", NAMES, On::Macos),
    ("/private/var/db/timezone", TIME, On::Macos),
    ("/private/var/db/dyld", LINKER, On::Macos),
    ("/private/var/db/xcode_select_link", "where git and the compilers of /usr/bin are", On::Macos),
    ("/private/var/select", "a link that says which shell /bin/sh is", On::Macos),
];

/// The rules of a mode, beside the ones that hold in every mode, and what the reader should know of them. None in
/// shared mode.
pub(crate) fn rules(
    mode: FilesystemMode,
    overlays: &[FileOverlay],
    facts: &Facts,
) -> (Vec<FileRule>, Vec<String>) {
    if mode == FilesystemMode::Shared {
        return Default::default();
    }
    let rule = |kind, path: &Path, text: &str, reason| FileRule {
        kind,
        path: paths::normalise(path),
        pattern: None,
        alias: false,
        text: text.to_owned(),
        origin: Origin::BuiltIn(reason),
    };
    let shown = |path: &Path, text: &str, reason| rule(FileRuleKind::AllowRead, path, text, reason);
    let root = Path::new("/");
    let mut rules = vec![rule(
        FileRuleKind::DenyRead,
        root,
        "/",
        "in minimal mode only what is named can be read",
    )];
    let mut notes = Vec::new();
    let other = if facts.macos { On::Linux } else { On::Macos };
    for (path, reason, on) in SHOWN {
        if *on != other {
            rules.push(shown(Path::new(path), path, *reason));
        }
    }
    for path in &facts.program {
        let text = path.display().to_string();
        rules.push(shown(path, &text, "the program needs it in order to run"));
    }
    for overlay in overlays {
        let reason = "filesystem.overlay names it";
        rules.push(shown(&overlay.path, &overlay.text, reason));
    }
    let cwd = paths::normalise(&facts.cwd);
    if paths::normalise(&facts.home).starts_with(&cwd) {
        notes.push(format!(
            "the working directory {} holds the whole home folder, so it is not shown as it would be otherwise; start in the project, or name what is needed in filesystem.allowRead",
            cwd.display()
        ));
    } else {
        rules.push(shown(&cwd, ".", "the working directory"));
    }
    (rules, notes)
}
