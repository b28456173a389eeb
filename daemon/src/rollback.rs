//! Writes the texts of a generation back to the files that they came from.
//!
//! What is to be done is decided first, with the reason for what cannot be, and done only as a whole: a mixture of two
//! generations was never in force. No text is lost: what is written over is a generation of its own, or is saved beside.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use srt_policy::FilesystemPolicy;

use crate::live::links_to;
use crate::place::Spot;
use crate::policies::open_settings;
use crate::store::Document;

/// No settings file is longer, in bytes.
const LONGEST: u64 = 1 << 20;

/// What is known of the server's settings.
pub(crate) struct Facts<'a> {
    /// The documents of the generation to go back to.
    pub(crate) wanted: &'a [Document],
    /// Those that count now; where they cannot be used, the files that would.
    pub(crate) current: &'a [Document],
    /// Every document of a generation that this server had.
    pub(crate) stored: &'a [Document],
    /// The files that decide by being there: a server's own, the user's.
    pub(crate) candidates: &'a [PathBuf],
    /// The folder of the server's own file, which may be made.
    pub(crate) own_folder: &'a Path,
    /// What the server may write now.
    pub(crate) files: Option<&'a FilesystemPolicy>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) path: PathBuf,
    pub(crate) action: Action,
    /// What is in the file now; `None` where there is none.
    now: Option<String>,
    /// Where what is in it now is kept, if anywhere.
    pub(crate) saved_as: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is as it was.
    Keep,
    /// This becomes its text.
    Write(String),
    /// It counts now and did not then.
    MoveAway,
    /// It stays as it is, and the generation was another for it.
    Differs(String),
}

impl Action {
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Write(_) => "write",
            Self::MoveAway => "move away",
            Self::Differs(_) => "differs",
        }
    }
}

/// Everything that is to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
}

/// Why a rollback is not to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RollbackError {
    #[error("it cannot be rolled back, and nothing was changed:\n{}", .0.join("\n"))]
    Refused(Vec<String>),
    #[error("{} is not what it was when the rollback was shown, and nothing was changed\nhint: look again: srtctl policy rollback --dry-run", path.display())]
    Changed { path: PathBuf },
    #[error("cannot write {}: {source}{}", path.display(), undone(.left))]
    Write {
        path: PathBuf,
        source: io::Error,
        /// What was done before and could not be undone, and why.
        left: Vec<(PathBuf, io::Error)>,
    },
}

fn undone(left: &[(PathBuf, io::Error)]) -> String {
    if left.is_empty() {
        return "; every file is as it was\nhint: put right what is in the way and roll back once more"
            .to_owned();
    }
    let left: Vec<_> = left
        .iter()
        .map(|(path, why)| format!("{} ({why})", path.display()))
        .collect();
    format!(
        "; these were rolled back already and could not be put back: {}\nhint: put right what is in the way and roll back once more",
        left.join(", ")
    )
}

impl Plan {
    /// Decides what is to be done.
    ///
    /// # Errors
    /// With every reason why it cannot be.
    pub(crate) fn make(facts: &Facts<'_>, now: Timestamp) -> Result<Self, RollbackError> {
        let mut plan = Self::default();
        let mut refused = Vec::new();
        for document in facts.wanted {
            match step(facts, document, now) {
                Ok(step) => plan.steps.push(step),
                Err(why) => refused.push(format!("{}: {why}", document.path)),
            }
        }
        for document in facts.current {
            let path = Path::new(&document.path);
            let wanted = facts.wanted.iter().any(|kept| kept.path == document.path);
            if wanted {
                continue;
            }
            if document.is_projects() && path.is_absolute() {
                refused.push(format!(
                    "{}: it is the project's own file, and did not count then: take it away with the project (git checkout, say)",
                    document.path
                ));
                continue;
            }
            // A base that is extended no longer does no harm where it is.
            if !facts.candidates.iter().any(|known| known == path) {
                continue;
            }
            match away(facts, path, now) {
                Ok(step) => plan.steps.push(step),
                Err(why) => refused.push(format!("{}: {why}", document.path)),
            }
        }
        match refused.is_empty() {
            true => Ok(plan),
            false => Err(RollbackError::Refused(refused)),
        }
    }

