//! What the targets share: facts to compile under, and a matcher of patterns that has nothing in common with the one
//! under test but what docs/POLICY.md says.

use srt_policy::{Facts, Source};

pub mod http;
pub mod reference;

/// A launch in a project that is not in the home folder.
pub fn facts(macos: bool) -> Facts {
    Facts {
        home: "/home/u".into(),
        cwd: "/w/p".into(),
        protected: vec!["/home/u/.local/state/srt".into()],
        program: vec!["/opt/tool".into()],
        macos,
    }
}

/// A settings file of this text.
pub fn source(text: &str) -> Source {
    Source {
        path: "/s.json".into(),
        text: text.to_owned(),
    }
}
