//! From one launch to the next.

use std::time::{Duration, Instant};

use serde_json::json;
use srt_proto::exit;

use super::asked::Requests;
use super::held::Line;
use super::replay::Private;
use super::words::{self, Then, Told, Why};
use super::{Conversation, Link, Mode, Order, PATIENCE, Part, ToServer};
use crate::errors::Failure;

/// An attachment that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shim) struct Attached {
    /// The daemon gave a token: there may be another one after it.
    pub(in crate::shim) carried: bool,
    /// How long the server may leave a sign of life unanswered.
    pub(in crate::shim) health: Option<Duration>,
}

/// How an attachment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shim) enum Gone {
    /// The launch ended, which the daemon told.
    Ended {
        /// The exit status.
        code: i32,
        /// "killed by SIGKILL".
        reason: String,
        /// There may be another launch.
        again: bool,
    },
    /// The daemon is gone.
    Lost(Failure),
}

impl Conversation {
    /// An attachment is open.
    pub(in crate::shim) fn opened(&mut self, attached: &Attached, now: Instant) {
        self.carried = attached.carried;
        self.health = attached.health;
        self.active = now;
        if self.past == 0 {
            return;
        }
        match self.memory.handshake() {
            Some((method, params)) => {
                self.link = Link::Handshake(now);
                self.ask(method, &params, Private::Handshake);
            }
            None => self.go_live(),
        }
    }

    /// The new launch answered as the last one did: it is told what that one knew.
    pub(super) fn shaken(&mut self) {
        if self.memory.legacy.is_some() {
            self.restore();
        }
        self.go_live();
    }

    fn restore(&mut self) {
        if self.memory.initialized {
            let line = srt_mcp::notification("notifications/initialized", None);
            self.out.server(line);
        }
        for (method, params, what) in self.memory.restore() {
            self.ask(method, &params, Private::Restore(what));
        }
    }

    /// The host's lines pass again, those that waited first.
    fn go_live(&mut self) {
        self.link = Link::Live;
        for line in self.memory.listen_again() {
            self.out.server(line);
        }
        while let Some(line) = self.held.pop() {
            self.send(line);
        }
        let told = |list: &_| !self.memory.told_of(*list).is_empty();
        let lists: Vec<_> = self.lists.seen().into_iter().filter(told).collect();
        for list in lists {
            self.lists.begin(list);
            self.ask_page(list, None);
        }
        if self.host_over {
            self.out.to_server.push_back(ToServer::End);
        }
        self.renew_if_idle();
    }

    /// The attachment is gone.
    pub(in crate::shim) fn gone(&mut self, gone: Gone, now: Instant) {
        let was_carried = self.is_carried();
        let why = match (std::mem::replace(&mut self.link, Link::Away), &gone) {
            (Link::Leaving(reason), Gone::Ended { .. }) => Why::GaveUp(reason),
            (_, Gone::Ended { reason, .. }) => Why::Ended(reason.clone()),
            (_, Gone::Lost(_)) => Why::Lost,
        };
        self.why = why;
        let passed = self.from_server.is_within_parts();
        let half = self.from_server.rest();
        match gone {
            _ if self.from_host.mode() != Mode::Mcp => {
                self.out.host(half);
                self.end_with(gone);
            }
            Gone::Ended { again: true, .. } | Gone::Lost(_) if was_carried && !self.host_over => {
                self.next_launch(passed, now);
            }
            // Nothing was answered yet: the next daemon may be asked as this one was.
            Gone::Lost(_)
                if self.carried && !self.memory.ready && !self.unread && !self.host_over =>
            {
                self.next_launch(passed, now);
            }
            Gone::Ended { .. } if !self.memory.ready => {
                self.out.host(half);
                self.end_with(gone);
            }
            gone => {
                self.end_half_line(passed);
                // With a message that nobody read, nobody knows what is answered: then the end says it all.
                if !self.unread {
                    self.fail_everything("");
                }
                self.end_with(gone);
            }
        }
    }