    /// The files that change.
    pub(crate) fn changes(&self) -> Vec<PathBuf> {
        let changes = |step: &&Step| matches!(step.action, Action::Write(_) | Action::MoveAway);
        let steps = self.steps.iter().filter(changes);
        steps.map(|step| step.path.clone()).collect()
    }

    /// What says that another plan is the same: of what the files have and of what they are to have.
    pub(crate) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for step in &self.steps {
            let new = match &step.action {
                Action::Write(text) => text.as_str(),
                _ => "",
            };
            let now = step.now.as_deref().unwrap_or("\0");
            let path = step.path.as_os_str().as_encoded_bytes();
            for part in [
                path,
                step.action.word().as_bytes(),
                now.as_bytes(),
                new.as_bytes(),
            ] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        let digest = hash.finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Does it.
    ///
    /// # Errors
    /// Where a file is no longer what it was: then nothing is done. Where one cannot be written: then what was done before
    /// it is undone.
    pub(crate) fn carry_out(&self) -> Result<(), RollbackError> {
        for step in &self.steps {
            let unchanged = matches!(step.action, Action::Keep | Action::Differs(_))
                || text_of(&step.path).is_ok_and(|text| text == step.now);
            if !unchanged {
                let path = step.path.clone();
                return Err(RollbackError::Changed { path });
            }
        }
        for (index, step) in self.steps.iter().enumerate() {
            let Err(source) = step.carry_out() else {
                continue;
            };
            // The last first; of the one that failed, what was done of it.
            let undone = self.steps[..index].iter().rev();
            let left: Vec<_> = undone
                .filter_map(|done| Some((done.path.clone(), done.undo().err()?)))
                .collect();
            return Err(RollbackError::Write {
                path: step.path.clone(),
                source,
                left,
            });
        }
        Ok(())
    }
}

impl Step {
    fn carry_out(&self) -> io::Result<()> {
        match &self.action {
            Action::Keep | Action::Differs(_) => Ok(()),
            Action::Write(text) => self.write(text),
            Action::MoveAway => Spot::of(&self.path)?.rename(&self.kept_as()?),
        }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        // Only that of servers' own files may be missing.
        if let Some(folder) = self.path.parent().filter(|folder| !folder.is_dir()) {
            let mut maker = std::fs::DirBuilder::new();
            maker.recursive(true).mode(0o700).create(folder)?;
        }
        let spot = Spot::of(&self.path)?;
        let (Some(copy), Some(now)) = (&self.saved_as, &self.now) else {
            return spot.replace(text);
        };
        spot.put_beside(&self.kept_as()?, now)?;
        let replaced = spot.replace(text);
        if replaced.is_err() {
            // The file has that text still.
            let _ = Spot::of(copy).and_then(|copy| copy.remove());
        }
        replaced
    }

    /// Puts back what was there before [`Self::carry_out`] did it. A folder that it made stays.
    fn undo(&self) -> io::Result<()> {
        let spot = match &self.action {
            Action::Keep | Action::Differs(_) => return Ok(()),
            Action::Write(_) | Action::MoveAway => Spot::of(&self.path)?,
        };
        match (&self.action, &self.now) {
            (Action::MoveAway, _) => return spot.rename_back(&self.kept_as()?),
            (_, Some(now)) => spot.replace(now)?,
            (_, None) => spot.remove()?,
        }
        // It has the same text as the file again.
        match &self.saved_as {
            Some(copy) => Spot::of(copy)?.remove(),
            None => Ok(()),
        }
    }

