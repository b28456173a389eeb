//! A reference model of a session: a pure simulation of what a host may see, given what it wrote and what each launch
//! read and wrote. Written from the protocol and from what `srt` promises, not from its code.
//!
//! A session is the launches one after the other. At each moment the host sees the next line of the launch that serves,
//! or a line that `srt` says itself. What a launch wrote last may be lost with it, and nothing before. `srt` itself says
//! an error to a request that waits, and that a list has changed, and nothing else; an error to what a launch has read says
//! that the launch is over.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::launch::Launch;
use super::oracle::Asked;
use super::trace::{By, Event};

/// Methods that may be asked again: twice does what once does.
const SAFE: [&str; 12] = [
    "ping",
    "initialize",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
];

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_default()
}

fn is_answer(message: &Value) -> bool {
    message.get("id").is_some() && message.get("method").is_none()
}

fn is_list_changed(message: &Value) -> bool {
    message["method"]
        .as_str()
        .is_some_and(|method| method.ends_with("/list_changed"))
}

/// Where the trace and the launches' logs disagree with the model, a line each.
pub fn disagreements(trace: &[Event], launches: &[Launch]) -> Vec<String> {
    let mut model = Model {
        lines: launches
            .iter()
            .map(|l| l.wrote().map(parse).collect())
            .collect(),
        raw: launches.iter().map(|l| l.wrote().collect()).collect(),
        launch: 0,
        next: 0,
        open: HashMap::new(),
        asks: asks(trace),
        answered: HashSet::new(),
        delivered: delivered(launches),
        over: 0,
        faults: Vec::new(),
    };
    for (number, event) in trace.iter().enumerate() {
        match event.by {
            By::Host => model.host(&event.line),
            By::Server => model.server(number, &event.line),
        }
    }
    let mut faults = model.faults;
    faults.extend(delivery(trace, launches));
    faults
}

struct Model<'a> {
    lines: Vec<Vec<Value>>,
    raw: Vec<Vec<&'a str>>,
    /// The launch that serves.
    launch: usize,
    /// The first of its lines that the host has not seen.
    next: usize,
    open: HashMap<String, Asked>,
    /// The ids of all requests that the host makes, sooner or later.
    asks: HashSet<String>,
    answered: HashSet<String>,
    /// The last launch that read a request.
    delivered: HashMap<String, usize>,
    /// Launches before this one are known to be over: srt answered what they had read.
    over: usize,
    faults: Vec<String>,
}

fn asks(trace: &[Event]) -> HashSet<String> {
    let said = trace.iter().filter(|event| event.by == By::Host);
    said.map(|event| parse(&event.line))
        .filter(|message| message.get("method").is_some() && message.get("id").is_some())
        .map(|message| message["id"].to_string())
        .collect()
}

/// The last launch that read each request, by its id.
fn delivered(launches: &[Launch]) -> HashMap<String, usize> {
    let mut last = HashMap::new();
    for (number, launch) in launches.iter().enumerate() {
        for line in launch.read() {
            let message = parse(line);
            if message.get("method").is_some() && message.get("id").is_some() {
                last.insert(message["id"].to_string(), number);
            }
        }
    }
    last
}

