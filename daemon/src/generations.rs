//! Which policy generation was in force for which server, since when, and why it came to be.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex as StdMutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::policies::{BUILT_IN, Loaded, documents};
use crate::store::{Document, InForce, Store, StoreError};

/// Writes down what comes to be in force.
#[derive(Debug)]
pub(crate) struct Generations {
    store: Store,
    /// Of two that read at once, the second finds what the first has written.
    noting: Mutex<()>,
    /// Files that a rollback is writing, with what is to be said of their change.
    restored: StdMutex<HashMap<PathBuf, String>>,
}

/// Where and by what a server is launched: each has a history of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) server: &'a str,
    pub(crate) cwd: &'a Path,
    /// The settings file that was named.
    pub(crate) settings: Option<&'a Path>,
}

impl Generations {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            noting: Mutex::default(),
            restored: StdMutex::default(),
        }
    }

    /// Notes that this is in force from now on, unless it was before.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub(crate) async fn note(&self, place: Place<'_>, loaded: &Loaded) -> Result<(), StoreError> {
        let _alone = self.noting.lock().await;
        let generation = loaded.generation.number;
        let cwd = place.cwd.display().to_string();
        let settings = place.settings.map(|path| path.display().to_string());
        let last = self
            .store
            .last_in_force(place.server, &cwd, settings.as_deref())
            .await?;
        if last
            .as_ref()
            .is_some_and(|last| last.generation == generation)
        {
            return Ok(());
        }
        let reason = match &last {
            None => "first use".to_owned(),
            Some(last) => {
                let before = self.store.generation(last.generation).await?;
                let before = before.map_or_else(Vec::new, |kept| kept.policy.documents);
                let elsewhere = elsewhere(last, &cwd, settings.as_deref());
                let restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
                because(&before, &documents(&loaded.policy), elsewhere, &restored)
            }
        };
        let now = InForce {
            server: place.server.to_owned(),
            cwd,
            settings,
            generation,
            at: Timestamp::now(),
            reason,
        };
        self.store.put_in_force(now).await
    }

    /// What is to be said of these files' change, until what is returned is dropped.
    pub(crate) fn restoring(&self, files: Vec<PathBuf>, words: &str) -> Restoring<'_> {
        let mut restored = self.restored.lock().unwrap_or_else(PoisonError::into_inner);
        restored.extend(files.iter().map(|file| (file.clone(), words.to_owned())));
        Restoring {
            generations: self,
            files,
        }
    }
}

/// Files that are being restored.
#[derive(Debug)]
pub(crate) struct Restoring<'a> {
    generations: &'a Generations,
    files: Vec<PathBuf>,
}

impl Drop for Restoring<'_> {
    fn drop(&mut self) {
        let restored = &self.generations.restored;
        let mut restored = restored.lock().unwrap_or_else(PoisonError::into_inner);
        for file in &self.files {
            restored.remove(file);
        }
    }
}

/// In what a launch is another one than the last, where it is.
fn elsewhere(last: &InForce, cwd: &str, settings: Option<&str>) -> Option<String> {
    // Launches from before this was written down may have been anywhere.
    if last.cwd.is_empty() || (last.cwd == cwd && last.settings.as_deref() == settings) {
        return None;
    }
    Some(match settings {
        Some(_) if last.settings.as_deref() != settings => "with --settings".to_owned(),
        None if last.settings.is_some() => "without --settings".to_owned(),
        _ => format!("in {cwd}"),
    })
}

/// Why these documents are in force and not those before.
fn because(
    before: &[Document],
    now: &[Document],
    elsewhere: Option<String>,
    restored: &HashMap<PathBuf, String>,
) -> String {
    let named = |list: &[Document], path: &str| list.iter().any(|found| found.path == path);
    let mut words = Vec::new();
    for document in now {
        let path = &document.path;
        let known = before.iter().find(|other| other.path == *path);
        if known == Some(document) {
            continue;
        }
        words.push(match (restored.get(Path::new(path)), known) {
            (Some(words), _) => format!("{path} was {words}"),
            (None, Some(_)) => format!("{path} has changed"),
            (None, None) => format!("{path} came to count"),
        });
    }
    for gone in before.iter().filter(|old| !named(now, &old.path)) {
        words.push(match restored.get(Path::new(&gone.path)) {
            Some(words) => format!("{} was {words}", gone.path),
            None => format!("{} no longer counts", gone.path),
        });
    }
    if words.is_empty() {
        // The same documents in another order, or read by another version.
        words.push("they are read otherwise".to_owned());
    }
    if now.is_empty() {
        words.push(format!("the {BUILT_IN} policy holds"));
    }
    match elsewhere {
        Some(elsewhere) => format!("launched {elsewhere}: {}", words.join(", ")),
        None => words.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(path: &str, text: &str) -> Document {
        Document {
            layer: "server".into(),
            path: path.into(),
            text: text.into(),
        }
    }

    #[test]
    fn the_reason_names_what_changed() {
        let (a, b) = (document("/a.json", "1"), document("/b.json", "1"));
        let changed = document("/a.json", "2");
        let check = |before: &[&Document], now: &[&Document], expected: &str| {
            let list = |some: &[&Document]| some.iter().copied().cloned().collect::<Vec<_>>();
            let told = because(&list(before), &list(now), None, &HashMap::new());
            assert_eq!(told, expected);
        };
        check(&[&a], &[&changed], "/a.json has changed");
        check(&[&a], &[&a, &b], "/b.json came to count");
        check(
            &[&a, &b],
            &[&changed],
            "/a.json has changed, /b.json no longer counts",
        );
        check(
            &[&a],
            &[],
            "/a.json no longer counts, the built-in policy holds",
        );
        let restored = HashMap::from([(PathBuf::from("/a.json"), "rolled back by ada".to_owned())]);
        let elsewhere = Some("in /w".to_owned());
        assert_eq!(
            because(&[changed], &[a, b], elsewhere, &restored),
            "launched in /w: /a.json was rolled back by ada, /b.json came to count"
        );
    }

    #[test]
    fn another_place_is_named_where_it_is_known() {
        let last = |cwd: &str, settings: Option<&str>| InForce {
            server: "s".into(),
            cwd: cwd.into(),
            settings: settings.map(Into::into),
            generation: 1,
            at: Timestamp::UNIX_EPOCH,
            reason: String::new(),
        };
        assert_eq!(elsewhere(&last("/w", None), "/w", None), None);
        assert_eq!(elsewhere(&last("", None), "/w", None), None);
        let told = elsewhere(&last("/x", None), "/w", None);
        assert_eq!(told.as_deref(), Some("in /w"));
        let told = elsewhere(&last("/w", None), "/w", Some("/s.json"));
        assert_eq!(told.as_deref(), Some("with --settings"));
        let told = elsewhere(&last("/w", Some("/s.json")), "/w", None);
        assert_eq!(told.as_deref(), Some("without --settings"));
    }
}
