//! The compiled policy.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::check::check;
use crate::compile::Compiler;
use crate::diagnostics::Findings;
use crate::document::{Document, Parsed};
use crate::gather::{EXTENDS, gather};
use crate::merge::{extended, inherited};
use crate::sources::{SourceMap, unmarked};
use crate::tighten::{Outer, belongs};
use crate::tools::ALLOW;
use crate::{
    AuditPolicy, DaemonSettings, Diagnostic, EnvironmentPolicy, FilesystemMode, FilesystemPolicy,
    InvalidPolicy, Layer, Layered, Limits, NetworkPolicy, Origin, ProcessPolicy, ToolPolicy,
    UnixSockets,
};

/// A settings document as read.
#[derive(Clone)]
pub struct Source {
    /// Its path as shown to a person.
    pub path: PathBuf,
    /// Its text. May hold the password of a proxy.
    pub text: String,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("path", &self.path)
            .field("bytes", &self.text.len())
            .finish()
    }
}

/// What a document cannot know and its meaning depends on.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `~`, absolute.
    pub home: PathBuf,
    /// The launch's working directory, absolute: what relative paths are relative to.
    pub cwd: PathBuf,
    /// Paths that no policy can open: the daemon's socket folder, state and configuration, and the settings
    /// files in force.
    pub protected: Vec<PathBuf>,
    /// Folders and files, absolute, that the program to be launched needs in order to run: its installation and its
    /// launcher's caches. Readable in minimal mode.
    pub program: Vec<PathBuf>,
    /// macOS rather than Linux: chooses the places of browsers' profiles and keyrings.
    pub macos: bool,
}

/// A policy and the warnings met on the way to it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The policy.
    pub policy: Policy,
    /// Warnings only.
    pub warnings: Vec<Diagnostic>,
}

/// The mode of a server that has no document: nobody has said what it may see.
const DEFAULT_MODE: FilesystemMode = FilesystemMode::Minimal;

/// Compiles one document that stands alone, or the built-in default where there is none: no network, no writes, minimal
/// mode. A document that does not name a mode is in shared mode. It may extend templates; what extends files is put
/// together by [`gather`](crate::gather) and compiled by [`compile_layers`].
///
/// # Errors
/// When the document is not JSON, has unknown or ill-typed keys, or asks for what would have to be ignored at
/// the price of a weaker sandbox. Documents above 1 MiB are refused unread.
pub fn compile(source: Option<&Source>, facts: &Facts) -> Result<Compiled, InvalidPolicy> {
    let Some(source) = source else {
        return compile_layers(&[], facts);
    };
    let unread = &mut |_: &Path| Err("files are not read here".to_owned());
    let layered = gather(Layer::Server, source.clone(), &facts.home, unread)?;
    compile_layers(&[layered], facts)
}

/// Compiles settings files together: of each layer at most one, in the order of [`Layer`]. With none of them, or a
/// project's alone, what is built in holds below.
///
/// What a server's file inherits from the user's is what tightens. A project's file may tighten and nothing else.
///
/// # Errors
/// As [`compile`], about any of the files; and what in a project's file is looser than what is in force without it.
pub fn compile_layers(layers: &[Layered], facts: &Facts) -> Result<Compiled, InvalidPolicy> {
    let missing = Missing::default();
    compile_without(missing, layers, facts)
}

/// Checks a project's file as far as can be told without what it is held against: its form, and that all it says is a
/// project's to say. What comes of it governs nothing.
///
/// # Errors
/// As [`compile_layers`], but for what is looser than what is in force.
pub fn check_project(project: &Layered, facts: &Facts) -> Result<Compiled, InvalidPolicy> {
    let missing = Missing {
        outer: true,
        extended: false,
    };
    compile_without(missing, std::slice::from_ref(project), facts)
}

/// Checks a file whose `extends` could not be read, which was told already, as far as can be told without that. What comes of
/// it governs nothing.
///
/// # Errors
/// As [`compile_layers`]; of a project's file, as [`check_project`].
pub fn check_one(file: &Layered, facts: &Facts) -> Result<Compiled, InvalidPolicy> {
    let missing = Missing {
        outer: file.layer == Layer::Project,
        extended: true,
    };
    compile_without(missing, std::slice::from_ref(file), facts)
}