impl Model<'_> {
    fn host(&mut self, line: &str) {
        let message = parse(line);
        if message.get("method").is_some() && message.get("id").is_some() {
            self.open
                .insert(message["id"].to_string(), Asked::of(&message));
        }
    }

    /// Whether a line that a launch wrote may be missing although later ones are there.
    fn may_be_kept(&self, message: &Value) -> bool {
        if is_answer(message) {
            // To a question of srt's own, or to one that is answered already; not to one that the host asks later.
            let id = message["id"].to_string();
            return !self.asks.contains(&id) || self.answered.contains(&id);
        }
        // In a launch that replaces another one, srt compares the lists itself.
        is_list_changed(message) && self.launch > 0
    }

    /// Where in a launch this line is, with nothing before it that the host misses.
    fn find(&self, launch: usize, from: usize, line: &str) -> Option<usize> {
        let raw = self.raw.get(launch).filter(|_| launch >= self.over)?;
        for (at, written) in raw.iter().enumerate().skip(from) {
            if *written == line {
                return Some(at);
            }
            let kept = launch > self.launch && is_list_changed(&self.lines[launch][at]);
            if !kept && !self.may_be_kept(&self.lines[launch][at]) {
                return None;
            }
        }
        None
    }

    fn server(&mut self, number: usize, line: &str) {
        let message = parse(line);
        if let Some(at) = self.find(self.launch, self.next, line) {
            self.next = at + 1;
        } else if is_list_changed(&message) && self.by_srt(&message) {
            // All launches write the same line: it does not tell that a later one serves.
        } else if let Some((launch, at)) = (self.launch + 1..self.raw.len())
            .find_map(|launch| Some((launch, self.find(launch, 0, line)?)))
        {
            self.launch = launch;
            self.next = at + 1;
        } else if self.by_srt(&message) {
            // In the place of a launch that read it and is over, hence the last word on that launch.
            let id = message["id"].to_string();
            if is_answer(&message)
                && let Some(launch) = self.delivered.get(&id)
            {
                self.over = self.over.max(launch + 1);
                let said = message["error"]["message"].as_str().unwrap_or_default();
                let call = self.open.get(&id).is_some_and(|asked| asked.tool.is_some());
                if call && !said.contains("may have had effects") {
                    self.faults.push(format!(
                        "line {number}: launch {launch} read the call, and nothing says that it may have had effects: {line}"
                    ));
                }
            }
        } else {
            self.faults.push(format!(
                "line {number}: no launch wrote it at this point (launch {}, its line {} is {:?}), and srt has no reason \
                 to: {line}",
                self.launch,
                self.next,
                self.raw.get(self.launch).and_then(|raw| raw.get(self.next)),
            ));
        }
        if is_answer(&message) {
            let id = message["id"].to_string();
            self.open.remove(&id);
            self.answered.insert(id);
        }
    }

    /// Whether srt may say this now.
    fn by_srt(&self, message: &Value) -> bool {
        if is_answer(message) {
            return message.get("error").is_some()
                && self.open.contains_key(&message["id"].to_string());
        }
        is_list_changed(message) && self.raw.len() > 1 && message.get("id").is_none()
    }
}

