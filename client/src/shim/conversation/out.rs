//! What a conversation wants done.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use srt_proto::CHUNK;

use crate::errors::Failure;

/// What the shim must do beside carrying bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shim) enum Order {
    /// Open another attachment of the session.
    Reopen {
        /// Why, for the daemon's log.
        because: String,
    },
    /// Tell the daemon to end this launch, so that the session goes on in another one.
    GiveUp {
        /// Why, for a person.
        reason: String,
    },
    /// End, once everything is written.
    End {
        /// The exit status.
        code: i32,
        /// What is said on stderr.
        failure: Option<Failure>,
    },
}

/// What goes to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shim) enum ToServer {
    /// At most [`CHUNK`] of them.
    Bytes(Bytes),
    /// The host closed stdin.
    End,
}

/// What is to be done, each in its order.
#[derive(Debug, Default)]
pub(in crate::shim) struct Out {
    /// For the launch that is attached.
    pub(in crate::shim) to_server: VecDeque<ToServer>,
    /// For stdout.
    pub(in crate::shim) to_host: VecDeque<Bytes>,
    /// At most a few.
    pub(in crate::shim) orders: VecDeque<Order>,
    /// For stderr: what a person should know. Each is a line.
    pub(in crate::shim) notices: VecDeque<String>,
}

impl Out {
    pub(super) fn server(&mut self, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(CHUNK));
            let joined = match self.to_server.back_mut() {
                Some(ToServer::Bytes(last)) => join(last, &piece),
                _ => false,
            };
            if !joined {
                self.to_server.push_back(ToServer::Bytes(piece));
            }
        }
    }

    pub(super) fn host(&mut self, bytes: Bytes) {
        let joined = self
            .to_host
            .back_mut()
            .is_some_and(|last| join(last, &bytes));
        if !joined && !bytes.is_empty() {
            self.to_host.push_back(bytes);
        }
    }

    pub(super) fn end(&mut self, code: i32, failure: Option<Failure>) {
        self.orders.push_back(Order::End { code, failure });
    }

    pub(super) fn notice(&mut self, text: String) {
        self.notices.push_back(text);
    }
}

/// Many short lines become few chunks: each chunk costs a message to the daemon, or a write.
fn join(last: &mut Bytes, more: &[u8]) -> bool {
    if last.len() + more.len() > CHUNK {
        return false;
    }
    // What was joined before is nobody else's, and grows where it is.
    let mut joined = std::mem::take(last).try_into_mut().unwrap_or_else(|last| {
        let mut joined = BytesMut::with_capacity(CHUNK.min(2 * (last.len() + more.len())));
        joined.extend_from_slice(&last);
        joined
    });
    joined.extend_from_slice(more);
    *last = joined.freeze();
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ones_are_joined_and_long_ones_are_cut() {
        let mut out = Out::default();
        out.server(Bytes::from_static(b"a\n"));
        out.server(Bytes::from_static(b"b\n"));
        out.server(vec![b'x'; 2 * CHUNK].into());
        out.to_server.push_back(ToServer::End);
        let sizes: Vec<_> = out
            .to_server
            .iter()
            .map(|chunk| match chunk {
                ToServer::Bytes(bytes) => bytes.len(),
                ToServer::End => 0,
            })
            .collect();
        assert_eq!(sizes, [4, CHUNK, CHUNK, 0]);
        assert_eq!(
            out.to_server[0],
            ToServer::Bytes(Bytes::from_static(b"a\nb\n"))
        );
        out.host(Bytes::new());
        assert!(out.to_host.is_empty());
    }
}
