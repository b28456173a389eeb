//! A damaged database: moved aside whole, and what of it can be had again without harm goes into a new one.
//!
//! Nothing of the old files is deleted or written to: whoever wants to rescue more finds them in a folder of their own,
//! in `damaged/` beside the database, with the reason. Carried over are registered servers (not enabled: nothing starts
//! by itself on the word of a damaged file) and what was accepted of their tools, which a new database would accept anew
//! from whoever speaks first. Grants are not: a damaged row of a grant that was taken back could let something pass.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqlitePoolOptions;

use super::read::Reader;
use super::rows::{Server, Tool, Unfinished};
use super::{Opening, Prefer, Store, StoreError, chain, files, reading};
use crate::audit::chain::QUARANTINED;
use crate::audit::{Entry, Kind};

/// A database is looked through as a whole after a daemon that was killed, unless it is larger: that would take seconds.
const SMALL: u64 = 128 * 1024 * 1024;

/// There in the folder of a damaged database until what can be had again of it is in the new one.
const PENDING: &str = "not-carried-over-yet";
const WHY: &str = "why.txt";

/// What became of a damaged database.
#[derive(Clone, Debug)]
pub struct Quarantined {
    /// The folder that it is in now.
    pub folder: PathBuf,
    /// What was wrong with it.
    pub why: String,
    /// The servers that are registered in the new one as they were, not enabled.
    pub servers: Vec<String>,
    /// How many grants held, and hold no more; `None` where that could not be read.
    pub grants: Option<usize>,
    /// Launches of which it knew no end: what still runs of them is to be ended.
    pub unfinished: Vec<Unfinished>,
}

/// What could be read of a damaged database.
#[derive(Debug, Default)]
struct Rescue {
    servers: Vec<Server>,
    tools: Vec<Tool>,
    grants: Option<usize>,
    unfinished: Vec<Unfinished>,
}

impl Store {
    /// As [`Store::open`]; a database that is damaged is moved aside first, and a new one made. What became of it then.
    ///
    /// One that was made by a newer program, or that cannot be reached, is not damaged.
    ///
    /// # Errors
    /// As [`Store::open`], and when the damaged one cannot be moved.
    pub async fn open_or_quarantine(
        path: &Path,
        prefer: Prefer,
    ) -> Result<(Self, Vec<Quarantined>), StoreError> {
        let opening = |replaces| Opening {
            prefer,
            replaces,
            ..Opening::default()
        };
        // Perhaps one was moved aside, and the new one could not be made then.
        let replaces = sheltered(path).iter().any(|folder| is_pending(folder));
        let opened = match suspicion(path).await {
            Some(why) => Err(why),
            None => match Self::open_as(path, opening(replaces)).await {
                Err(error) if error.is_damage() => Err(error.to_string()),
                opened => Ok(opened?),
            },
        };
        let store = match opened {
            Ok(store) => {
                forget(path);
                store
            }
            Err(why) => {
                let why = why.lines().next().unwrap_or_default();
                tracing::error!(database = %path.display(), why, "the database is damaged: moving it aside");
                move_aside(path, why).map_err(|source| StoreError::Quarantine {
                    path: path.into(),
                    why: why.to_owned(),
                    source: Arc::new(source),
                })?;
                Self::open_as(path, opening(true)).await?
            }
        };
        let mut carried = Vec::new();
        // Also what a daemon that was killed in the middle of it left to us.
        for folder in store.damaged() {
            if is_pending(&folder) {
                carried.push(carry_over(&store, folder).await?);
            }
        }
        Ok((store, carried))
    }

    /// The damaged databases that were moved aside and are still there, oldest first.
    pub fn damaged(&self) -> Vec<PathBuf> {
        sheltered(self.path())
    }
}

/// Notes that the database was found damaged, so that the next start looks through all of it whatever its size. Without
/// that note (the disk is full), it looks after a kill only.
pub(super) fn suspect(path: &Path, why: &str) {
    let noted = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(mark(path))
        .and_then(|mut file| file.write_all(why.as_bytes()));
    if let Err(error) = noted {
        tracing::error!(%error, database = %path.display(), "cannot note that the database is damaged");
    }
}