/// What is known to be missing, of which nothing is said.
#[derive(Clone, Copy, Default)]
struct Missing {
    /// What a project's file is held against.
    outer: bool,
    /// What files extend.
    extended: bool,
}

fn compile_without(
    missing: Missing,
    layers: &[Layered],
    facts: &Facts,
) -> Result<Compiled, InvalidPolicy> {
    let mut findings = Findings::default();
    let mut sources = SourceMap::default();
    let mut whole = true;
    let mut documents = Vec::with_capacity(layers.len());
    for layered in layers {
        let mut document = Document::default();
        for file in &layered.files {
            let text = unmarked(&file.text);
            let base = sources.add(&file.path, text);
            let Some(parsed) = Parsed::parse(text, base, &mut findings) else {
                whole = false;
                continue;
            };
            check(&parsed, &mut findings);
            let own = parsed.document();
            // Whoever hands over one file alone would lose what it extends without a word.
            if let ([_], Some(first)) = (&layered.files[..], own.strings(EXTENDS).first())
                && !missing.extended
            {
                findings.error(
                    first.offset,
                    "what extends names was not read".to_owned(),
                    Some("settings files are put together by gather, which reads it".to_owned()),
                );
            }
            document = extended(document, &own);
        }
        documents.push((layered.layer, document));
    }
    if !whole {
        return Err(invalid(findings, &sources));
    }
    let of = |layer: Layer| {
        let mut found = documents.iter().filter(move |(own, _)| *own == layer);
        found.next().map(|(_, document)| document)
    };
    let mut list_of_tools = false;
    let own = match (of(Layer::User), of(Layer::Server)) {
        (Some(user), Some(server)) => {
            list_of_tools = user.get(ALLOW).is_some() && server.get(ALLOW).is_none();
            Some(inherited(user, server))
        }
        (Some(only), None) | (None, Some(only)) => Some(only.clone()),
        (None, None) => None,
    };
    let default_mode = match &own {
        Some(_) => FilesystemMode::Shared,
        None => DEFAULT_MODE,
    };
    let own = own.unwrap_or_default();
    let compile = |document, findings: &mut Findings| {
        let compiler = Compiler {
            document,
            sources: &sources,
            facts,
            default_mode,
        };
        let mut policy = compiler.policy(findings);
        if list_of_tools {
            policy.tools.inherit_list();
        }
        policy
    };
    let mut policy = match of(Layer::Project) {
        None => compile(&own, &mut findings),
        Some(project) if missing.outer => {
            belongs(project, &mut findings);
            compile(project, &mut findings)
        }
        Some(project) => {
            let mut of_outer = Findings::default();
            let outer = compile(&own, &mut of_outer);
            if of_outer.any_error() {
                findings.append(of_outer);
                return Err(invalid(findings, &sources));
            }
            let held = Outer {
                document: &own,
                policy: &outer,
                sources: &sources,
                facts,
            };
            let merged = held.tightened(project, &mut findings);
            let policy = compile(&merged, &mut findings);
            policy.within(outer, project_files(layers))
        }
    };
    if findings.any_error() {
        return Err(invalid(findings, &sources));
    }
    policy.digest = digest(layers);
    policy.sources = layers
        .iter()
        .flat_map(|layered| layered.files.clone())
        .collect();
    policy.layers = layers
        .iter()
        .flat_map(|layered| layered.files.iter().map(|_| layered.layer))
        .collect();
    policy.main = (layers.iter().rev())
        .find(|layered| layered.layer != Layer::Project)
        .or(layers.last())
        .and_then(Layered::main)
        .map(|source| source.path.clone());
    Ok(Compiled {
        policy,
        warnings: findings.finish(&sources),
    })
}

impl Compiler<'_> {
    /// All rules of a document; it does not know its texts yet.
    fn policy(&self, findings: &mut Findings) -> Policy {
        Policy {
            network: self.network(findings),
            filesystem: self.filesystem(findings),
            environment: self.environment(findings),
            limits: self.limits(findings),
            sockets: self.sockets(findings),
            all_sockets: self.all_sockets(),
            process: self.process(findings),
            audit: self.audit(findings),
            tools: self.tools(findings),
            daemon: self.daemon_settings(findings),
            digest: String::new(),
            sources: Vec::new(),
            layers: Vec::new(),
            main: None,
        }
    }
}

