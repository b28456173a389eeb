//! A conversation in its surroundings: each line is judged by the rules of the moment, and what there is to record of it
//! is recorded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use srt_mcp::Mode;
use srt_policy::Policy;

use super::books::{SharedBook, pinned};
use super::calls::{Came, Over, Side};
use super::ruling::{Moment, Passes, Refusal, Rules, Ruling};
use super::talk::Talk;
use crate::audit::{Called, Denial, Entry};
use crate::store::{StoreError, Stream, Tool};
use crate::supervisor::{Control, Shared, Tap};

/// What became of a line, once all that must be recorded before it passes is.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) passes: Passes,
    /// Lines of ours for the host.
    pub(super) answers: Vec<Bytes>,
}

/// The surroundings of one conversation.
#[derive(Debug)]
pub(super) struct Scene {
    shared: Arc<Shared>,
    pub(super) control: Control,
    /// Where a line for the host's person goes.
    tap: Tap,
    book: SharedBook,
    talk: Mutex<Talk>,
    /// What the host's side was found to be.
    mode: Mutex<Mode>,
}

impl Scene {
    /// # Errors
    /// When what is known of the server's tools cannot be read.
    pub(super) async fn new(
        shared: &Arc<Shared>,
        server: &str,
        control: &Control,
        tap: &Tap,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            shared: shared.clone(),
            control: control.clone(),
            tap: tap.clone(),
            book: shared.books.of(&shared.store, server).await?,
            talk: Mutex::new(Talk::new(server)),
            mode: Mutex::new(Mode::Unknown),
        })
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the host's side was found to be.
    pub(super) fn mode(&self) -> Mode {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is this.
    pub(super) fn found(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// Whether the rules of this moment look at each message before it passes.
    pub(super) fn judges(&self) -> bool {
        self.control.rules.current().tools.judges()
    }

    /// A line that may be a message: what becomes of it. When this returns, it may pass.
    pub(super) async fn judge(&self, side: Side, line: &[u8]) -> Judged {
        let policy = self.control.rules.current();
        let rules = Rules {
            tools: &policy.tools,
            audit: policy.audit.mcp,
        };
        let moment = Moment {
            now: Instant::now(),
            at: Timestamp::now(),
        };
        let ruling = {
            let mut talk = self.talk();
            let mut book = self.book.lock();
            let ruling = match side {
                Side::Host => talk.host_says(line, rules, &mut book, moment),
                Side::Server => talk.server_says(line, rules, &mut book, moment),
            };
            self.control.activity.stands(talk.calls.standing());
            ruling
        };
        match side {
            Side::Host => self.control.activity.to_server(ruling.messages),
            Side::Server => self.control.activity.to_host(ruling.messages),
        }
        let Ruling {
            mut passes,
            answers,
            over,
            refused,
            rows,
            notes,
            ..
        } = ruling;
        for over in &over {
            if over.asked_by == Side::Host && over.is_answered() {
                self.control.activity.called(over.took);
            }
        }
        if rules.audit != srt_policy::McpAudit::Off {
            self.tell(&over, moment.at).await;
        }
        for refusal in &refused {
            self.refused(refusal, &policy, moment.at).await;
        }
        for note in notes {
            self.log(note).await;
        }
        if !rows.is_empty()
            && let Err(error) = self.write_down(rows, rules, moment.at).await
        {
            // What was not written down could be changed unnoticed.
            let why = format!("what the server says of its tools cannot be recorded: {error}");
            tracing::error!(server = self.server(), %error, "cannot record tools");
            self.control.stop(&why);
            passes = Passes::Nothing;
        }
        Judged { passes, answers }
    }

    /// A part of something that cannot be judged, under rules that judge. What is no message is not passed on; a
    /// message that is too long ends the session, for its end could not be told.
    pub(super) async fn unjudgeable(&self, side: Side, bytes: &[u8]) {
        let of = match side {
            Side::Host => "the host",
            Side::Server => "the server",
        };
        let first = bytes.trim_ascii_start().first();
        if matches!(first, Some(b'{' | b'[')) {
            let most = srt_mcp::LONGEST >> 20;
            self.control.stop(&format!(
                "a message of {of} has more than {most} MiB: it cannot be judged, as mcp.tools and mcp.pinTools want"
            ));
        }
        let what = format!("a line of {of}");
        let news = self.talk().tells(&what);
        if news {
            let refusal = Refusal::new(
                &what,
                "it is no message, and mcp.tools and mcp.pinTools let only messages pass",
            );
            let policy = self.control.rules.current();
            self.refused(&refusal, &policy, Timestamp::now()).await;
        }
    }

    /// Since when the server owes the host an answer that shows that it is ready, and to which method. None where it owes
    /// none, or has shown it.
    pub(super) fn opening(&self) -> Option<(String, Instant)> {
        let talk = self.talk();
        let opening = talk.calls.opening().filter(|_| !talk.calls.is_ready());
        opening.map(|(method, since)| (method.to_owned(), since))
    }

    /// The server takes too long, and is ended: the host's person may read why.
    pub(super) fn gives_up(&self, why: &str) {
        let server = self.server();
        self.tap.note(format!("srt: {server:?} is ended: {why}"));
    }

    /// The answers to all that the host has asked, of a server that was ended before it was ready.
    pub(super) fn given_up(&self, why: &str) -> Vec<Bytes> {
        let talk = self.talk();
        let message = format!(
            "srt: the MCP server {:?} was ended: {why}. Nothing was done. \"srtctl logs {}\" tells what it wrote.",
            talk.server, talk.server
        );
        let ids = talk.calls.unanswered();
        ids.map(|id| srt_mcp::error(id, super::talk::REFUSED, &message, None))
            .collect()
    }

    /// The launch has ended: requests that nobody will answer.
    pub(super) async fn over(&self) {
        let lost = self.talk().calls.lost(Instant::now());
        if self.control.rules.current().audit.mcp != srt_policy::McpAudit::Off {
            self.tell(&lost, Timestamp::now()).await;
        }
    }

    fn server(&self) -> &str {
        &self.control.rules.server
    }

    async fn tell(&self, over: &[Over], at: Timestamp) {
        for over in over.iter().filter(|over| over.is_told()) {
            let code = match over.came {
                Came::Error(code) => code,
                _ => None,
            };
            let micros = over.took.as_micros();
            let entry = Called {
                method: &over.call.method,
                tool: over.call.tool.as_deref(),
                asked_by: (over.asked_by == Side::Server).then_some("server"),
                id: &over.call.id,
                outcome: over.came.word(),
                generation: self.control.rules.current().generation(),
                code,
                duration_ms: u64::try_from(micros.div_ceil(1000)).unwrap_or(u64::MAX),
                bytes_asked: over.bytes_asked,
                bytes_answered: over.bytes_answered,
                params: over.params.as_deref(),
                answer: over.answer.as_deref(),
            }
            .entry(at, self.server(), self.control.id);
            self.submit(entry).await;
        }
    }

    async fn refused(&self, refusal: &Refusal, by: &Policy, at: Timestamp) {
        let entry = Denial {
            front_end: "mcp",
            reason: &refusal.reason,
            rule: refusal.rule.as_deref(),
            remedy: refusal.remedy.as_deref(),
            generation: by.generation(),
        }
        .entry(at, self.server(), self.control.id, &refusal.subject);
        self.submit(entry).await;
        let line = format!(
            "mcp: {:?} did not pass: {}",
            refusal.subject, refusal.reason
        );
        self.tap.note(format!("srt: {line}"));
        self.log(line).await;
    }

    async fn log(&self, line: String) {
        let launch = Some(self.control.id);
        self.shared
            .log(self.server(), launch, Stream::Daemon, line)
            .await;
    }

    async fn submit(&self, entry: Entry) {
        if let Err(error) = self.shared.store.submit(entry).await {
            tracing::error!(%error, server = self.server(), "cannot record a call");
        }
    }

    /// Writes down what is new of tools. Where tools are pinned it is durable when this returns.
    async fn write_down(
        &self,
        rows: Vec<Tool>,
        rules: Rules<'_>,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        if rules.tools.pin.is_none() {
            return self.shared.store.note_tools(rows).await;
        }
        let is_first =
            |tool: &&Tool| (tool.accepted.as_ref()).is_some_and(|accepted| accepted.at == at);
        let first: Vec<Tool> = rows.iter().filter(is_first).cloned().collect();
        let entry = (!first.is_empty()).then(|| {
            let generation = self.control.rules.current().generation();
            pinned(self.server(), &first, "first sight", generation, at).launch(self.control.id)
        });
        self.shared.store.put_tools(rows, entry).await
    }
}
