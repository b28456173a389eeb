//! Which settings files count for a launch, and reading them: the user's, the server's and the project's, what they
//! extend, and the files that a profile puts in their place.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use srt_policy::{InvalidPolicy, Layer, Layered, Profile, Source, gather};

use crate::paths::Paths;
use crate::policies::PolicyError;
use crate::store;

/// No settings file is longer, in bytes; the compiler has the same bound.
const LONGEST: u64 = 1 << 20;

/// The name of a project's settings file, directly in the working directory.
pub(crate) const PROJECT: &str = ".srt.json";

/// The variable of a host's environment that names a profile.
const VARIABLE: &str = "SRT_ENV";

/// What was asked for beside the places where settings are found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The settings file that was given; none: the server's own and the user's.
    pub(crate) settings: Option<PathBuf>,
    /// The profile that a person named: it must have a file.
    pub(crate) profile: Option<Profile>,
    /// What [`VARIABLE`] says, where nobody named one.
    pub(crate) environment: Option<String>,
}

impl Choice {
    /// What was given to `srt` or registered, and the environment of whoever asks.
    pub(crate) fn new(
        settings: Option<PathBuf>,
        profile: Option<Profile>,
        environment: &BTreeMap<String, String>,
    ) -> Self {
        let said = environment.get(VARIABLE).filter(|name| !name.is_empty());
        Self {
            environment: said.filter(|_| profile.is_none()).cloned(),
            settings,
            profile,
        }
    }

    /// What is registered for a server.
    pub(crate) fn of(server: &store::Server) -> Self {
        Self {
            settings: server.settings.as_ref().map(PathBuf::from),
            profile: registered_profile(server),
            environment: None,
        }
    }

    /// What must have been asked for where `file` came to count for a server: its settings, a file found by itself, or one
    /// of a profile.
    pub(crate) fn of_file(file: &Path, found: &[PathBuf]) -> Self {
        if found.iter().any(|known| known == file) {
            return Self::default();
        }
        match found
            .iter()
            .find_map(|known| Profile::of_variant(known, file))
        {
            Some(profile) => Self {
                profile: Some(profile),
                ..Self::default()
            },
            None => Self {
                settings: Some(file.to_owned()),
                ..Self::default()
            },
        }
    }
}

/// The profile that a server was registered with.
pub(crate) fn registered_profile(server: &store::Server) -> Option<Profile> {
    Profile::parse(server.profile.as_deref()?).ok()
}

/// The settings files that count.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Their texts, with what they extend.
    pub(crate) layers: Vec<Layered>,
    /// The profile whose files stand in the place of others.
    pub(crate) profile: Option<Profile>,
    /// What the person should know.
    pub(crate) notes: Vec<String>,
}

/// Finds and reads the settings files of a server that is launched in `cwd`. Every file that was looked for is added to
/// `looked`, whether it is there or not, also where this fails: what is in force changes when one of them does.
///
/// # Errors
/// A file that is there and cannot be read, one that was given and is not there, a profile that a person named and that
/// has no file, and what is wrong with what a file extends.
pub(crate) fn find(
    paths: &Paths,
    name: &str,
    choice: &Choice,
    cwd: &Path,
    looked: &mut Vec<PathBuf>,
) -> Result<Found, PolicyError> {
    let mut found = Found::default();
    let asked = match (&choice.profile, &choice.environment) {
        (Some(profile), _) => Some(profile.clone()),
        (None, Some(name)) => Profile::parse(name)
            .map_err(|hint| {
                let note = format!("{VARIABLE} is {name:?}, which names no profile: {hint}");
                found.notes.push(note);
            })
            .ok(),
        (None, None) => None,
    };
    let mut variants = Vec::new();
    for (layer, file) in places(paths, name, choice, cwd) {
        let variant = asked.as_ref().and_then(|profile| profile.variant(&file));
        let mut main = None;
        for path in variant.iter().chain([&file]) {
            looked.push(path.clone());
            if main.is_none() {
                main = read(path)?;
            }
        }
        if let Some(main) = &main
            && Some(&main.path) == variant.as_ref()
        {
            found.profile.clone_from(&asked);
        }
        variants.extend(variant);
        let Some(main) = main else {
            // Whoever names a file means that file, and not another one in its absence.
            if choice.settings.as_ref() == Some(&file) {
                return Err(PolicyError::Read {
                    path: file,
                    source: rustix::io::Errno::NOENT.into(),
                });
            }
            continue;
        };
        if layer == Layer::Project {
            // Given with --settings it is not a project's.
            if found.layers.iter().any(|own| is_same(own, &main.path)) {
                continue;
            }
            within(&main.path, cwd).map_err(|to| PolicyError::LeavesProject {
                file: main.path.clone(),
                to,
            })?;
        }
        let mut bases = |path: &Path| {
            looked.push(path.to_owned());
            base(layer, path, cwd)
        };
        let layered = gather(layer, main, &paths.home, &mut bases).map_err(PolicyError::Invalid)?;
        found.layers.push(layered);
    }
    if let (Some(asked), None) = (asked, &found.profile) {
        if choice.profile.is_some() {
            return Err(PolicyError::NoProfile {
                profile: asked,
                looked: variants,
            });
        }
        found.notes.push(format!(
            "{VARIABLE} is {:?}, and no settings file is for that profile: those for every one count",
            asked.as_str()
        ));
    }
    Ok(found)
}