    fn kept_as(&self) -> io::Result<OsString> {
        let name = self.saved_as.as_deref().and_then(Path::file_name);
        name.map(OsStr::to_owned)
            .ok_or_else(|| io::Error::other("there is no name to move it to"))
    }
}

/// What is to be done with a document of the generation.
fn step(facts: &Facts<'_>, wanted: &Document, now: Timestamp) -> Result<Step, String> {
    let path = PathBuf::from(&wanted.path);
    let same = |action, text| Step {
        path: PathBuf::from(&wanted.path),
        action,
        now: text,
        saved_as: None,
    };
    let counts_now = facts.current.iter().find(|kept| kept.path == wanted.path);
    if wanted.path.starts_with('@') {
        let same_text = counts_now.is_none_or(|kept| kept.text == wanted.text);
        let action = match same_text {
            true => Action::Keep,
            false => Action::Differs(
                "the template is part of srtd, and this version has another one".to_owned(),
            ),
        };
        return Ok(same(action, None));
    }
    if !path.is_absolute() {
        return Err("it is not an absolute path".to_owned());
    }
    let text = checked(facts, &path)?;
    if text.as_ref() == Some(&wanted.text) {
        return Ok(same(Action::Keep, text));
    }
    if wanted.is_projects() {
        return Err(
            "it is the project's own file: restore it with the project (git checkout, say)"
                .to_owned(),
        );
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    if !folder.is_dir() && folder != facts.own_folder {
        return Err("its folder is not there any more".to_owned());
    }
    let lost = text.as_ref().is_some_and(|text| {
        let mut stored = facts.stored.iter();
        !stored.any(|kept| kept.path == wanted.path && kept.text == *text)
    });
    let saved_as = lost.then(|| beside(&path, now));
    Ok(Step {
        path,
        action: Action::Write(wanted.text.clone()),
        now: text,
        saved_as,
    })
}

/// What is to be done with a file that counts now and did not then.
fn away(facts: &Facts<'_>, path: &Path, now: Timestamp) -> Result<Step, String> {
    let text = checked(facts, path)?;
    Ok(Step {
        path: path.to_owned(),
        action: Action::MoveAway,
        now: text,
        saved_as: Some(beside(path, now)),
    })
}

/// The text of a file that may be replaced; `None` where there is none.
fn checked(facts: &Facts<'_>, path: &Path) -> Result<Option<String>, String> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_symlink() => {
            let leads = path.read_link().unwrap_or_default();
            return Err(format!(
                "it is a link to {}: restore what it leads to by hand",
                leads.display()
            ));
        }
        Ok(meta) if meta.uid() != rustix::process::geteuid().as_raw() => {
            return Err("it is another user's file".to_owned());
        }
        Ok(meta) if meta.is_file() && meta.nlink() > 1 => {
            return Err(
                "it has another name as well (a hard link), which would keep the other text: restore it by hand"
                    .to_owned(),
            );
        }
        _ => {}
    }
    let loose = facts.files.and_then(|files| {
        let mut links = links_to(path).into_iter();
        links.find(|link| files.decide_write(link).allowed)
    });
    if let Some(link) = loose {
        return Err(format!(
            "its path leads through the link {}, which this server may replace",
            link.display()
        ));
    }
    text_of(path).map_err(|error| format!("cannot read it: {error}"))
}

/// What a settings file says; `None` where there is none.
pub(crate) fn text_of(path: &Path) -> io::Result<Option<String>> {
    let mut file = match open_settings(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        other => other?.take(LONGEST + 1),
    };
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    String::from_utf8(text)
        .map(Some)
        .map_err(|_| io::Error::other("it is no text: move it away by hand"))
}

