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
    /// A flow that was allowed only because the settings observe (`network.enforceAllowlist: false`).
    WouldDeny,
    /// A flow that was allowed and was ended because the policy no longer permits it.
    Close,
    /// A connection is held until a person answers.
    Ask,
    /// A person approved a connection.
    Approve,
    /// A held connection was refused: by a person, or for want of an answer.
    Reject,
    /// A grant is at its end by itself.
    Expire,
    /// A person ended a grant.
    Revoke,
    /// A policy was loaded or compiled anew.
    Policy,
    /// A launch that was not begun, with the reason.
    Refused,
    /// A server was registered.
    Register,
    /// A server's registration was removed.
    Remove,
    /// A person sent a signal to a server.
    Signal,
    /// A registered server starts with the daemon from now on.
    Enable,
    /// A registered server no longer starts with the daemon.
    Disable,
    /// What a server changed of an overlaid folder was applied to the host's copy.
    Apply,
    /// What a server changed of an overlaid folder was thrown away.
    Discard,
    /// A request between host and server is over.
    Call,
    /// What a server says of its tools was accepted: when it was first listed, or by a person.
    Pin,
    /// A segment of this log was closed with a seal.
    Seal,
    /// Old segments of this log were removed.
    Prune,
    /// The daemon itself: started, stopped, swept up after a crash.
    Daemon,
}

impl Kind {
    /// Every kind, in the order in which help texts list them.
    pub const ALL: [Self; 25] = [
        Self::Start,
        Self::Exit,
        Self::Allow,
        Self::Deny,
        Self::WouldDeny,
        Self::Close,
        Self::Ask,
        Self::Approve,
        Self::Reject,
        Self::Expire,
        Self::Revoke,
        Self::Policy,
        Self::Refused,
        Self::Register,
        Self::Remove,
        Self::Signal,
        Self::Enable,
        Self::Disable,
        Self::Apply,
        Self::Discard,
        Self::Call,
        Self::Pin,
        Self::Seal,
        Self::Prune,
        Self::Daemon,
    ];

    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Exit => "exit",
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::WouldDeny => "would-deny",
            Self::Close => "close",
            Self::Ask => "ask",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Expire => "expire",
            Self::Revoke => "revoke",
            Self::Policy => "policy",
            Self::Refused => "refused",
            Self::Register => "register",
            Self::Remove => "remove",
            Self::Signal => "signal",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Apply => "apply",
            Self::Discard => "discard",
            Self::Call => "call",
            Self::Pin => "pin",
            Self::Seal => "seal",
            Self::Prune => "prune",
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
#[error("no kind of audit entry is named {name:?}\nhint: {}the kinds are {}", meant(name), Kind::ALL.map(Kind::as_str).join(", "))]
pub struct UnknownKind {
    /// The name.
    pub name: String,
}

fn meant(name: &str) -> String {
    let nearest = srt_policy::nearest(name, Kind::ALL.map(Kind::as_str));
    nearest.map_or_else(String::new, |kind| format!("did you mean {kind:?}? "))
}

impl Kind {
    /// Reads a name as a person says it: "denied" is "deny", too.
    ///
    /// # Errors
    /// When no kind is meant by it, with the nearest that there is.
    pub fn said(text: &str) -> Result<Self, UnknownKind> {
        let lower = text.to_ascii_lowercase();
        let name = match lower.as_str() {
            "would-denied" | "would_deny" | "observed" => "would-deny",
            "refuse" => "refused",
            "exited" | "end" | "ended" => "exit",
            "asked" => "ask",
            "signaled" | "signalled" => "signal",
            "applied" => "apply",
            "denied" => "deny",
            "pinned" => "pin",
            name => name,
        };
        let past = Self::ALL.into_iter().find(|kind| {
            let kind = kind.as_str();
            name == kind
                || name
                    .strip_prefix(kind)
                    .is_some_and(|rest| ["s", "d", "ed"].contains(&rest))
        });
        past.ok_or_else(|| UnknownKind { name: text.into() })
    }
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
                "start",
                "exit",
                "allow",
                "deny",
                "would-deny",
                "close",
                "ask",
                "approve",
                "reject",
                "expire",
                "revoke",
                "policy",
                "refused",
                "register",
                "remove",
                "signal",
                "enable",
                "disable",
                "apply",
                "discard",
                "call",
                "pin",
                "seal",
                "prune",
                "daemon"
            ]
        );
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }

    #[test]
    fn a_person_may_say_it_as_it_comes() {
        let table = [
            ("denied", Kind::Deny),
            ("Denied", Kind::Deny),
            ("allowed", Kind::Allow),
            ("starts", Kind::Start),
            ("started", Kind::Start),
            ("exited", Kind::Exit),
            ("closed", Kind::Close),
            ("asked", Kind::Ask),
            ("approved", Kind::Approve),
            ("rejected", Kind::Reject),
            ("expired", Kind::Expire),
            ("revoked", Kind::Revoke),
            ("refuse", Kind::Refused),
            ("refused", Kind::Refused),
            ("registered", Kind::Register),
            ("removed", Kind::Remove),
            ("signalled", Kind::Signal),
            ("enabled", Kind::Enable),
            ("disabled", Kind::Disable),
            ("applied", Kind::Apply),
            ("discarded", Kind::Discard),
            ("calls", Kind::Call),
            ("called", Kind::Call),
            ("pinned", Kind::Pin),
        ];
        for (said, kind) in table {
            assert_eq!(Kind::said(said), Ok(kind), "{said}");
        }
        for kind in Kind::ALL {
            assert_eq!(Kind::said(kind.as_str()), Ok(kind));
        }
    }

    #[test]
    fn an_unknown_name_says_which_exist() {
        let error = Kind::said("dney").unwrap_err().to_string();
        assert!(error.contains("\"dney\""), "{error}");
        assert!(
            error
                .contains("\nhint: did you mean \"deny\"? the kinds are start, exit, allow, deny,"),
            "{error}"
        );
        // Rows are read by the very names.
        assert!("denied".parse::<Kind>().is_err());
    }
}
