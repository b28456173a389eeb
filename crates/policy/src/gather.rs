//! The files that a settings file extends: which they are, in which order they count, and what may be wrong with that.
//!
//! Nothing is read here: the caller hands in how.

use std::path::{Component, Path, PathBuf};

use jsonc_parser::ast::Value;

use crate::diagnostics::{Findings, quoted};
use crate::document::{Located, Parsed, string};
use crate::sources::{SourceMap, unmarked};
use crate::templates::{TEMPLATES, nearest_template, template};
use crate::{Diagnostic, InvalidPolicy, Layer, Layered, Source, normalise};

/// The key.
pub(crate) const EXTENDS: &str = "extends";

/// So many files may extend one another, one after the other.
const DEEPEST: usize = 8;

/// A layer's file and all that it extends are at most so many files.
const MOST: usize = 64;

/// Finds what `main` extends, and what that extends. `read` gives the text of a file by its absolute path, or says why
/// there is none, as words that follow "cannot read it: ". Templates (`@NAME`) are built in and are not asked for.
///
/// What is wrong inside the files is not looked at: [`compile_layers`](crate::compile_layers) does that.
///
/// # Errors
/// Every entry at which it fails: a file that cannot be read, a template that there is not, files that extend one another
/// in a circle or too deep, more than 64 of them, or an entry of a project's file that leads out of the project.
pub fn gather(
    layer: Layer,
    main: Source,
    home: &Path,
    read: &mut dyn FnMut(&Path) -> Result<String, String>,
) -> Result<Layered, InvalidPolicy> {
    let project = main.path.parent().map(Path::to_owned).unwrap_or_default();
    let mut gatherer = Gatherer {
        layer,
        home,
        project,
        read,
        way: Vec::new(),
        files: Vec::new(),
        faults: Vec::new(),
    };
    gatherer.add(main);
    if !gatherer.faults.is_empty() {
        let diagnostics = gatherer.faults;
        return Err(InvalidPolicy { diagnostics });
    }
    Ok(Layered {
        layer,
        files: gatherer.files,
    })
}

struct Gatherer<'a> {
    layer: Layer,
    home: &'a Path,
    /// The folder of the layer's own file.
    project: PathBuf,
    read: &'a mut dyn FnMut(&Path) -> Result<String, String>,
    /// The files that are being followed, the layer's own first.
    way: Vec<PathBuf>,
    files: Vec<Source>,
    faults: Vec<Diagnostic>,
}

/// What is wrong with an entry, and what would be right.
type Fault = (String, Option<String>);

