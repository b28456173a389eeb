//! Versions of the settings format: which one a document is of, and which keys each has.
//!
//! Version 1, which a document without `version` is of, is sandbox-runtime's format with what was added to it here: it is
//! read for ever. Version 2 has one name for one thing, says units in names, and has none of the keys that mean
//! nothing here.

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged as _;

use crate::check::shorten;
use crate::diagnostics::Findings;

/// The newest version that is read.
pub const NEWEST_VERSION: u64 = 2;

/// A version that is read, from 1 to [`NEWEST_VERSION`].
pub(crate) type Version = u64;

/// What a version changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The member of this section has another name.
    Renamed {
        section: &'static str,
        from: &'static str,
        to: &'static str,
    },
    /// What stood at the top is what a member of this section says, which has the same name.
    Moved {
        name: &'static str,
        into: &'static str,
    },
    /// A key at the top is gone, since it meant nothing.
    Gone(&'static str),
}

use Change::{Gone, Moved, Renamed};

/// From version 1 to 2.
pub(crate) const TO_2: &[Change] = &[
    Renamed {
        section: "runtime",
        from: "healthTimeout",
        to: "healthTimeoutSeconds",
    },
    Moved {
        name: "limits",
        into: "runtime",
    },
    Gone("enableWeakerNestedSandbox"),
    Gone("enableWeakerNetworkIsolation"),
    Gone("mandatoryDenySearchDepth"),
    Gone("bwrapPath"),
    Gone("socatPath"),
    Gone("ripgrep"),
    Gone("seccomp"),
    Gone("javaAgentJarPath"),
    Gone("windows"),
];

/// The version that a document says it is of; `None`, with an error, where that is not known.
pub(crate) fn version(root: &Object<'_>, findings: &mut Findings) -> Option<Version> {
    let Some(property) = root.get("version") else {
        return Some(1);
    };
    let said = match &property.value {
        Value::NumberLit(number) => number.value,
        _ => "",
    };
    let known = said.parse().ok();
    let known = known.filter(|version| (1..=NEWEST_VERSION).contains(version));
    if known.is_none() {
        let newer = said.parse::<u64>().is_ok_and(|said| said > NEWEST_VERSION);
        let (what, hint) = if newer {
            (
                format!("this file is of version {}, and this program knows versions up to {NEWEST_VERSION}", shorten(said)),
                "upgrade srtd, or write the file for an older version; docs/POLICY.md says what each version has".to_owned(),
            )
        } else {
            (
                "version must be 1 or 2".to_owned(),
                "write \"version\": 2, or remove the key for version 1".to_owned(),
            )
        };
        findings.error(property.value.start(), what, Some(hint));
    }
    known
}

/// What a document of another version writes in the place of a key that its own does not have, as a hint.
pub(crate) fn elsewhere(path: &str, version: Version) -> Option<String> {
    TO_2.iter().find_map(|change| match *change {
        Renamed { section, from, to } if version >= 2 && path == format!("{section}.{from}") => {
            Some(format!("since version 2 it is called {to:?}"))
        }
        Renamed { section, from, to } if version < 2 && path == format!("{section}.{to}") => {
            Some(format!(
                "it is of version 2: write \"version\": 2 at the top of the file, or call it {from:?}"
            ))
        }
        Moved { name, into } if version >= 2 && path == name => {
            Some(format!("since version 2 it belongs in {into:?}"))
        }
        Gone(name) if version >= 2 && path == name => {
            Some("version 2 does not have it, since it means nothing here: remove it".to_owned())
        }
        Renamed { .. } | Moved { .. } | Gone(_) => None,
    })
}

/// Whether the newest version has another name for this key of an older one.
pub(crate) fn is_renamed(path: &str) -> bool {
    TO_2.iter().any(|change| {
        matches!(*change, Renamed { section, from, .. } if path == format!("{section}.{from}"))
    })
}

/// How a document of this version writes a key that is named as the newest names it.
pub(crate) fn written(path: &str, version: Version) -> &str {
    // One rename is all there is so far: where there are more, this is a lookup in `TO_2`.
    match (path, version) {
        ("runtime.healthTimeoutSeconds", 1) => "runtime.healthTimeout",
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KEYS;

    #[test]
    fn the_changes_are_those_of_the_table() {
        let has = |path: &str, version| {
            KEYS.iter()
                .any(|key| key.path == path && key.is_of(version))
        };
        for change in TO_2 {
            match *change {
                Renamed { section, from, to } => {
                    let (from, to) = (format!("{section}.{from}"), format!("{section}.{to}"));
                    assert!(has(&from, 1) && !has(&from, 2), "{from}");
                    assert!(has(&to, 2) && !has(&to, 1), "{to}");
                    assert_eq!(written(&to, 1), from);
                    assert_eq!(written(&to, 2), to);
                }
                Moved { name, into } => {
                    assert!(has(name, 1) && !has(name, 2), "{name}");
                    assert!(has(&format!("{into}.{name}"), 1), "{name}");
                    assert!(has(&format!("{into}.{name}"), 2), "{name}");
                }
                Gone(name) => assert!(has(name, 1) && !has(name, 2), "{name}"),
            }
        }
        let changed = KEYS.iter().filter(|key| !(key.is_of(1) && key.is_of(2)));
        assert_eq!(
            changed.count(),
            TO_2.len() + 1,
            "the renamed one has two rows"
        );
    }
}
