//! From a checked document to rules: here those about the environment, and what the others share. `compile_files`
//! has those about files, `compile_network` those about hosts, `compile_launch` the rest.

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;

use crate::diagnostics::{Findings, quoted};
use crate::document::{Document, Located, string};
use crate::environment::{StripRule, is_name};
use crate::sources::SourceMap;
use crate::{EnvironmentPolicy, Facts, FilesystemMode, Origin};

/// What rules are made from.
pub(crate) struct Compiler<'a> {
    pub(crate) document: &'a Document<'a>,
    pub(crate) sources: &'a SourceMap<'a>,
    pub(crate) facts: &'a Facts,
    /// The mode where the document names none.
    pub(crate) default_mode: FilesystemMode,
}

impl Compiler<'_> {
    pub(crate) fn origin(&self, offset: usize) -> Origin {
        let (path, line, column) = self.sources.at(offset);
        Origin::File {
            path: path.to_owned(),
            line,
            column,
        }
    }

    /// The entries of a credentials list whose mode is `deny`; `mask` is an error, since the secret would be shown.
    pub(crate) fn credentials(
        &self,
        key: &str,
        name: &str,
        findings: &mut Findings,
    ) -> Vec<Located<String>> {
        let mut denied = Vec::new();
        for element in self.document.elements(key) {
            let Value::Object(object) = element else {
                continue;
            };
            let what = object
                .get(name)
                .and_then(|property| string(&property.value));
            let Some(what) = what else {
                if object.get(name).is_none() {
                    findings.error(
                        object.start(),
                        format!("an entry of {key} has no {name:?}"),
                        None,
                    );
                }
                continue;
            };
            const DENY: &str = "write \"mode\": \"deny\": the server then does not see it at all";
            match object.get("mode").map(|property| (property.start(), string(&property.value))) {
                None => findings.error(object.start(), format!("an entry of {key} has no \"mode\""), Some(DENY.to_owned())),
                Some((_, None)) => {}
                Some((at, Some(mode))) => match mode.value.as_str() {
                    "deny" => denied.push(what),
                    "mask" => findings.error(
                        at,
                        format!("{key} with mode \"mask\" is not enforced yet: ignoring it would show the secret"),
                        Some(DENY.to_owned()),
                    ),
                    // Has been reported by then.
                    _ => {}
                },
            }
        }
        denied
    }

    pub(crate) fn environment(&self, findings: &mut Findings) -> EnvironmentPolicy {
        let mut strip = Vec::new();
        let listed = self
            .document
            .strings("runtime.envStrip")
            .into_iter()
            .map(|entry| ("runtime.envStrip", entry));
        let denied = self.credentials("credentials.envVars", "name", findings);
        let denied = denied
            .into_iter()
            .map(|entry| ("credentials.envVars", entry));
        for (key, entry) in listed.chain(denied) {
            if !is_name(&entry.value)
                || entry.value.contains(['*', '?', '$'])
                || entry.value.trim() != entry.value
            {
                findings.error(
                    entry.offset,
                    format!("{} in {key} is no name of a variable", quoted(&entry.value)),
                    Some("write each name in full, such as \"AWS_SECRET_ACCESS_KEY\"; variables that nothing names are not passed anyway".to_owned()),
                );
                continue;
            }
            strip.push(StripRule {
                key,
                origin: self.origin(entry.offset),
                name: entry.value,
            });
        }
        EnvironmentPolicy { strip }
    }
}
