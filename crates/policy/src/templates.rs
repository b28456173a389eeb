//! The built-in templates: settings files that others extend by name (`"extends": ["@fetch"]`).

use crate::diagnostics::nearest;

/// The templates, by name, with their texts; sorted.
pub const TEMPLATES: &[(&str, &str)] = &[
    (
        "browser",
        include_str!("../../../packaging/templates/browser.json"),
    ),
    (
        "fetch",
        include_str!("../../../packaging/templates/fetch.json"),
    ),
    (
        "filesystem",
        include_str!("../../../packaging/templates/filesystem.json"),
    ),
    ("git", include_str!("../../../packaging/templates/git.json")),
    (
        "github",
        include_str!("../../../packaging/templates/github.json"),
    ),
    (
        "gitlab",
        include_str!("../../../packaging/templates/gitlab.json"),
    ),
    (
        "memory",
        include_str!("../../../packaging/templates/memory.json"),
    ),
    (
        "postgres",
        include_str!("../../../packaging/templates/postgres.json"),
    ),
    (
        "shell",
        include_str!("../../../packaging/templates/shell.json"),
    ),
    (
        "sqlite",
        include_str!("../../../packaging/templates/sqlite.json"),
    ),
];

/// The text of the template of this name, written without its `@`.
pub fn template(name: &str) -> Option<&'static str> {
    TEMPLATES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// The template that `name` was probably meant to be.
pub fn nearest_template(name: &str) -> Option<&'static str> {
    nearest(name, TEMPLATES.iter().map(|(known, _)| *known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Facts, Source, compile};

    #[test]
    fn every_template_is_found_sorted_and_without_a_fault() {
        assert!(TEMPLATES.is_sorted_by_key(|(name, _)| *name));
        for (name, text) in TEMPLATES {
            assert_eq!(template(name), Some(*text));
            let source = Source {
                path: format!("@{name}").into(),
                text: (*text).to_owned(),
            };
            let facts = Facts {
                home: "/home/u".into(),
                cwd: "/home/u/p".into(),
                protected: Vec::new(),
                program: Vec::new(),
                macos: false,
            };
            let compiled = compile(Some(&source), &facts).unwrap();
            assert_eq!(compiled.warnings, [], "{name}");
        }
        assert_eq!(template("@fetch"), None);
        assert_eq!(template("nothing"), None);
        assert_eq!(nearest_template("memmory"), Some("memory"));
        assert_eq!(nearest_template("qqqqqq"), None);
    }
}
