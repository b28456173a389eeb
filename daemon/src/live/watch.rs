//! Settings files that change while launches run by them: the network half of what they say is in force at once.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{MutexGuard, Notify};
use tokio::time::{Instant, timeout_at};

use super::places::{Places, Seen};
use super::rules::{Rules, Taken};
use crate::audit::{PolicyChange, PolicyTrouble};
use crate::policies::{Loaded, PolicyError, shown};
use crate::store::Stream;
use crate::supervisor::Shared;

/// How long it must be quiet: an editor's save is several events.
const QUIET: Duration = Duration::from_millis(100);
/// What is never quiet is looked at all the same.
const NEVER_QUIET: Duration = Duration::from_secs(1);
/// How long a file may be half written, or gone on its way to being replaced.
const HALF_DONE: Duration = Duration::from_millis(300);
/// How often files are looked at where no event came: a network's file system tells nobody of others' changes.
const LOOK: Duration = Duration::from_secs(5);

/// Keeps every running launch's rules what their settings files say, until the daemon stops.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let live = shared.live.clone();
    let mut folders = Folders::new(live.wake.clone());
    let work = async {
        loop {
            let launches = live.all();
            folders.follow(&shared, &launches);
            // A file may have changed before its folder was watched.
            refresh(&shared, &launches, false).await;
            tokio::select! {
                () = live.wake.notified() => {
                    // A launch that begins is watched before it is waited for anything to be quiet.
                    folders.follow(&shared, &live.all());
                    settled(&live.wake).await;
                    let hit = folders.was_hit();
                    refresh(&shared, &live.all(), hit).await;
                }
                () = tokio::time::sleep(LOOK), if !launches.is_empty() => {}
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = live.expire_grants() => {}
        () = shared.shutdown.cancelled() => {}
    }
}

/// Waits until no event has come for a while.
async fn settled(wake: &Notify) {
    let latest = Instant::now() + NEVER_QUIET;
    while timeout_at(latest.min(Instant::now() + QUIET), wake.notified())
        .await
        .is_ok()
        && Instant::now() < latest
    {}
}

/// The folders that are watched.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    told: bool,
    names: Arc<Mutex<Hits>>,
    wake: Arc<Notify>,
}

/// What is looked out for, and whether it was seen.
#[derive(Debug, Default)]
struct Hits {
    names: BTreeSet<PathBuf>,
    hit: bool,
}

impl Folders {
    fn new(wake: Arc<Notify>) -> Self {
        Self {
            watcher: None,
            watched: BTreeSet::new(),
            told: false,
            names: Arc::default(),
            wake,
        }
    }

    /// Watches what these launches' settings may come from, and nothing else.
    fn follow(&mut self, shared: &Shared, launches: &[Arc<Rules>]) {
        let mut places = Places::default();
        let files: BTreeSet<PathBuf> = launches
            .iter()
            .flat_map(|rules| candidates(shared, rules))
            .collect();
        for file in &files {
            places.add(file);
        }
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .names = places.names;
        // Each time anew: a folder that was put in another's place has the same name, and no watch.
        if places.folders.is_empty() {
            self.watcher = None;
            self.watched.clear();
            return;
        }
        if self.watcher.is_none() {
            self.watched.clear();
            self.watcher = self.begin();
        }
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for gone in self.watched.difference(&places.folders) {
            // It may be gone itself.
            let _ = watcher.unwatch(gone);
        }
        for folder in &places.folders {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
                && !self.told
            {
                self.told = true;
                tracing::warn!(
                    folder = %folder.display(), %error,
                    "cannot watch a folder of settings files; they are looked at every {} s", LOOK.as_secs()
                );
            }
        }
        self.watched = places.folders;
    }

    fn begin(&mut self) -> Option<RecommendedWatcher> {
        let (names, wake) = (self.names.clone(), self.wake.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let mut hits = names.lock().unwrap_or_else(PoisonError::into_inner);
            let hit = match &event {
                Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
                Ok(event) => {
                    // A folder's own events have no name in it.
                    event.need_rescan() || event.paths.iter().any(|path| hits.names.contains(path))
                }
                Err(_) => true,
            };
            if hit {
                hits.hit = true;
                wake.notify_one();
            }
        });
        match watcher {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                if !self.told {
                    self.told = true;
                    tracing::warn!(
                        %error,
                        "cannot watch settings files; they are looked at every {} s", LOOK.as_secs()
                    );
                }
                None
            }
        }
    }

    /// Whether one of the names was hit since the last time.
    fn was_hit(&self) -> bool {
        let mut hits = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut hits.hit)
    }
}

fn candidates(shared: &Shared, rules: &Rules) -> Vec<PathBuf> {
    shared
        .policies
        .candidates(&rules.server, &rules.choice, &rules.cwd)
}

/// Reads anew what has changed; everything where `all` says so.
async fn refresh(shared: &Shared, launches: &[Arc<Rules>], all: bool) {
    // Together: each may have to wait for a file that is half written.
    let reloads = launches.iter().filter_map(|rules| {
        let files = candidates(shared, rules);
        let wanted = rules.differ_from(&Seen::at(&files)) || all;
        wanted.then(|| reload(shared, rules))
    });
    join_all(reloads).await;
}

/// Reads one launch's settings anew, where they may be half written.
async fn reload(shared: &Shared, rules: &Rules) {
    {
        let read = Read::now(shared, rules).await;
        if read.is_of(&rules.standing().generation.files) {
            let _ = read.settle(shared, rules).await;
            return;
        }
    }
    // They are half written, or on their way to being replaced by others. If they are not, they say the same later.
    tokio::time::sleep(HALF_DONE).await;
    let _ = read_anew(shared, rules).await;
}

