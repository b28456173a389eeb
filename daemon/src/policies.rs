//! Finding, reading and compiling settings files, and numbering what they say.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use srt_policy::{
    Compiled, Diagnostic, Facts, InvalidPolicy, Layer, Layered, Policy, Profile, Source,
    compile_layers,
};

use crate::audit::PolicyLoad;
use crate::generations::{Generations, Place};
use crate::layered::{Choice, Found, find, own_files};
use crate::live::links_to;
use crate::paths::Paths;
use crate::store::{self, Store, StoreError};

pub(crate) use crate::layered::{open_settings, read};

/// The name that the built-in policy goes by.
pub(crate) const BUILT_IN: &str = "built-in";

/// A compiled policy with its number.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) policy: Arc<Policy>,
    pub(crate) warnings: Vec<Diagnostic>,
    /// What else the person should know.
    pub(crate) notes: Vec<String>,
    pub(crate) generation: Generation,
}

/// Which text is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Path of the settings file, or `built-in`.
    pub(crate) source: String,
    pub(crate) digest: String,
    pub(crate) number: u64,
    /// Every file that counts, in the order in which they do; templates as `@NAME`.
    pub(crate) files: Vec<String>,
    /// The profile whose files stand in the place of others.
    pub(crate) profile: Option<String>,
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    #[error("cannot read the settings file {}: {source}\nhint: it must be a file that can be read; where it was given with --settings, check the path", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the settings file {} is longer than 1 MiB\nhint: is it the right file?", path.display())]
    TooLong { path: PathBuf },
    #[error("{}", listed(.0))]
    Invalid(InvalidPolicy),
    #[error(
        "the settings are looked for at {}, which leads through the link {}, and this server may replace that link: it could give itself other settings\nhint: name the settings by a path without links, or take the link's folder out of filesystem.allowWrite",
        file.display(), link.display()
    )]
    LooseLink { file: PathBuf, link: PathBuf },
    #[error(
        "the project's settings {} lead out of the project, to {}\nhint: put the file itself there: whoever may change the project would choose what else is read",
        file.display(), to.display()
    )]
    LeavesProject { file: PathBuf, to: PathBuf },
    #[error(
        "no settings file is for the profile {profile}\nhint: looked for {}; make one of them, or leave --profile out",
        shown_paths(looked)
    )]
    NoProfile {
        profile: Profile,
        looked: Vec<PathBuf>,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn shown_paths(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(", ")
}

impl PolicyError {
    /// Whether the settings are at fault, as opposed to what keeps their numbers.
    pub(crate) fn is_of_the_file(&self) -> bool {
        !matches!(self, Self::Store(_))
    }
}

fn listed(invalid: &InvalidPolicy) -> String {
    let mut text = String::from("the settings file cannot be used");
    for finding in &invalid.diagnostics {
        // With its severity, for not all of them are why, and its hint beneath it.
        text += &format!("\n{finding}");
    }
    text
}

/// A finding as compilers print theirs.
pub(crate) fn shown(finding: &Diagnostic) -> String {
    format!(
        "{}:{}:{}: {}",
        finding.path.display(),
        finding.line,
        finding.column,
        finding.message
    )
}

/// Loads policies.
#[derive(Debug)]
pub(crate) struct Policies {
    paths: Paths,
    store: Store,
    numbers: Mutex<HashMap<(String, String), u64>>,
    /// Which of them was in force when.
    pub(crate) generations: Generations,
}

impl Policies {
    pub(crate) fn new(paths: Paths, store: Store) -> Self {
        Self {
            paths,
            generations: Generations::new(store.clone()),
            store,
            numbers: Mutex::default(),
        }
    }

    /// The policy of a server: the user's settings, tightening the server's own, and what a project's in `cwd` tightens of
    /// both; or the file that was given in the place of the first two; or the built-in. `program` is what its program needs
    /// in order to run ([`Policies::program`]).
    pub(crate) async fn load(
        &self,
        name: &str,
        choice: &Choice,
        cwd: &Path,
        program: Vec<PathBuf>,
    ) -> Result<Loaded, PolicyError> {
        let mut looked = Vec::new();
        let Found {
            layers,
            profile,
            notes,
        } = find(&self.paths, name, choice, cwd, &mut looked)?;
        let facts = self.facts(cwd, program, &layers);
        let Compiled { policy, warnings } =
            compile_layers(&layers, &facts).map_err(PolicyError::Invalid)?;
        no_loose_link(&looked, &policy)?;
        let mut generation = self.number(name, &policy).await?;
        generation.profile = profile.map(|profile| profile.to_string());
        Ok(Loaded {
            policy: Arc::new(policy.numbered(generation.number)),
            warnings,
            notes,
            generation,
        })
    }

    /// The policy of documents as the store kept them, for a working directory.
    ///
    /// # Errors
    /// When this version cannot use them.
    pub(crate) fn compile_kept(
        &self,
        kept: &store::Policy,
        cwd: &Path,
        program: Vec<PathBuf>,
    ) -> Result<Policy, InvalidPolicy> {
        let mut layers: Vec<Layered> = Vec::new();
        for document in &kept.documents {
            let named = |layer: &Layer| layer.word() == document.layer;
            let layer = Layer::ALL.into_iter().find(named).unwrap_or(Layer::Server);
            let file = Source {
                path: PathBuf::from(&document.path),
                text: document.text.clone(),
            };
            match layers.last_mut() {
                Some(last) if last.layer == layer => last.files.push(file),
                _ => layers.push(Layered::alone(layer, file)),
            }
        }
        let facts = self.facts(cwd, program, &layers);
        compile_layers(&layers, &facts).map(|compiled| compiled.policy)
    }

    fn facts(&self, cwd: &Path, program: Vec<PathBuf>, layers: &[Layered]) -> Facts {
        let mut protected = self.paths.protected();
        // A project's files stay readable, as the rest of the project is: nobody can write them.
        let own = layers.iter().filter(|own| own.layer != Layer::Project);
        let files = own.flat_map(|own| own.files.iter().map(|file| file.path.clone()));
        // A template is no file.
        protected.extend(files.filter(|path| path.is_absolute()));
        Facts {
            home: self.paths.home.clone(),
            cwd: cwd.to_owned(),
            protected,
            program,
            macos: cfg!(target_os = "macos"),
        }
    }

    /// As [`Policies::load`], for a server that does not run: what it would be started by is in force for it.
    pub(crate) async fn load_for(
        &self,
        server: &store::Server,
        cwd: &Path,
    ) -> Result<Loaded, PolicyError> {
        let choice = Choice::of(server);
        let loaded = self.try_for(server, cwd).await?;
        let place = Place {
            server: &server.name,
            cwd,
            settings: choice.settings.as_deref(),
        };
        self.generations.note(place, &loaded).await?;
        Ok(loaded)
    }

    /// As [`Policies::load`], for a server that may never be.
    pub(crate) async fn try_for(
        &self,
        server: &store::Server,
        cwd: &Path,
    ) -> Result<Loaded, PolicyError> {
        let program = self.program(&server.command, &BTreeMap::new(), cwd);
        self.load(&server.name, &Choice::of(server), cwd, program)
            .await
    }

    /// What a command needs in order to run, looked up by the PATH of this environment.
    pub(crate) fn program(
        &self,
        command: &[String],
        environment: &BTreeMap<String, String>,
        cwd: &Path,
    ) -> Vec<PathBuf> {
        let path = environment
            .get("PATH")
            .cloned()
            .or_else(|| std::env::var("PATH").ok())
            .unwrap_or_default();
        srt_runtime::program(command, &path, cwd, &self.paths.home)
    }

    /// Every settings file that a server's policy comes from, or would if it were there.
    pub(crate) fn candidates(&self, name: &str, choice: &Choice, cwd: &Path) -> Vec<PathBuf> {
        let mut looked = Vec::new();
        // What is wrong is told by who loads them; where it is looked at does not change.
        let _ = find(&self.paths, name, choice, cwd, &mut looked);
        looked
    }

    /// The settings files of the server itself that count by being there: the user's and the server's own, or what was
    /// given, and a profile's in their place.
    pub(crate) fn own_files(&self, name: &str, choice: &Choice) -> Vec<PathBuf> {
        own_files(&self.paths, name, choice)
    }

    /// What must have been asked for where this file came to open things for a server.
    pub(crate) fn choice_of(&self, name: &str, file: Option<&Path>) -> Choice {
        let found = [self.paths.server_settings(name), self.paths.user_settings()];
        file.map_or_else(Choice::default, |file| Choice::of_file(file, &found))
    }

    async fn number(&self, server: &str, policy: &Policy) -> Result<Generation, PolicyError> {
        let source = policy
            .source()
            .map_or_else(|| BUILT_IN.to_owned(), |path| path.display().to_string());
        let key = (source.clone(), policy.digest().to_owned());
        let known = self
            .numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .copied();
        let number = match known {
            Some(number) => number,
            None => {
                let now = Timestamp::now();
                let (number, new) = self
                    .store
                    .generation_of(store::Policy {
                        source: source.clone(),
                        digest: key.1.clone(),
                        text: policy.text().to_owned(),
                        documents: documents(policy),
                        compiled_at: now,
                    })
                    .await?;
                let load = PolicyLoad {
                    digest: &key.1,
                    generation: number,
                    known: !new,
                };
                self.store.submit(load.entry(now, server, &source)).await?;
                self.numbers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(key.clone(), number);
                number
            }
        };
        let files = policy.sources().iter();
        Ok(Generation {
            source,
            digest: key.1,
            number,
            files: files.map(|file| file.path.display().to_string()).collect(),
            profile: None,
        })
    }
}

/// The documents of a policy, as the store has them.
pub(crate) fn documents(policy: &Policy) -> Vec<store::Document> {
    let document = |(layer, source): (Layer, &Source)| store::Document {
        layer: layer.word().to_owned(),
        path: source.path.display().to_string(),
        text: source.text.clone(),
    };
    policy.layers().map(document).collect()
}

/// Refuses settings that lead, or would lead, through a link which the server may replace. The files themselves are
/// closed to it, under the path as written and under the real one; a link in between is neither.
fn no_loose_link(looked: &[PathBuf], policy: &Policy) -> Result<(), PolicyError> {
    // Few have any: what follows asks the disk about every rule.
    let loose: Vec<(&PathBuf, PathBuf)> = looked
        .iter()
        .flat_map(|file| {
            let links = links_to(file).into_iter();
            links
                .filter(move |link| link != file)
                .map(move |link| (file, link))
        })
        .collect();
    if loose.is_empty() {
        return Ok(());
    }
    let files = policy
        .filesystem
        .resolved(|path| path.canonicalize().unwrap_or_else(|_| path.to_owned()));
    match loose
        .into_iter()
        .find(|(_, link)| files.decide_write(link).allowed)
    {
        Some((file, link)) => Err(PolicyError::LooseLink {
            file: file.clone(),
            link,
        }),
        None => Ok(()),
    }
}
