//! The sorts of entries and their names, which stand in databases and are typed by people: they never change.

use std::fmt;
use std::str::FromStr;

/// What sort of event an entry records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A launch begins.
    Start,
    /// A launch ended.
    Exit,
    /// A flow that policy allowed, with its byte counts, when it is over.
    Allow,
    /// Something that policy denied.
    Deny,
    /// A policy was loaded or compiled anew.
    Policy,
    /// A launch that was not begun, with the reason.
    Refused,
    /// A server was registered.
    Register,
    /// A server's registration was removed.
    Remove,
    /// The daemon itself: started, stopped, swept up after a crash.
    Daemon,
}

impl Kind {
    /// Every kind, in the order in which help texts list them.
    pub const ALL: [Self; 9] = [
        Self::Start,
        Self::Exit,
        Self::Allow,
        Self::Deny,
        Self::Policy,
        Self::Refused,
        Self::Register,
        Self::Remove,
        Self::Daemon,
    ];

    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Exit => "exit",
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Policy => "policy",
            Self::Refused => "refused",
            Self::Register => "register",
            Self::Remove => "remove",
            Self::Daemon => "daemon",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A name that no kind of entry has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kind of audit entry is named {name:?}\nhint: the kinds are {}", Kind::ALL.map(Kind::as_str).join(", "))]
pub struct UnknownKind {
    /// The name.
    pub name: String,
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| UnknownKind { name: name.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_contract_and_read_back() {
        let names = Kind::ALL.map(Kind::as_str);
        assert_eq!(
            names,
            [
                "start", "exit", "allow", "deny", "policy", "refused", "register", "remove",
                "daemon"
            ]
        );
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }

    #[test]
    fn an_unknown_name_says_which_exist() {
        let error = "denied".parse::<Kind>().unwrap_err().to_string();
        assert!(error.contains("\"denied\""), "{error}");
        assert!(
            error.contains("\nhint: the kinds are start, exit, allow, deny,"),
            "{error}"
        );
    }
}
