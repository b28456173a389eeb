//! A conversation, line by line: what passes, what is answered instead, and what there is to record. Pure: the time, the
//! rules and what is known of the server's tools are arguments.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use serde_json::value::RawValue;
use srt_mcp::{Details, Id, Message, clear, one_reading, read};

use super::book::{Book, LONGEST_NAME};
use super::calls::{Asked, Call, Calls, Came, Side, beginning};
use super::item::{Item, batch, came, contents, same};
use super::listing;
use super::ruling::{Moment, Passes, Refusal, Rules, Ruling};

/// "Server error" of the range that JSON-RPC leaves to implementations; -32020 and below are MCP's.
pub(super) const REFUSED: i32 = -32000;
/// News of so many tools is told once; beyond, nothing is remembered to have been told.
const TOLD: usize = 10_000;

const CALL: &str = "tools/call";
const LIST: &str = "tools/list";
const CANCELLED: &str = "notifications/cancelled";

/// The conversation of one launch.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) server: String,
    pub(super) calls: Calls,
    /// What was told already, so that a server cannot fill the log by listing again.
    told: HashSet<String>,
}

impl Talk {
    pub(super) fn new(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            calls: Calls::default(),
            told: HashSet::new(),
        }
    }

    /// Whether this is news.
    pub(super) fn tells(&mut self, what: &str) -> bool {
        if self.told.len() >= TOLD {
            self.told.clear();
        }
        self.told.insert(what.to_owned())
    }

    /// A line of the host's.
    pub(super) fn host_says(
        &mut self,
        line: &[u8],
        rules: Rules<'_>,
        book: &mut Book,
        moment: Moment,
    ) -> Ruling {
        self.rule(line, rules, |talk, item, ruling| {
            talk.of_host(item, rules, book, moment, ruling)
        })
    }

    /// A line of the server's.
    pub(super) fn server_says(
        &mut self,
        line: &[u8],
        rules: Rules<'_>,
        book: &mut Book,
        moment: Moment,
    ) -> Ruling {
        self.rule(line, rules, |talk, item, ruling| {
            talk.of_server(item, rules, book, moment, ruling)
        })
    }

    /// A line, or each message of a batch.
    fn rule(
        &mut self,
        line: &[u8],
        rules: Rules<'_>,
        mut one: impl FnMut(&mut Self, &Item<'_>, &mut Ruling) -> Passes,
    ) -> Ruling {
        let mut ruling = Ruling::default();
        let judged = rules.tools.judges();
        let Some(Message::Batch(items)) = read(line) else {
            let item = Item::of(line, judged);
            ruling.messages = u64::from(item.message.is_ok());
            ruling.passes = one(self, &item, &mut ruling);
            return ruling;
        };
        if judged && let Err(why) = one_reading(line) {
            ruling.refused.push(Refusal::new("a batch", why));
            ruling.passes = Passes::Nothing;
            return ruling;
        }
        ruling.messages = items.len() as u64;
        let mut kept: Vec<Cow<'_, [u8]>> = Vec::with_capacity(items.len());
        let mut as_it_came = true;
        for item in &items {
            let bytes = item.get().as_bytes();
            let passes = one(self, &Item::of(bytes, judged), &mut ruling);
            as_it_came &= passes == Passes::AsItCame;
            match passes {
                Passes::AsItCame => kept.push(bytes.into()),
                Passes::Instead(instead) => kept.push(instead.to_vec().into()),
                Passes::Nothing => {}
            }
        }
        if !as_it_came {
            ruling.passes = match kept.is_empty() {
                true => Passes::Nothing,
                false => Passes::Instead(batch(&kept)),
            };
        }
        ruling
    }

    /// What passes of a message of the host's.
    fn of_host(
        &mut self,
        item: &Item<'_>,
        rules: Rules<'_>,
        book: &mut Book,
        moment: Moment,
        ruling: &mut Ruling,
    ) -> Passes {
        let judged = rules.tools.judges();
        match &item.message {
            Ok(Message::Request { id, method, params }) => {
                let wanted = method == CALL || !self.calls.is_ready();
                let details = wanted
                    .then(|| Details::of(*params))
                    .flatten()
                    .unwrap_or_default();
                let name = details.name.as_deref().filter(|_| method == CALL);
                let asked = Asked {
                    id,
                    method,
                    tool: name,
                    opens: method == "initialize"
                        || method == "server/discover"
                        || details.modern.is_some(),
                    bytes: item.bytes.len(),
                    params: contents(rules, *params),
                };
                let verdict = match judged {
                    true => self.judge_request(method, name, *params, rules, book, moment, ruling),
                    false => Ok(()),
                };
                if let Err(refusal) = verdict {
                    ruling.answers.push(self.explain(id, name, &refusal));
                    let call = Call::new(&asked, moment.now);
                    ruling
                        .over
                        .push(call.over(Side::Host, Came::Refused, moment.now));
                    ruling.refused.push(refusal);
                    return Passes::Nothing;
                }
                let followed = self.calls.asked(Side::Host, &asked, moment.now);
                if judged && !followed {
                    // An answer of ours would be taken for that of the request which has the id.
                    let why = "its id is in use, or too many requests are under way";
                    ruling.refused.push(Refusal::new(method, why));
                    return Passes::Nothing;
                }
                Passes::AsItCame
            }
            Ok(Message::Notification { method, params }) => {
                if method == CANCELLED
                    && let Some(id) = Details::of(*params).and_then(|details| details.request_id)
                {
                    ruling
                        .over
                        .extend(self.calls.cancelled(Side::Host, &id, moment.now));
                }
                // Nobody is answered, and a server may carry it out all the same.
                if judged && (same(method, CALL) || same(method, LIST)) {
                    let why = "it is sent as a notification, to which nobody could answer";
                    ruling.refused.push(Refusal::new(method, why));
                    return Passes::Nothing;
                }
                Passes::AsItCame
            }
            Ok(Message::Response { id, outcome }) => {
                let (came, text) = came(outcome, false);
                let answer = (item.bytes.len(), contents(rules, Some(text)));
                let over = self
                    .calls
                    .answered(Side::Server, id, came, answer, moment.now);
                ruling.over.extend(over);
                Passes::AsItCame
            }
            Ok(Message::Batch(_)) => within_a_batch(judged, ruling),
            Err(why) => {
                if !judged || item.is_blank() {
                    return Passes::AsItCame;
                }
                let refusal = Refusal::new("a message", *why);
                if let Some(id) = item.presumed_id() {
                    ruling.answers.push(self.explain(&id, None, &refusal));
                }
                ruling.refused.push(refusal);
                Passes::Nothing
            }
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "they are what a ruling is made of"
    )]
    fn judge_request(
        &self,
        method: &str,
        name: Option<&str>,
        params: Option<&RawValue>,
        rules: Rules<'_>,
        book: &mut Book,
        moment: Moment,
        ruling: &mut Ruling,
    ) -> Result<(), Refusal> {
        if (same(method, CALL) && method != CALL) || (same(method, LIST) && method != LIST) {
            let why = "its method differs from one of the protocol's in case alone";
            return Err(Refusal::new(method, why));
        }
        if method != CALL {
            return Ok(());
        }
        let params = params.map_or("null", RawValue::get);
        if let Err(why) = clear(params, &["name", "arguments"]) {
            return Err(Refusal::new(method, format!("of its parameters: {why}")));
        }
        let Some(name) = name.filter(|name| name.len() <= LONGEST_NAME) else {
            return Err(Refusal::new(method, "it names no tool"));
        };
        listing::judge_call(&self.server, name, rules.tools, book, moment.at, ruling)
    }

    /// What passes of a message of the server's.
    fn of_server(
        &mut self,
        item: &Item<'_>,
        rules: Rules<'_>,
        book: &mut Book,
        moment: Moment,
        ruling: &mut Ruling,
    ) -> Passes {
        let judged = rules.tools.judges();
        match &item.message {
            Ok(Message::Response { id, outcome }) => {
                let Some(call) = self.calls.get(Side::Host, id) else {
                    if !judged {
                        return Passes::AsItCame;
                    }
                    let why = "it answers nothing that was asked";
                    ruling.refused.push(Refusal::new("an answer", why));
                    return Passes::Nothing;
                };
                let (lists, opens) = (call.method == LIST, call.opens);
                let (came, text) = came(outcome, call.method == CALL);
                if opens && came == Came::Done {
                    self.calls.set_ready();
                }
                let mut passes = Passes::AsItCame;
                if lists && let Ok(result) = outcome {
                    let list =
                        listing::read_list(self, result, item.bytes, rules, book, moment, ruling);
                    match list {
                        Ok(instead) => passes = instead,
                        Err(why) if judged => {
                            let refusal = Refusal::new(LIST, format!("of its answer: {why}"));
                            self.refuse_answer(id, refusal, moment, ruling);
                            return Passes::Nothing;
                        }
                        Err(_) => {}
                    }
                }
                let answer = (item.bytes.len(), contents(rules, Some(text)));
                let over = (self.calls).answered(Side::Host, id, came, answer, moment.now);
                ruling.over.extend(over);
                passes
            }
            Ok(Message::Request { id, method, params }) => {
                let asked = Asked {
                    id,
                    method,
                    tool: None,
                    opens: false,
                    bytes: item.bytes.len(),
                    params: contents(rules, *params),
                };
                self.calls.asked(Side::Server, &asked, moment.now);
                Passes::AsItCame
            }
            Ok(Message::Notification { method, params }) => {
                if method == CANCELLED
                    && let Some(id) = Details::of(*params).and_then(|details| details.request_id)
                {
                    let over = self.calls.cancelled(Side::Server, &id, moment.now);
                    ruling.over.extend(over);
                }
                Passes::AsItCame
            }
            Ok(Message::Batch(_)) => within_a_batch(judged, ruling),
            Err(why) => {
                if !judged || item.is_blank() {
                    return Passes::AsItCame;
                }
                let refusal = Refusal::new("a message of the server", *why);
                match item.presumed_id() {
                    Some(id) if self.calls.get(Side::Host, &id).is_some() => {
                        self.refuse_answer(&id, refusal, moment, ruling);
                    }
                    _ => ruling.refused.push(refusal),
                }
                Passes::Nothing
            }
        }
    }

    /// Answers a request whose own answer does not pass.
    fn refuse_answer(&mut self, id: &Id, refusal: Refusal, moment: Moment, ruling: &mut Ruling) {
        let message = format!(
            "srt: the answer of {:?} was not passed on: {}. The request was carried out; trying again gives the same.",
            self.server, refusal.reason
        );
        // Nobody waits for the answer to a request that was cancelled.
        if let Some(over) =
            (self.calls).answered(Side::Host, id, Came::Refused, (0, None), moment.now)
        {
            ruling
                .answers
                .push(srt_mcp::error(id, REFUSED, &message, None));
            ruling.over.push(over);
        }
        ruling.refused.push(refusal);
    }

    /// The answer to a request that is refused: a host shows it to its model.
    fn explain(&self, id: &Id, tool: Option<&str>, refusal: &Refusal) -> Bytes {
        let what = match tool {
            Some(tool) => format!(
                "the tool {:?} of {:?} was not called",
                beginning(tool, 128),
                self.server
            ),
            None => format!(
                "{:?} was not passed on to {:?}",
                refusal.subject, self.server
            ),
        };
        let rule = refusal.rule.as_ref().map(|rule| format!(" ({rule})"));
        let remedy = (refusal.remedy.as_ref()).map(|remedy| format!(" {remedy}"));
        let message = format!(
            "srt: {what}: {}{}. Nothing was done, and trying again does not help.{}",
            refusal.reason,
            rule.unwrap_or_default(),
            remedy.unwrap_or_default(),
        );
        srt_mcp::error(id, REFUSED, &message, None)
    }
}

/// A batch has messages and no batches.
fn within_a_batch(judged: bool, ruling: &mut Ruling) -> Passes {
    if !judged {
        return Passes::AsItCame;
    }
    let why = "it is a batch within a batch";
    ruling.refused.push(Refusal::new("a batch", why));
    Passes::Nothing
}
