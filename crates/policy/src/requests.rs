//! What policy says of the HTTP requests that can be read: those in plain text.

/// What becomes of a request target that names another path once it is normalised (dot segments, `%2e`, `\`, more
/// than one slash in front) than as it is spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AmbiguousTarget {
    /// Answered 400; nothing goes out.
    #[default]
    Refuse,
    /// Goes out as the client spelled it.
    AsSpelled,
    /// Goes out normalised.
    Normalise,
}

impl AmbiguousTarget {
    /// The words of `network.ambiguousRequestTarget`, as sandbox-runtime has them.
    pub(crate) const WORDS: [(&'static str, Self); 3] = [
        ("refuse", Self::Refuse),
        ("asSpelled", Self::AsSpelled),
        ("normalize", Self::Normalise),
    ];
}

/// Rules about requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestRules {
    /// `Host` and an absolute-form authority must name the host and port that the request goes to (421 otherwise).
    pub require_host_match: bool,
    /// What becomes of an ambiguous request target.
    pub ambiguous_target: AmbiguousTarget,
    /// Response headers that the server does not see, in lower case, with `-` for `_` and `.`; see
    /// [`strips`](Self::strips).
    pub strip_response_headers: Vec<String>,
    /// A tunnel whose requests cannot be read is refused: CONNECT, SOCKS5, and connections that are no HTTP.
    pub refuse_opaque_tunnels: bool,
}

impl RequestRules {
    /// Whether a response header is kept from the server. Case does not count, and `-`, `_` and `.` are one
    /// character, since there are programs to which they are.
    pub fn strips(&self, header: &str) -> bool {
        self.strip_response_headers.iter().any(|stripped| {
            stripped.len() == header.len()
                && stripped
                    .bytes()
                    .zip(header.bytes())
                    .all(|(stripped, byte)| stripped == fold(byte))
        })
    }
}

/// A header's name in the form in which it is compared.
pub(crate) fn folded(header: &str) -> String {
    header.bytes().map(|byte| char::from(fold(byte))).collect()
}

fn fold(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' => b'-',
        other => other.to_ascii_lowercase(),
    }
}
