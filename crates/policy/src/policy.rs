//! The compiled policy.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::check::check;
use crate::compile::{Compiler, built_in};
use crate::diagnostics::Findings;
use crate::document::{Document, Positions};
use crate::{
    Diagnostic, EnvironmentPolicy, FilesystemPolicy, InvalidPolicy, NetworkPolicy, Origin,
};

/// A settings document as read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path as shown to a person.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
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

/// Compiles a document, or the built-in default where there is none: no network, no writes, credential stores
/// unreadable.
///
/// # Errors
/// When the document is not JSON, has unknown or ill-typed keys, or asks for what would have to be ignored at
/// the price of a weaker sandbox. Documents above 1 MiB are refused unread.
pub fn compile(source: Option<&Source>, facts: &Facts) -> Result<Compiled, InvalidPolicy> {
    let Some(source) = source else {
        return Ok(Compiled {
            policy: Policy {
                network: NetworkPolicy::default(),
                filesystem: FilesystemPolicy {
                    rules: built_in(facts),
                },
                environment: EnvironmentPolicy::default(),
                limits: Limits::default(),
                limits_origin: None,
                digest: digest(""),
                source: None,
            },
            warnings: Vec::new(),
        });
    };
    // Editors on Windows put a byte order mark in front, which is no JSON.
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let mut findings = Findings::default();
    let Some(document) = Document::parse(text, &mut findings) else {
        return Err(invalid(findings, source, text));
    };
    let positions = Positions::new(text);
    check(&document, &mut findings);
    let compiler = Compiler {
        document: &document,
        source,
        positions: &positions,
        facts,
    };
    let network = compiler.network(&mut findings);
    let filesystem = compiler.filesystem(&mut findings);
    let environment = compiler.environment(&mut findings);
    let (limits, limits_origin) = compiler.limits();
    if findings.any_error() {
        return Err(invalid(findings, source, text));
    }
    Ok(Compiled {
        policy: Policy {
            network,
            filesystem,
            environment,
            limits,
            limits_origin,
            digest: digest(&source.text),
            source: Some(source.clone()),
        },
        warnings: findings.finish(&source.path, &positions),
    })
}

fn invalid(findings: Findings, source: &Source, text: &str) -> InvalidPolicy {
    InvalidPolicy {
        diagnostics: findings.finish(&source.path, &Positions::new(text)),
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())
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
    pub(crate) limits_origin: Option<Origin>,
    digest: String,
    source: Option<Source>,
}

impl Policy {
    /// Path of the document, `None` for the built-in default.
    pub fn source(&self) -> Option<&Path> {
        self.source.as_ref().map(|source| source.path.as_path())
    }
    /// The document's text; empty for the built-in default.
    pub fn text(&self) -> &str {
        self.source
            .as_ref()
            .map_or("", |source| source.text.as_str())
    }
    /// Lower-case hexadecimal SHA-256 of the document's text.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// Limits on a launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `runtime.maxFileDescriptors`: RLIMIT_NOFILE.
    pub max_file_descriptors: Option<u64>,
}