/// A name beside a file that says when it was put there.
fn beside(path: &Path, now: Timestamp) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(
        ".before-rollback-{}",
        now.strftime("%Y%m%dT%H%M%S")
    ));
    (0..)
        .map(|number| match number {
            0 => path.with_file_name(&name),
            number => {
                let mut name = name.clone();
                name.push(format!("-{number}"));
                path.with_file_name(name)
            }
        })
        .find(|free| free.symlink_metadata().is_err())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    /// A folder of settings, and what a rollback is told of it.
    struct Scene {
        folder: tempfile::TempDir,
        wanted: Vec<Document>,
        current: Vec<Document>,
        stored: Vec<Document>,
    }

    fn document(layer: &str, path: &Path, text: &str) -> Document {
        Document {
            layer: layer.into(),
            path: path.display().to_string(),
            text: text.into(),
        }
    }

    impl Scene {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
                wanted: Vec::new(),
                current: Vec::new(),
                stored: Vec::new(),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().canonicalize().unwrap().join(name)
        }

        fn plan(&self) -> Result<Plan, String> {
            let candidates = [self.path("own.json"), self.path("user.json")];
            let facts = Facts {
                wanted: &self.wanted,
                current: &self.current,
                stored: &self.stored,
                candidates: &candidates,
                own_folder: &self.path("servers"),
                files: None,
            };
            Plan::make(&facts, Timestamp::UNIX_EPOCH).map_err(|error| error.to_string())
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.folder.path()).unwrap();
            let mut names: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    const SAVED: &str = "user.json.before-rollback-19700101T000000";

    #[test]
    fn a_file_is_as_it_was_with_its_mode_and_no_text_is_lost() {
        let mut scene = Scene::new();
        let path = scene.path("user.json");
        fs::write(&path, "new").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        scene.wanted = vec![document("user", &path, "old")];
        scene.plan().unwrap().carry_out().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        // What was there is no generation, so it is beside.
        assert_eq!(scene.names(), ["user.json", SAVED]);
        assert_eq!(fs::read_to_string(scene.path(SAVED)).unwrap(), "new");
        // Again there is nothing to do.
        let again = scene.plan().unwrap();
        assert_eq!(again.changes(), Vec::<PathBuf>::new());
        // What is a generation needs no copy.
        fs::write(&path, "kept").unwrap();
        scene.stored = vec![document("user", &path, "kept")];
        scene.plan().unwrap().carry_out().unwrap();
        assert_eq!(scene.names().len(), 2);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }

    #[test]
    fn a_file_that_did_not_count_then_is_moved_away_and_one_that_is_gone_comes_back() {
        let mut scene = Scene::new();
        let (own, user) = (scene.path("own.json"), scene.path("user.json"));
        fs::write(&own, "own").unwrap();
        scene.current = vec![document("server", &own, "own")];
        scene.wanted = vec![document("user", &user, "user")];
        let plan = scene.plan().unwrap();
        assert_eq!(plan.changes(), [user.clone(), own.clone()]);
        plan.carry_out().unwrap();
        assert_eq!(fs::read_to_string(&user).unwrap(), "user");
        let mode = fs::metadata(&user).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let moved = scene.path("own.json.before-rollback-19700101T000000");
        assert!(!own.exists());
        assert_eq!(fs::read_to_string(moved).unwrap(), "own");
        // A base of the user's that no longer counts stays where it is.
        let base = scene.path("base.json");
        fs::write(&base, "base").unwrap();
        scene.current = vec![document("user", &base, "base")];
        assert_eq!(scene.plan().unwrap().changes(), Vec::<PathBuf>::new());
        // The folder of servers' own files is made.
        let deep = scene.path("servers/s.json");
        scene.wanted = vec![document("server", &deep, "deep")];
        scene.plan().unwrap().carry_out().unwrap();
        assert_eq!(fs::read_to_string(deep).unwrap(), "deep");
    }

    #[test]
    fn what_is_not_ours_to_write_is_refused_and_then_nothing_is_written() {
        let mut scene = Scene::new();
        let (user, link) = (scene.path("user.json"), scene.path("link.json"));
        fs::write(&user, "new").unwrap();
        fs::write(scene.path("target"), "target").unwrap();
        symlink(scene.path("target"), &link).unwrap();
        let hard = scene.path("hard.json");
        fs::hard_link(scene.path("target"), &hard).unwrap();
        let project = scene.path(".srt.json");
        fs::write(&project, "theirs").unwrap();
        let user_file = document("user", &user, "old");
        let check = |scene: &mut Scene, other: Document, expected: &str| {
            scene.wanted = vec![user_file.clone(), other];
            let why = scene.plan().unwrap_err();
            assert!(why.contains(expected), "{why}");
            assert!(why.contains("nothing was changed"), "{why}");
            assert_eq!(fs::read_to_string(&user).unwrap(), "new");
        };
        check(&mut scene, document("user", &link, "x"), "it is a link to");
        check(&mut scene, document("user", &hard, "x"), "another name");
        let theirs = document("project", &project, "x");
        check(&mut scene, theirs, "the project's own file");
        let gone = scene.path("gone/x.json");
        check(
            &mut scene,
            document("user", &gone, "x"),
            "its folder is not there",
        );
        let relative = document("user", Path::new("x.json"), "x");
        check(&mut scene, relative, "absolute");
        let folder = scene.path("folder");
        fs::create_dir(&folder).unwrap();
        check(&mut scene, document("user", &folder, "x"), "cannot read it");
        // One that came since.
        let later = scene.path("later.json");
        fs::write(&later, "later").unwrap();
        scene.wanted = vec![document("user", &user, "old")];
        scene.current = vec![document("project", &later, "later")];
        let why = scene.plan().unwrap_err();
        assert!(why.contains("did not count then"), "{why}");
        scene.current.clear();
        // A project's file that says the same is no obstacle.
        scene.wanted = vec![user_file.clone(), document("project", &project, "theirs")];
        assert_eq!(scene.plan().unwrap().changes(), std::slice::from_ref(&user));
        // Nor is a template, which is told.
        let template = document("user", Path::new("@git"), "then");
        scene.current = vec![document("user", Path::new("@git"), "now")];
        scene.wanted = vec![template, user_file];
        let plan = scene.plan().unwrap();
        assert!(matches!(plan.steps[0].action, Action::Differs(_)));
        assert_eq!(plan.changes(), [user]);
    }

    #[test]
    fn what_has_changed_since_it_was_shown_is_left_alone() {
        let mut scene = Scene::new();
        let user = scene.path("user.json");
        fs::write(&user, "new").unwrap();
        scene.wanted = vec![document("user", &user, "old")];
        let shown = scene.plan().unwrap();
        fs::write(&user, "newer").unwrap();
        let error = shown.carry_out().unwrap_err();
        assert!(matches!(error, RollbackError::Changed { .. }), "{error}");
        assert_eq!(fs::read_to_string(&user).unwrap(), "newer");
        assert_eq!(scene.names(), ["user.json"]);
        assert_ne!(scene.plan().unwrap().digest(), shown.digest());
    }

    #[test]
    fn what_cannot_be_done_whole_is_undone() {
        let mut scene = Scene::new();
        let at = |name: &str| scene.path(name);
        let (written, kept, own) = (at("a.json"), at("b.json"), at("own.json"));
        let (missing, last) = (at("servers/s.json"), at("user.json"));
        for (path, text) in [(&written, "a"), (&kept, "b"), (&own, "own"), (&last, "new")] {
            fs::write(path, text).unwrap();
        }
        fs::set_permissions(&written, fs::Permissions::from_mode(0o640)).unwrap();
        scene.stored = vec![document("user", &kept, "b")];
        scene.current = vec![document("server", &own, "own")];
        let wanted = [&written, &kept, &missing, &last];
        scene.wanted = wanted.map(|path| document("user", path, "old")).into();
        let mut plan = scene.plan().unwrap();
        // What is moved away goes before the one that fails.
        let failing = plan.steps.remove(3);
        plan.steps.push(failing);
        let copy = plan.steps.last().unwrap().saved_as.clone().unwrap();
        fs::write(&copy, "somebody else's").unwrap();

        let error = plan.carry_out().unwrap_err().to_string();
        assert!(error.contains("user.json: File exists"), "{error}");
        assert!(error.contains("every file is as it was"), "{error}");
        for (path, text) in [(&written, "a"), (&kept, "b"), (&own, "own"), (&last, "new")] {
            assert_eq!(fs::read_to_string(path).unwrap(), text);
        }
        let mode = fs::metadata(&written).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        assert!(!missing.exists());
        let mut names = [
            "a.json",
            "b.json",
            "own.json",
            "servers",
            "user.json",
            SAVED,
        ];
        names.sort_unstable();
        assert_eq!(scene.names(), names);
        assert_eq!(fs::read_to_string(&copy).unwrap(), "somebody else's");

        // Nothing is in the way any more.
        fs::remove_file(copy).unwrap();
        plan.carry_out().unwrap();
        for path in [&written, &kept, &missing, &last] {
            assert_eq!(fs::read_to_string(path).unwrap(), "old");
        }
        assert!(!own.exists());
    }

    #[test]
    fn a_folder_that_a_link_takes_the_place_of_is_not_followed() {
        let scene = Scene::new();
        let (folder, other) = (scene.path("folder"), scene.path("other"));
        fs::create_dir(&other).unwrap();
        symlink(&other, &folder).unwrap();
        // As it is resolved now it may be gone through; a part that turns into a link afterwards may not.
        assert!(Spot::of(&folder.join("x")).is_ok());
        let mut links = links_to(&folder.join("x")).into_iter();
        assert_eq!(links.next(), Some(folder));
    }
}
