//! Where what the tests run was built or installed.

use std::path::{Path, PathBuf};

/// Where a program was built: `SRT_BIN_DIR`, or beside the test programs' folder.
pub fn built(program: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("SRT_BIN_DIR") {
        return Path::new(&folder).join(program);
    }
    let test = std::env::current_exe().unwrap_or_default();
    // target/debug/deps/NAME-HASH
    test.parent()
        .and_then(Path::parent)
        .unwrap_or(Path::new(""))
        .join(program)
}

/// Where the pinned real servers are installed.
///
/// # Panics
///
/// When they are not.
pub fn servers() -> PathBuf {
    let folder = match std::env::var_os("SRT_SERVERS_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => built("x")
            .parent()
            .and_then(Path::parent)
            .unwrap_or(Path::new(""))
            .join("test-servers"),
    };
    assert!(
        folder.is_dir(),
        "the real servers are not installed in {}\nhint: scripts/servers, or make test",
        folder.display()
    );
    folder
}

/// The folder of PostgreSQL's programs, and whether they know TLS: of this machine, else of the wheel, which does not.
pub fn postgres() -> Option<(PathBuf, bool)> {
    let find = |folder: PathBuf, within: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut found = entries.map(|entry| entry.path().join(within));
        found.find(|folder| folder.join("initdb").is_file())
    };
    let machine = find("/usr/lib/postgresql".into(), "bin").map(|folder| (folder, true));
    machine.or_else(|| {
        let wheel = "site-packages/pgserver/pginstall/bin";
        find(servers().join("python/lib"), wheel).map(|folder| (folder, false))
    })
}