/// Where settings are looked for, in the order in which they count.
fn places(paths: &Paths, name: &str, choice: &Choice, cwd: &Path) -> Vec<(Layer, PathBuf)> {
    let mut places = own_places(paths, name, choice);
    places.push((Layer::Project, cwd.join(PROJECT)));
    places
}

/// As [`places`], without the project's.
fn own_places(paths: &Paths, name: &str, choice: &Choice) -> Vec<(Layer, PathBuf)> {
    match &choice.settings {
        Some(given) => vec![(Layer::Server, given.clone())],
        None => vec![
            (Layer::User, paths.user_settings()),
            (Layer::Server, paths.server_settings(name)),
        ],
    }
}

/// The settings files of the server itself, with those of its profile, whether they are there or not.
pub(crate) fn own_files(paths: &Paths, name: &str, choice: &Choice) -> Vec<PathBuf> {
    let named = choice.environment.as_deref();
    let profile = (choice.profile.clone()).or_else(|| Profile::parse(named?).ok());
    let files = own_places(paths, name, choice).into_iter();
    files
        .flat_map(|(_, file)| {
            let variant = profile.as_ref().and_then(|profile| profile.variant(&file));
            variant.into_iter().chain([file])
        })
        .collect()
}

/// A file that is checked by itself, with what it extends. One by the name of a project's is a project's.
///
/// # Errors
/// What is wrong with what it extends, and the file without that.
pub(crate) fn alone(
    file: Source,
    home: &Path,
    cwd: &Path,
) -> Result<Layered, (InvalidPolicy, Layered)> {
    let project = Path::new(PROJECT);
    let name = Path::new(file.path.file_name().unwrap_or_default());
    let layer = match name == project || Profile::of_variant(project, name).is_some() {
        true => Layer::Project,
        false => Layer::Server,
    };
    // What it extends is found from its own folder, wherever we are.
    let path = cwd.join(&file.path);
    let folder = path.parent().unwrap_or(cwd).to_owned();
    let main = Source { path, ..file };
    let gathered = gather(layer, main.clone(), home, &mut |path| {
        base(layer, path, &folder)
    });
    gathered.map_err(|invalid| (invalid, Layered::alone(layer, main)))
}

/// The text of a file that another one extends, or why there is none.
fn base(layer: Layer, path: &Path, cwd: &Path) -> Result<String, String> {
    if layer == Layer::Project {
        within(path, cwd)
            .map_err(|to| format!("it leads out of the project, to {}", to.display()))?;
    }
    match read(path) {
        Ok(Some(source)) => Ok(source.text),
        Ok(None) => Err("there is no such file".to_owned()),
        Err(PolicyError::Read { source, .. }) => Err(source.to_string()),
        Err(PolicyError::TooLong { .. }) => Err("it is longer than 1 MiB".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether a project's file is in the project once links are followed.
///
/// Whoever may change the project could have any file of this user's read, and told of in errors.
///
/// # Errors
/// Where it leads to.
fn within(file: &Path, project: &Path) -> Result<(), PathBuf> {
    let (Ok(file), Ok(project)) = (file.canonicalize(), project.canonicalize()) else {
        // That there is none is told when it is read.
        return Ok(());
    };
    if file.starts_with(project) {
        Ok(())
    } else {
        Err(file)
    }
}

/// Whether a layer's own file is the one at this path, by whatever name.
fn is_same(layered: &Layered, path: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    layered.main().is_some_and(|main| {
        main.path == path || real(&main.path).is_some_and(|own| Some(own) == real(path))
    })
}

/// Reads a settings file; `None` when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Source>, PolicyError> {
    let failed = |source| PolicyError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = match open_settings(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        other => other.map_err(failed)?,
    };
    let mut text = String::new();
    (&mut file)
        .take(LONGEST + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > LONGEST {
        return Err(PolicyError::TooLong { path: path.into() });
    }
    Ok(Some(Source {
        path: path.to_owned(),
        text,
    }))
}

/// Opens a settings file, and nothing else: a FIFO would hold up its reader for ever, a device never end.
pub(crate) fn open_settings(path: &Path) -> io::Result<std::fs::File> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() {
        Ok(file)
    } else if meta.is_dir() {
        Err(rustix::io::Errno::ISDIR.into())
    } else {
        Err(io::Error::other("it is not a file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_is_read_and_only_so_much_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        for path in [&fifo, folder.path(), Path::new("/dev/zero")] {
            assert!(matches!(read(path), Err(PolicyError::Read { .. })));
        }
        let file = folder.path().join("file");
        std::fs::write(&file, vec![b' '; 1 + (1 << 20)]).unwrap();
        assert!(matches!(read(&file), Err(PolicyError::TooLong { .. })));
        std::fs::write(&file, "{}").unwrap();
        assert_eq!(read(&file).unwrap().unwrap().text, "{}");
        assert!(read(&folder.path().join("none")).unwrap().is_none());
        assert!(read(&file.join("below")).unwrap().is_none());
    }
}