/// The paths of a project's files.
fn project_files(layers: &[Layered]) -> BTreeSet<PathBuf> {
    let of_project = layers
        .iter()
        .filter(|layered| layered.layer == Layer::Project);
    of_project
        .flat_map(|layered| layered.files.iter().map(|file| file.path.clone()))
        .collect()
}

fn invalid(findings: Findings, sources: &SourceMap<'_>) -> InvalidPolicy {
    InvalidPolicy {
        diagnostics: findings.finish(sources),
    }
}

/// Of one document its text's alone, so that whoever has the file can tell it; of several, of all that tells them apart.
fn digest(layers: &[Layered]) -> String {
    let mut hash = Sha256::new();
    match layers {
        [
            Layered {
                layer: Layer::User | Layer::Server,
                files,
            },
        ] if files.len() == 1 => {
            files
                .iter()
                .for_each(|file| hash.update(file.text.as_bytes()));
        }
        _ => {
            for layered in layers {
                for file in &layered.files {
                    let path = file.path.as_os_str().as_encoded_bytes();
                    for part in [layered.layer.word().as_bytes(), path, file.text.as_bytes()] {
                        // With its length: what one text ends with is not what the next begins with.
                        hash.update((part.len() as u64).to_le_bytes());
                        hash.update(part);
                    }
                }
            }
        }
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
/// Compiled and immutable.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Hosts.
    pub network: NetworkPolicy,
    /// Files.
    pub filesystem: FilesystemPolicy,
    /// Environment.
    pub environment: EnvironmentPolicy,
    /// Limits.
    pub limits: Limits,
    /// Unix sockets.
    pub sockets: UnixSockets,
    pub(crate) all_sockets: Option<Origin>,
    /// Processes.
    pub process: ProcessPolicy,
    /// What is reported.
    pub audit: AuditPolicy,
    /// Tools.
    pub tools: ToolPolicy,
    /// The daemon as a whole: by the user's own file alone, whatever server the policy is for.
    pub daemon: DaemonSettings,
    digest: String,
    sources: Vec<Source>,
    /// Whose each of them is.
    layers: Vec<Layer>,
    main: Option<PathBuf>,
}

impl Policy {
    /// Path of the document that opens things: the server's, else the user's, else the project's; `None` for the built-in
    /// default.
    pub fn source(&self) -> Option<&Path> {
        self.main.as_deref()
    }
    /// The documents that it is compiled from, in the order in which they count; none for the built-in default. A
    /// template's path is its name, `@NAME`.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }
    /// The same, each with whose it is.
    pub fn layers(&self) -> impl Iterator<Item = (Layer, &Source)> {
        self.layers.iter().copied().zip(&self.sources)
    }
    /// The text of the document of [`source`](Self::source); empty for the built-in default.
    pub fn text(&self) -> &str {
        let main = self
            .sources
            .iter()
            .find(|source| Some(source.path.as_path()) == self.source());
        main.map_or("", |source| source.text.as_str())
    }
    /// The same policy under a number of its keeper's, which every permit and refusal of it then names.
    #[must_use]
    pub fn numbered(mut self, generation: u64) -> Self {
        self.network.generation = Some(generation);
        self
    }
    /// That number.
    pub fn generation(&self) -> Option<u64> {
        self.network.generation
    }
    /// Lower-case hexadecimal SHA-256: of the document's text, or of the layers, paths and texts of several.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The same, its project's files held to what `outer` opens wherever the letters of a rule do not tell: names under a
    /// wildcard, links, tools.
    fn within(mut self, outer: Self, project: BTreeSet<PathBuf>) -> Self {
        let is_project =
            |origin: &Origin| matches!(origin, Origin::File { path, .. } if project.contains(path));
        self.network.narrow(&outer.network, is_project);
        if self.tools.allow.is_some() {
            self.tools.outer = Some(Box::new(outer.tools));
        }
        self.filesystem.narrow(outer.filesystem, project);
        self
    }
}