/// What one launch's settings files say. Of two that read at once, the other waits until this one is settled, or given
/// up: so nothing takes the place of what was read later.
struct Read<'a> {
    loaded: Result<Loaded, PolicyError>,
    seen: Seen,
    _turn: MutexGuard<'a, ()>,
}

impl<'a> Read<'a> {
    async fn now(shared: &Shared, rules: &'a Rules) -> Self {
        let turn = rules.reading.lock().await;
        Self {
            seen: Seen::at(&candidates(shared, rules)),
            loaded: load(shared, rules).await,
            _turn: turn,
        }
    }

    /// Whether they can be used, and are these.
    fn is_of(&self, files: &[String]) -> bool {
        matches!(&self.loaded, Ok(loaded) if loaded.generation.files == files)
    }

    /// Takes over what they say, or tells why that is not done.
    async fn settle(self, shared: &Shared, rules: &Rules) -> Result<(), PolicyError> {
        let done = match self.loaded {
            Ok(loaded) => {
                took(shared, rules, &loaded).await;
                Ok(())
            }
            Err(error) => {
                keep(shared, rules, &error).await;
                Err(error)
            }
        };
        // Not before: until then they look different to whoever has to know what they say.
        rules.were_read(self.seen);
        done
    }
}

/// Reads one launch's settings anew if a file looks different, without waiting for the watch to tell. What cannot be used
/// changes nothing, and is told.
pub(crate) async fn read_if_changed(shared: &Shared, rules: &Rules) {
    if rules.differ_from(&Seen::at(&candidates(shared, rules))) {
        let _ = read_anew(shared, rules).await;
    }
}

/// Reads one launch's settings anew, changed or not.
pub(crate) async fn read_anew(shared: &Shared, rules: &Rules) -> Result<(), PolicyError> {
    Read::now(shared, rules).await.settle(shared, rules).await
}

/// What one launch's settings say now, which changes nothing; `None` where they cannot be used.
pub(crate) async fn read_quietly(shared: &Shared, rules: &Rules) -> Option<Loaded> {
    load(shared, rules).await.ok()
}

async fn load(shared: &Shared, rules: &Rules) -> Result<Loaded, PolicyError> {
    shared
        .policies
        .load(
            &rules.server,
            &rules.choice,
            &rules.cwd,
            rules.program.clone(),
        )
        .await
}

async fn took(shared: &Shared, rules: &Rules, loaded: &Loaded) {
    let source = &loaded.generation.source;
    let number = loaded.generation.number;
    let line = match rules.take(loaded) {
        Taken::Same { recovered: false } => return,
        Taken::Same { recovered: true } => {
            format!("policy: {source} can be used again (generation {number})")
        }
        Taken::Changed { before, next_start } => {
            shared.live.answer(rules, "the settings file has changed");
            let entry = PolicyChange {
                digest: &loaded.generation.digest,
                generation: number,
                instead_of: before.number,
                next_start: &next_start,
            }
            .entry(Timestamp::now(), &rules.server, rules.launch, source);
            // Queued first, and without waiting for the other: the log tells of a change before what it led to.
            let ((), noted) = tokio::join!(
                record(shared, entry),
                shared.policies.generations.note(rules.place(), loaded),
            );
            if let Err(error) = noted {
                tracing::error!(%error, "cannot note which policy is in force");
            }
            for warning in &loaded.warnings {
                log(shared, rules, format!("warning: {}", shown(warning))).await;
            }
            let what = if before.source == *source {
                match &loaded.generation.files[..] {
                    [] | [_] => format!("{source} has changed"),
                    several => format!("one of {} has changed", several.join(", ")),
                }
            } else {
                format!("{source} takes the place of {}", before.source)
            };
            let mut line =
                format!("policy: {what}: its network rules are in force (generation {number})");
            if !next_start.is_empty() {
                line += &format!("; at the next start: {}", next_start.join(", "));
            }
            line
        }
    };
    shared
        .live
        .recorded
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&rules.server);
    tracing::info!(server = rules.server, launch = %rules.launch, "{line}");
    log(shared, rules, line).await;
}

/// Tells that changed settings are not taken over, and why; once for each reason.
pub(crate) async fn keep(shared: &Shared, rules: &Rules, error: &PolicyError) {
    let why = error.to_string();
    let Some(kept) = rules.trouble(&why) else {
        return;
    };
    let line = format!(
        "policy: changed settings cannot be used, so nothing changes (generation {} stays): {why}",
        kept.number
    );
    tracing::warn!(server = rules.server, launch = %rules.launch, "{line}");
    log(shared, rules, line).await;
    let known = shared
        .live
        .recorded
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(rules.server.clone(), why.clone());
    // One entry, however many launches of it run.
    if known.as_deref() != Some(why.as_str()) {
        let entry = PolicyTrouble {
            generation: kept.number,
            error: &why,
        }
        .entry(Timestamp::now(), &rules.server, &kept.source);
        record(shared, entry).await;
    }
}

async fn record(shared: &Shared, entry: crate::audit::Entry) {
    if let Err(error) = shared.store.submit(entry).await {
        tracing::error!(%error, "cannot record a change of policy");
    }
}

async fn log(shared: &Shared, rules: &Rules, line: String) {
    shared
        .log(&rules.server, Some(rules.launch), Stream::Daemon, line)
        .await;
}
