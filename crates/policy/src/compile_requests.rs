//! From a checked document to rules about requests and about TLS.

use std::collections::BTreeSet;

use crate::compile::Compiler;
use crate::diagnostics::{Findings, quoted};
use crate::requests::folded;
use crate::{AmbiguousTarget, RequestRules};

pub(crate) const STRIPPED: &str = "network.stripResponseHeaders";
const HOST_MATCH: &str = "network.requireHostMatch";
const OPAQUE: &str = "network.refuseOpaqueTunnels";

impl Compiler<'_> {
    pub(crate) fn refuses_ech(&self) -> bool {
        self.word("tls.ech", &ECH).unwrap_or(false)
    }

    /// Where a key is set to true.
    fn set(&self, key: &str) -> Option<usize> {
        let literal = self.document.bool(key)?;
        literal.value.then_some(literal.offset)
    }

    /// TLS is not read here: what a rule about requests comes to.
    fn reach(&self, findings: &mut Findings) {
        if let Some(offset) = self.set(HOST_MATCH) {
            findings.warning(
                offset,
                format!("{HOST_MATCH} holds for requests in plain text: TLS is not read"),
                Some("over TLS the name in the ClientHello must be the permitted one; the Host inside is not seen".to_owned()),
            );
        }
        if let Some(first) = self.document.strings(STRIPPED).first() {
            findings.warning(
                first.offset,
                format!("{STRIPPED} holds for responses in plain text: TLS is not read"),
                Some("what comes over TLS reaches the server with every header".to_owned()),
            );
        }
        if let Some(offset) = self.set(OPAQUE) {
            findings.warning(
                offset,
                format!("with {OPAQUE} only HTTP in plain text passes: TLS is not read"),
                Some("remove it to let encrypted traffic to allowed hosts pass unread".to_owned()),
            );
        }
    }

    /// The meaning of a key whose value is one of a few words.
    fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.document.string(key)?;
        // Another word has been reported by then.
        words
            .iter()
            .find(|(word, _)| *word == text.value)
            .map(|(_, meaning)| *meaning)
    }

    pub(crate) fn requests(&self, findings: &mut Findings) -> RequestRules {
        self.reach(findings);
        let on = |key: &str| self.set(key).is_some();
        RequestRules {
            require_host_match: on(HOST_MATCH),
            ambiguous_target: self
                .word("network.ambiguousRequestTarget", &AmbiguousTarget::WORDS)
                .unwrap_or_default(),
            strip_response_headers: self.stripped_headers(findings),
            refuse_opaque_tunnels: on(OPAQUE),
        }
    }

    fn stripped_headers(&self, findings: &mut Findings) -> Vec<String> {
        let mut headers = BTreeSet::new();
        for entry in self.document.strings(STRIPPED) {
            let header = folded(&entry.value);
            if !is_token(&entry.value) {
                findings.error(
                    entry.offset,
                    format!(
                        "{} in {STRIPPED} is no name of a header",
                        quoted(&entry.value)
                    ),
                    Some("write the name alone, such as \"set-cookie\"".to_owned()),
                );
            } else if FRAMING.contains(&header.as_str()) {
                findings.error(
                    entry.offset,
                    format!(
                        "{} in {STRIPPED} says where a response ends or who reads it: without it the rest could not be read",
                        quoted(&entry.value)
                    ),
                    Some("remove it".to_owned()),
                );
            } else {
                headers.insert(header);
            }
        }
        headers.into_iter().collect()
    }
}

/// The words of `tls.ech`; true refuses.
const ECH: [(&str, bool); 2] = [("allow", false), ("refuse", true)];

/// Headers by which a message is framed, or which are between two neighbours and never passed on (RFC 9112,
/// sections 6 and 9; RFC 9110, section 7.6.1).
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header's name is a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