    fn end_with(&mut self, gone: Gone) {
        match gone {
            Gone::Ended { code, .. } => self.out.end(code, None),
            Gone::Lost(failure) => self.out.end(failure.code, Some(failure)),
        }
    }

    /// No other attachment is to be had.
    pub(in crate::shim) fn refused(&mut self, failure: Failure) {
        self.fail_everything(&failure.message);
        let told = Told(&self.name, &self.why).to_string();
        let failure = Failure {
            message: format!("{told}, and the session cannot go on: {}", failure.message),
            ..failure
        };
        self.out.end(failure.code, Some(failure));
    }

    /// Nothing may go on as the host knows it.
    pub(super) fn end_session(&mut self, why: &str) {
        self.fail_everything(why);
        let failure = Failure::new(
            exit::ERROR,
            format!("the session with {:?} is over: {why}", self.name),
        )
        .hint("connect to the server again");
        self.out.end(failure.code, Some(failure));
    }

    pub(super) fn end_unread(&mut self) {
        self.end_session(&format!(
            "a message of more than {} MiB came while there was no launch to read it",
            srt_mcp::LONGEST / 1024 / 1024
        ));
    }

    /// Half a line of a dead server is nobody's; where its beginning has passed, it ends here.
    fn end_half_line(&mut self, passed: bool) {
        if passed {
            self.out.host(bytes::Bytes::from_static(b"\n"));
        }
    }

    /// Settles what the dead launch had, and asks for another one.
    fn next_launch(&mut self, passed: bool, now: Instant) {
        self.end_half_line(passed);
        self.past += 1;
        self.part = match self.part {
            Part::None => Part::None,
            Part::Passes | Part::Dropped => Part::Dropped,
        };
        self.out.to_server.clear();
        self.private.clear();
        self.lists.forget_checks();
        self.probed = None;
        self.renewal = None;
        let told = Told(&self.name, &self.why);
        let mut again = Vec::new();
        for mut call in self.calls.take() {
            match (&call.line, call.may_be_retried()) {
                (Some(line), true) => {
                    let bytes = line.clone();
                    call.tries += 1;
                    again.push(Line {
                        bytes,
                        calls: vec![call],
                        since: now,
                    });
                }
                _ => self.out.host(words::broken(&call, &told, Then::Again)),
            }
        }
        if !self.memory.ready && self.memory.initialized {
            // In the place where it stood: after initialize.
            let at = again.len().min(1);
            let bytes = srt_mcp::notification("notifications/initialized", None);
            again.insert(
                at,
                Line {
                    bytes,
                    calls: Vec::new(),
                    since: now,
                },
            );
        }
        self.held.put_first(again);
        let reason = told.to_string();
        take_back(&mut self.asked, &mut self.out, &reason);
        self.out.orders.push_back(Order::Reopen { because: reason });
    }

    /// Every request is answered: nothing will be done.
    fn fail_everything(&mut self, why: &str) {
        let told = Told(&self.name, &self.why);
        for call in self
            .calls
            .take()
            .into_iter()
            .chain(self.memory.take_listens())
        {
            self.out.host(words::broken(&call, &told, Then::Over(why)));
        }
        for call in self.held.overdue(|_| true) {
            self.out.host(words::unsent(
                &call,
                &told,
                Then::Over(why),
                PATIENCE.as_secs(),
            ));
        }
    }

    /// What has waited for too long is answered.
    pub(super) fn fail_held(&mut self, now: Instant) {
        let told = Told(&self.name, &self.why);
        for call in self.held.overdue(|since| now >= since + PATIENCE) {
            self.out
                .host(words::unsent(&call, &told, Then::Again, PATIENCE.as_secs()));
        }
    }
}

/// The host need not answer what a dead server asked.
fn take_back(asked: &mut Requests, out: &mut super::Out, reason: &str) {
    for id in asked.died() {
        let id: serde_json::Value = serde_json::from_str(id.raw()).unwrap_or_default();
        let params = json!({ "requestId": id, "reason": reason });
        out.host(srt_mcp::notification(
            "notifications/cancelled",
            Some(&params),
        ));
    }
}