/// Whether the next start is to look through all of it.
pub(super) fn is_suspect(path: &Path) -> bool {
    mark(path).exists()
}

fn forget(path: &Path) {
    match fs::remove_file(mark(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "cannot remove the note that the database was damaged");
        }
        _ => {}
    }
}

fn mark(path: &Path) -> PathBuf {
    files::beside(path, "-damaged")
}

/// Where damaged databases go.
fn shelter(path: &Path) -> PathBuf {
    path.with_file_name("damaged")
}

/// What is there, oldest first.
fn sheltered(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(shelter(path))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Whether what can be had again of a damaged database is still to be carried over.
fn is_pending(folder: &Path) -> bool {
    folder.join(PENDING).exists()
}

/// Why the database must not be opened as it is; none where nothing speaks against it.
async fn suspicion(path: &Path) -> Option<String> {
    let log = files::beside(path, "-wal");
    let logged = fs::metadata(&log).is_ok_and(|meta| meta.len() > 0);
    let Ok(meta) = fs::metadata(path) else {
        // SQLite would take what is left for its own and delete it.
        return logged.then(|| format!("{} is gone, its write-ahead log is not", path.display()));
    };
    let pragma = match (is_suspect(path), logged) {
        (true, _) => "PRAGMA integrity_check(1)",
        // Its daemon was killed, or the machine was.
        (false, true) if meta.len() <= SMALL => "PRAGMA quick_check(1)",
        (false, _) => return None,
    };
    let checked = async {
        let mut connection = reading(path).connect().await?;
        sqlx::query_scalar::<_, String>(pragma)
            .fetch_one(&mut connection)
            .await
    };
    match checked.await {
        Ok(verdict) if verdict == "ok" => None,
        Ok(verdict) => Some(verdict),
        Err(error) if super::error::is_damage(&error) => Some(error.to_string()),
        // Opening it says what is wrong.
        Err(_) => None,
    }
}

/// Moves the database and what belongs to it into a folder of its own.
///
/// The database goes first. Were we killed in between, the next start finds the rest without it and moves that, too.
pub(super) fn move_aside(path: &Path, why: &str) -> io::Result<()> {
    let shelter = shelter(path);
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    match builder.create(&shelter) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => fs::set_permissions(&shelter, Permissions::from_mode(0o700))?,
    }
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ").to_string();
    let folder = shelter.join(stamp);
    builder.create(&folder)?;
    let write = |name: &str, text: &str| {
        let mut options = OpenOptions::new();
        let mut file = options
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(folder.join(name))?;
        file.write_all(text.as_bytes())
    };
    write(PENDING, "")?;
    // The disk may be full; moving takes no room.
    if let Err(error) = write(WHY, &format!("{why}\n")) {
        tracing::warn!(%error, "cannot write the reason beside the damaged database");
    }
    let whole = std::iter::once(path.to_owned());
    let beside = files::BESIDE.map(|suffix| files::beside(path, suffix));
    // Where its log ended can be told by the anchor alone.
    let anchor = chain::anchor_path(path);
    for file in whole.chain(beside).chain([anchor]) {
        let name: OsString = file.file_name().unwrap_or_default().to_owned();
        match fs::rename(&file, folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    for folder in [&folder, &shelter] {
        File::open(folder)?.sync_all()?;
    }
    if let Some(state) = path.parent() {
        File::open(state)?.sync_all()?;
    }
    forget(path);
    Ok(())
}

/// Puts what can be had again of a damaged database into the new one, and tells of it there. Done twice, it does no harm.
async fn carry_over(store: &Store, folder: PathBuf) -> Result<Quarantined, StoreError> {
    let rescue = match store.path().file_name() {
        Some(name) => Rescue::from(&folder.join(name)).await,
        None => Rescue::default(),
    };
    let why = fs::read_to_string(folder.join(WHY)).unwrap_or_default();
    let why = match why.trim() {
        "" => "the reason could not be written".to_owned(),
        why => why.to_owned(),
    };
    let quarantined = rescue.into_store(store, folder, why).await?;
    if let Err(error) = fs::remove_file(quarantined.folder.join(PENDING)) {
        tracing::warn!(%error, "cannot note that what could be read of a damaged database was carried over");
    }
    tracing::error!("{}", quarantined.told());
    Ok(quarantined)
}

impl Rescue {
    /// Reads what can be read. A table is read where SQLite finds it whole, with its indexes.
    async fn from(path: &Path) -> Self {
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_lazy_with(reading(path));
        let reader = Reader {
            pool,
            path: path.to_owned(),
        };
        let rescue = Self::read(&reader).await;
        reader.pool.close().await;
        rescue
    }

    async fn read(reader: &Reader) -> Self {
        let mut rescue = Self::default();
        if is_whole(reader, "PRAGMA integrity_check(servers)").await
            && let Ok(servers) = reader.servers().await
        {
            let usable =
                |server: &Server| server.registered && crate::paths::is_server_name(&server.name);
            rescue.servers = servers.into_iter().filter(usable).collect();
        }
        if is_whole(reader, "PRAGMA integrity_check(tools)").await {
            for server in &rescue.servers {
                let tools = reader.tools(&server.name).await.unwrap_or_default();
                rescue.tools.extend(tools);
            }
        }
        if is_whole(reader, "PRAGMA integrity_check(grants)").await {
            let grants = reader.grants().await.ok();
            let held = |grants: Vec<_>| {
                let holds = |grant: &&super::rows::Grant| grant.ended.is_none();
                grants.iter().filter(holds).count()
            };
            rescue.grants = grants.map(held);
        }
        // Whether the table is whole does not matter: a process is ended only where pid, start and boot all agree.
        rescue.unfinished = reader.unfinished().await.unwrap_or_default();
        rescue
    }

    async fn into_store(
        self,
        store: &Store,
        folder: PathBuf,
        why: String,
    ) -> Result<Quarantined, StoreError> {
        let now = Timestamp::now();
        let names: Vec<String> = self.servers.iter().map(|one| one.name.clone()).collect();
        let entry = Entry::new(now, Kind::Daemon, QUARANTINED)
            .with("moved_to", folder.display().to_string())
            .with("why", why.as_str())
            .with("servers", names.clone())
            .with("tools", self.tools.len())
            .with("grants_lost", self.grants);
        store.record(entry).await?;
        for server in self.servers {
            let entry = Entry::new(now, Kind::Register, server.command.join(" "))
                .server(server.name.as_str())
                .with("carried_over", true);
            let server = Server {
                enabled: false,
                ..server
            };
            match store.register_server(server, entry).await {
                // The second time, or a person was faster.
                Err(StoreError::ServerExists { .. }) => {}
                other => other?,
            }
        }
        if !self.tools.is_empty() {
            store.put_tools(self.tools, None).await?;
        }
        Ok(Quarantined {
            folder,
            why,
            servers: names,
            grants: self.grants,
            unfinished: self.unfinished,
        })
    }
}

/// Whether SQLite finds nothing wrong with a table. The table's name cannot be bound.
async fn is_whole(reader: &Reader, pragma: &'static str) -> bool {
    let verdict = sqlx::query_scalar::<_, String>(pragma)
        .fetch_one(&reader.pool)
        .await;
    verdict.is_ok_and(|verdict| verdict == "ok")
}

impl Quarantined {
    /// What happened, for a person.
    pub fn told(&self) -> String {
        let servers = match self.servers.as_slice() {
            [] => "no registered server could be carried over".to_owned(),
            names => format!("carried over: {} (not enabled)", names.join(", ")),
        };
        let grants = match self.grants {
            Some(0) => String::new(),
            Some(count) => format!("; {count} grants hold no more"),
            None => "; grants hold no more".to_owned(),
        };
        format!(
            "the database was damaged ({}) and is in {} now; {servers}{grants}",
            self.why,
            self.folder.display()
        )
    }
}
