//! The rules on tools, held against a list of them and against a call. Pure, as `talk` is.

use jiff::Timestamp;
use serde_json::value::RawValue;
use srt_mcp::{Tool as Listed, tool_list};
use srt_policy::ToolPolicy;

use super::book::{Book, LONGEST_NAME, Sight};
use super::calls::beginning;
use super::ruling::{Moment, Passes, Refusal, Rules, Ruling};
use super::talk::Talk;

/// A tool's name in a note, in bytes.
const SHOWN: usize = 128;

/// What passes of the answer to `tools/list`, which is `message`; what is told of its tools is noted.
///
/// # Errors
/// Why it cannot be read, as a clause.
pub(super) fn read_list(
    talk: &mut Talk,
    result: &RawValue,
    message: &[u8],
    rules: Rules<'_>,
    book: &mut Book,
    moment: Moment,
    ruling: &mut Ruling,
) -> Result<Passes, &'static str> {
    let list = tool_list(result)?;
    let keep: Vec<bool> = (list.tools.iter())
        .map(|tool| see(talk, tool, rules.tools, book, moment.at, ruling))
        .collect();
    if !rules.tools.judges() || keep.iter().all(|keep| *keep) {
        return Ok(Passes::AsItCame);
    }
    let mut keep = keep.into_iter();
    let instead = list.without(message, |_| keep.next().unwrap_or_default());
    Ok(Passes::Instead(instead))
}

/// Whether a tool is to be listed; without rules on tools, the answer is of no interest.
fn see(
    talk: &mut Talk,
    tool: &Listed<'_>,
    policy: &ToolPolicy,
    book: &mut Book,
    now: Timestamp,
    ruling: &mut Ruling,
) -> bool {
    let judged = policy.judges();
    let name = tool
        .name
        .as_deref()
        .filter(|name| name.len() <= LONGEST_NAME);
    let (Some(name), Some(definition)) = (name, &tool.definition) else {
        let name = tool
            .name
            .as_deref()
            .map_or("a tool".to_owned(), |name| beginning(name, SHOWN));
        if judged && talk.tells(&format!("{name}: unclear")) {
            let why =
                "what the server says of it has more than one reading, or its name is too long";
            ruling.refused.push(Refusal::new(&name, why));
        }
        return false;
    };
    let denied = policy.decide(name).err();
    // What is denied is known of all the same, but nobody has seen what it says: it is not accepted by that.
    let pin = policy.pin.is_some() && denied.is_none();
    let (sight, row) = book.see(&talk.server, name, definition, pin, now);
    ruling.rows.extend(row);
    let shown = beginning(name, SHOWN);
    if let Some(denial) = denied {
        let note = format!("tools: {shown:?} is not listed: {}", denial.reason);
        if talk.tells(&note) {
            ruling.notes.push(note);
        }
        return false;
    }
    match sight {
        Sight::Good => true,
        Sight::Changed => {
            if talk.tells(&format!("{shown}: {}", definition.digest)) {
                ruling.refused.push(changed(&talk.server, name));
            }
            false
        }
        Sight::TooMany => {
            if talk.tells("too many tools") {
                let why = "the server lists more tools than can be pinned";
                ruling.refused.push(Refusal::new(name, why));
            }
            false
        }
    }
}

/// Whether a tool may be called.
///
/// # Errors
/// Why it may not.
pub(super) fn judge_call(
    server: &str,
    name: &str,
    policy: &ToolPolicy,
    book: &mut Book,
    now: Timestamp,
    ruling: &mut Ruling,
) -> Result<(), Refusal> {
    if let Err(denial) = policy.decide(name) {
        let mut refusal =
            Refusal::new(name, format!("policy does not allow it: {}", denial.reason));
        refusal.rule = denial
            .rule
            .map(|(key, text, origin)| format!("{key} {text:?}, {origin}"));
        refusal.remedy = Some(match refusal.rule {
            Some(_) => "A person can change that entry in the settings file.".to_owned(),
            None => format!(
                "A person can add {:?} to mcp.tools.allow in the settings file.",
                beginning(name, SHOWN)
            ),
        });
        return Err(refusal);
    }
    if policy.pin.is_none() {
        return Ok(());
    }
    match book.call(name, now) {
        Ok((Sight::Changed, _)) => Err(changed(server, name)),
        Ok((_, row)) => {
            ruling.rows.extend(row);
            Ok(())
        }
        Err(()) => {
            let why = "the server has never listed it, and only what it has listed may be called (mcp.pinTools)";
            let mut refusal = Refusal::new(name, why);
            refusal.remedy = Some("List the tools first.".to_owned());
            Err(refusal)
        }
    }
}

fn changed(server: &str, name: &str) -> Refusal {
    let why = "what the server says of it has changed since it was accepted (mcp.pinTools)";
    let mut refusal = Refusal::new(name, why);
    refusal.remedy = Some(format!(
        "A person can look at the change with \"srtctl tools {server}\" and accept it with \"srtctl tools {server} --accept {}\".",
        beginning(name, SHOWN)
    ));
    refusal
}
