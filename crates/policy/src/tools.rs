//! What a policy says of a server's tools: which may be listed and called, and whether one that changes is refused.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};

use crate::Origin;

pub(crate) const ALLOW: &str = "mcp.tools.allow";
pub(crate) const DENY: &str = "mcp.tools.deny";
pub(crate) const PIN: &str = "mcp.pinTools";

/// The rules on tools.
#[derive(Clone, Debug, Default)]
pub struct ToolPolicy {
    /// `mcp.tools.allow`; `None`: the document does not say, and what is not denied is allowed.
    pub allow: Option<Vec<ToolRule>>,
    /// `mcp.tools.deny`.
    pub deny: Vec<ToolRule>,
    /// Where `mcp.pinTools` is written, if it is true.
    pub pin: Option<Origin>,
    /// What is in force without a list of allowed tools that a project's file, or the user's, puts above: it has to allow a
    /// tool, too.
    pub(crate) outer: Option<Box<ToolPolicy>>,
}

/// One entry of `mcp.tools.allow` or `mcp.tools.deny`.
#[derive(Clone)]
pub struct ToolRule {
    /// As written.
    pub text: String,
    /// Where.
    pub origin: Origin,
    matcher: GlobMatcher,
}

impl fmt::Debug for ToolRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolRule")
            .field("text", &self.text)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl ToolRule {
    /// A pattern: `*`, `?`, `[…]` and `{a,b}` as in a shell, of the whole name. One that denies takes upper and lower
    /// case for the same.
    pub(crate) fn new(text: &str, origin: Origin, denies: bool) -> Result<Self, String> {
        let pattern = if denies {
            folded(text)
        } else {
            text.to_owned()
        };
        let glob = GlobBuilder::new(&pattern)
            .backslash_escape(true)
            .empty_alternates(true)
            .build()
            .map_err(|error| error.kind().to_string())?;
        Ok(Self {
            text: text.to_owned(),
            origin,
            matcher: glob.compile_matcher(),
        })
    }

    /// Whether it is about the tool of this name.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }
}

/// Why a tool may not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolDenial {
    /// For a person, or a model: a sentence without its full stop.
    pub reason: String,
    /// The rule: its dotted key, its text and where it is written. `None` where no rule allows the tool.
    pub rule: Option<(&'static str, String, Origin)>,
}

impl ToolPolicy {
    /// Its list of allowed tools comes from the user's file, above a server's that has none: so it narrows what the server's
    /// allows, and allows no name that this would refuse for its letters.
    pub(crate) fn inherit_list(&mut self) {
        let without = Self {
            deny: self.deny.clone(),
            ..Self::default()
        };
        self.outer = Some(Box::new(without));
    }

    /// Whether a name is looked at before it passes.
    pub fn judges(&self) -> bool {
        self.allow.is_some() || !self.deny.is_empty() || self.pin.is_some()
    }

    /// Whether the tool of this name may be listed and called.
    ///
    /// Names are compared as they are. So that a server cannot have a denied tool under a name that looks or is read the
    /// same, an entry of `deny` takes no notice of case and of blanks around the name, and a name with other characters
    /// than those of printable ASCII is allowed by an entry of `allow` only.
    ///
    /// # Errors
    /// Why it may not.
    pub fn decide(&self, name: &str) -> Result<(), ToolDenial> {
        if let Some(outer) = &self.outer {
            outer.decide(name)?;
        }
        let denied = folded(name);
        let denied = [denied.as_str(), denied.trim()];
        let denies = |rule: &&ToolRule| denied.iter().any(|name| rule.matcher.is_match(name));
        if let Some(rule) = self.deny.iter().find(denies) {
            return Err(ToolDenial {
                reason: format!("{DENY} has {:?}", rule.text),
                rule: Some((DENY, rule.text.clone(), rule.origin.clone())),
            });
        }
        match &self.allow {
            Some(rules) if rules.iter().any(|rule| rule.matcher.is_match(name)) => Ok(()),
            Some(_) => Err(ToolDenial {
                reason: format!("no entry of {ALLOW} matches it"),
                rule: None,
            }),
            None if self.deny.is_empty() || is_plain(name) => Ok(()),
            None => Err(ToolDenial {
                reason: format!(
                    "its name has characters that may look like others, and no entry of {ALLOW} matches it"
                ),
                rule: None,
            }),
        }
    }
}

/// Without case.
fn folded(name: &str) -> String {
    name.to_uppercase().to_lowercase()
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// How much of a conversation is recorded (`audit.mcp`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum McpAudit {
    /// Nothing.
    Off,
    /// Of each request its method, tool, duration, outcome and sizes.
    #[default]
    Calls,
    /// The beginnings of parameters and results, too.
    Full,
}

impl McpAudit {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Off, Self::Calls, Self::Full];

    /// As a document writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Calls => "calls",
            Self::Full => "full",
        }
    }

    /// Reads it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|audit| audit.word() == text)
    }
}