/// What reached the launches: the host's lines as they are and in order, nothing twice that may have effects, answers
/// only for who asked.
fn delivery(trace: &[Event], launches: &[Launch]) -> Vec<String> {
    let mut faults = Vec::new();
    let said: Vec<&str> = trace
        .iter()
        .filter(|event| event.by == By::Host)
        .map(|event| event.line.as_str())
        .collect();
    let own: HashSet<&str> = said.iter().copied().collect();
    let hello = said
        .iter()
        .map(|line| parse(line))
        .find(|message| message["method"] == "initialize");
    let mut calls = HashSet::new();
    // How far into the host's lines the launches have come.
    let mut far = 0;
    for (number, launch) in launches.iter().enumerate() {
        let mut asked: HashMap<String, Option<String>> = HashMap::new();
        let mut first = true;
        for entry in &launch.entries {
            use super::launch::Entry;
            match entry {
                Entry::Wrote(line) => {
                    let message = parse(line);
                    if message.get("method").is_some() && message.get("id").is_some() {
                        let nonce = &message["params"]["messages"][0]["content"]["text"];
                        let nonce = nonce.as_str().map(str::to_owned);
                        asked.insert(message["id"].to_string(), nonce);
                    }
                }
                Entry::Read(line) => {
                    let message = parse(line);
                    let method = message["method"].as_str().unwrap_or_default();
                    let mut fault = |text: &str| {
                        faults.push(format!("launch {number} read a line that {text}: {line}"));
                    };
                    if first && method != "initialize" {
                        fault("comes before initialize");
                    }
                    if first
                        && hello
                            .as_ref()
                            .is_some_and(|own| own["params"] != message["params"])
                    {
                        fault("is another initialize than the host's");
                    }
                    first = false;
                    if is_answer(&message) {
                        match asked.remove(&message["id"].to_string()) {
                            None => fault("answers what it did not ask"),
                            Some(Some(nonce)) => {
                                let text = message["result"]["content"]["text"].as_str();
                                if text.is_some_and(|text| text != nonce) {
                                    fault("answers another launch's question");
                                }
                            }
                            Some(None) => {}
                        }
                    }
                    if method == "tools/call" && !calls.insert(line.as_str()) {
                        fault("is a call that was made before");
                    }
                    if own.contains(line.as_str()) {
                        let again = said[..far].contains(&line.as_str());
                        match said[far..].iter().position(|own| own == line) {
                            Some(at) => far += at + 1,
                            None if again && (SAFE.contains(&method) || is_answer(&message)) => {}
                            None if again && message.get("id").is_none() => {}
                            None => fault("the host wrote before others that were read"),
                        }
                    } else if message.get("id").is_some()
                        && !is_answer(&message)
                        && !SAFE.contains(&method)
                    {
                        fault("the host did not write, and that is not harmless");
                    }
                }
                Entry::Began(_) | Entry::Part(_) => {}
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::launch::Entry;

    fn host(line: &str) -> Event {
        Event {
            by: By::Host,
            line: line.to_owned(),
        }
    }

    fn server(line: &str) -> Event {
        Event {
            by: By::Server,
            line: line.to_owned(),
        }
    }

    const HELLO: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"a":1}}"#;
    const WELCOME: &str = r#"{"jsonrpc":"2.0","id":0,"result":{}}"#;
    const ECHO: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#;
    const ECHOED: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"e":1}}"#;
    const LOST: &str =
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"it may have had effects"}}"#;
    const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

    fn launch(entries: &[(bool, &str)]) -> Launch {
        Launch {
            entries: entries
                .iter()
                .map(|(read, line)| match read {
                    true => Entry::Read((*line).to_owned()),
                    false => Entry::Wrote((*line).to_owned()),
                })
                .collect(),
        }
    }

    #[track_caller]
    fn check(trace: &[Event], launches: &[Launch], fault: Option<&str>) {
        let found = disagreements(trace, launches);
        match fault {
            None => assert!(found.is_empty(), "{found:#?}"),
            Some(part) => assert!(
                found.iter().any(|found| found.contains(part)),
                "{part}: {found:#?}"
            ),
        }
    }

    #[test]
    fn a_session_over_two_launches_is_agreed_to_and_each_deviation_is_not() {
        let trace = [
            host(HELLO),
            server(WELCOME),
            host(ECHO),
            server(LOST),
            server(CHANGED),
        ];
        let first = launch(&[
            (true, HELLO),
            (false, WELCOME),
            (true, ECHO),
            (false, ECHOED),
        ]);
        let replay = r#"{"jsonrpc":"2.0","id":"p","method":"initialize","params":{"a":1}}"#;
        let replied = r#"{"jsonrpc":"2.0","id":"p","result":{}}"#;
        let second = launch(&[(true, replay), (false, replied)]);
        check(&trace, &[first.clone(), second.clone()], None);
        // The answer that is lost with its launch comes after all.
        let mut late = trace.to_vec();
        late.push(server(ECHOED));
        check(
            &late,
            &[first.clone(), second.clone()],
            Some("no launch wrote it"),
        );
        // Without a second launch there is nothing that could have changed.
        check(
            &trace,
            std::slice::from_ref(&first),
            Some("srt has no reason"),
        );
        // A call that was made is said not to have been.
        let mut denied = trace.to_vec();
        denied[3] = server(r#"{"jsonrpc":"2.0","id":1,"error":{"message":"it was not sent"}}"#);
        check(
            &denied,
            &[first.clone(), second.clone()],
            Some("nothing says"),
        );
        // The reply to a question of srt's own is shown.
        let mut shown = trace.to_vec();
        shown.push(server(r#"{"jsonrpc":"2.0","method":"x"}"#));
        check(&shown, &[first.clone(), second], Some("no launch wrote it"));
        // The call is made a second time.
        let again = launch(&[(true, replay), (false, replied), (true, ECHO)]);
        check(&trace, &[first.clone(), again], Some("made before"));
        // Another initialize.
        let other = launch(&[(
            true,
            r#"{"jsonrpc":"2.0","id":"p","method":"initialize","params":{}}"#,
        )]);
        check(&trace, &[first.clone(), other], Some("another initialize"));
        // An answer for the launch before.
        let stray = launch(&[
            (true, replay),
            (true, r#"{"jsonrpc":"2.0","id":0,"result":{}}"#),
        ]);
        check(&trace, &[first, stray], Some("did not ask"));
    }

    #[test]
    fn what_srt_says_is_not_taken_for_what_the_launch_says_later() {
        let first = launch(&[(true, HELLO), (false, WELCOME)]);
        let replay = r#"{"jsonrpc":"2.0","id":"p","method":"initialize","params":{"a":1}}"#;
        let replied = r#"{"jsonrpc":"2.0","id":"p","result":{}}"#;
        let second = launch(&[
            (true, replay),
            (false, replied),
            (true, ECHO),
            (false, ECHOED),
            (false, CHANGED),
        ]);
        let trace = [
            host(HELLO),
            server(WELCOME),
            server(CHANGED),
            host(ECHO),
            server(ECHOED),
            server(CHANGED),
        ];
        check(&trace, &[first, second], None);
    }

    #[test]
    fn a_line_that_is_left_out_is_noticed() {
        let trace = [host(HELLO), server(WELCOME), host(ECHO), server(ECHOED)];
        let log = r#"{"jsonrpc":"2.0","method":"notifications/message"}"#;
        let launch = launch(&[
            (true, HELLO),
            (false, WELCOME),
            (true, ECHO),
            (false, log),
            (false, ECHOED),
        ]);
        check(&trace, &[launch], Some("no launch wrote it"));
    }
}