impl Gatherer<'_> {
    /// Adds what a file extends, and then the file.
    fn add(&mut self, source: Source) {
        self.way.push(source.path.clone());
        for entry in entries(&source.text) {
            let named = self.named(&source.path, &entry.value);
            let found = named.and_then(|path| Ok((self.found(&path)?, path)));
            match found {
                Ok((Some(text), path)) => self.add(Source { path, text }),
                // A file that two others extend counts where it stands first.
                Ok((None, _)) => {}
                Err(fault) => self.faults.extend(at(&source, entry.offset, fault)),
            }
        }
        self.way.pop();
        self.files.push(source);
    }

    /// The file or template that an entry of `from` names, as `@NAME` or by its absolute path.
    fn named(&self, from: &Path, entry: &str) -> Result<PathBuf, Fault> {
        if let Some(name) = entry.strip_prefix('@') {
            if template(name).is_some() {
                return Ok(PathBuf::from(entry));
            }
            let hint = match nearest_template(name) {
                Some(near) => format!("did you mean \"@{near}\"?"),
                None => {
                    let known: Vec<_> = TEMPLATES
                        .iter()
                        .map(|(name, _)| format!("@{name}"))
                        .collect();
                    format!(
                        "there are {}; a file is written with its folder, such as \"./base.json\"",
                        known.join(", ")
                    )
                }
            };
            return Err((
                format!("there is no template {}", quoted(entry)),
                Some(hint),
            ));
        }
        if entry.is_empty() || entry.contains('\0') {
            return Err((
                format!("{} in {EXTENDS} names no file", quoted(entry)),
                Some(
                    "write \"./base.json\", \"~/base.json\" or a template such as \"@fetch\""
                        .to_owned(),
                ),
            ));
        }
        let Some(folder) = from.parent().filter(|_| !is_template(from)) else {
            return Err((
                format!("the template extends the file {}", quoted(entry)),
                Some("a template can extend templates alone".to_owned()),
            ));
        };
        let path = match entry.strip_prefix("~/") {
            Some(rest) => self.home.join(rest.trim_start_matches('/')),
            None if entry.starts_with('~') => {
                return Err((
                    format!(
                        "{} in {EXTENDS} names another user's home folder",
                        quoted(entry)
                    ),
                    Some("write the absolute path".to_owned()),
                ));
            }
            None => folder.join(entry),
        };
        let path = normalise(&path);
        let is_relative = Path::new(entry).is_relative() && !entry.starts_with('~');
        if self.layer == Layer::Project && !(is_relative && path.starts_with(&self.project)) {
            return Err((
                format!("{} in {EXTENDS} leads out of the project", quoted(entry)),
                Some("a project's file extends templates and files of its own folder: whoever may change the project would choose what else is read".to_owned()),
            ));
        }
        Ok(path)
    }

    /// The text of a file; `None` where it counts already.
    fn found(&mut self, path: &Path) -> Result<Option<String>, Fault> {
        if let Some(begin) = self.way.iter().position(|on| on == path) {
            let circle: Vec<String> = self.way[begin..]
                .iter()
                .map(PathBuf::as_path)
                .chain([path])
                .map(|path| path.display().to_string())
                .collect();
            return Err((
                format!(
                    "the files extend one another in a circle: {}",
                    circle.join(" → ")
                ),
                Some("remove one of these entries".to_owned()),
            ));
        }
        if self.files.iter().any(|file| file.path == path) {
            return Ok(None);
        }
        if self.way.len() > DEEPEST {
            return Err((
                format!("more than {DEEPEST} files extend one another, one after the other"),
                Some("let one file extend several side by side".to_owned()),
            ));
        }
        if self.files.len() + self.way.len() >= MOST {
            return Err((
                format!("with this entry there are more than {MOST} files"),
                Some("put what belongs together into one file".to_owned()),
            ));
        }
        let name = path.to_str().and_then(|path| path.strip_prefix('@'));
        if let Some(text) = name.and_then(template) {
            return Ok(Some(text.to_owned()));
        }
        (self.read)(path).map(Some).map_err(|why| {
            (
                format!("{EXTENDS} names {}, and it cannot be read: {why}", path.display()),
                Some("what this file says would be looser or tighter than it is meant without that one, so none of it counts".to_owned()),
            )
        })
    }
}

/// Whether a path stands for a template.
pub(crate) fn is_template(path: &Path) -> bool {
    match path.components().next() {
        Some(Component::Normal(first)) => {
            first.to_str().is_some_and(|first| first.starts_with('@'))
        }
        _ => false,
    }
}

/// The entries of a text's `extends`. Of a text with a fault, what can be read: the fault is told when it is compiled.
fn entries(text: &str) -> Vec<Located<String>> {
    let parsed = Parsed::parse(unmarked(text), 0, &mut Findings::default());
    let list = parsed
        .as_ref()
        .and_then(|parsed| parsed.root().get(EXTENDS));
    match list.map(|property| &property.value) {
        Some(Value::Array(list)) => list.elements.iter().filter_map(string).collect(),
        _ => Vec::new(),
    }
}

fn at(source: &Source, offset: usize, (message, hint): Fault) -> Vec<Diagnostic> {
    let mut sources = SourceMap::default();
    sources.add(&source.path, unmarked(&source.text));
    let mut findings = Findings::default();
    findings.error(offset, message, hint);
    findings.finish(&sources)
}
