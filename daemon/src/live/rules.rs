//! What one launch's traffic is decided by: the network half of a settings file, and the grants that hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use srt_policy::{NetworkPolicy, Policy};
use srt_runtime::NetworkHandle;
use tokio::sync::watch;
use uuid::Uuid;

use super::grants::Grants;
use super::places::Seen;
use crate::generations::Place;
use crate::layered::Choice;
use crate::policies::{Generation, Loaded};

/// Of the network half, what a sandbox is built with: it cannot change while it runs.
const BUILT_IN_SANDBOX: [&str; 3] = [
    "network.allowUnixSockets",
    "network.allowAllUnixSockets",
    "network.allowLocalBinding",
];

/// The rules of one launch.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) launch: Uuid,
    pub(crate) server: String,
    /// Which settings were asked for.
    pub(crate) choice: Choice,
    pub(crate) cwd: PathBuf,
    /// What its program needs in order to run.
    pub(crate) program: Vec<PathBuf>,
    grants: Arc<Grants>,
    /// What changed and needs another launch; told to who follows.
    needs: watch::Sender<Vec<String>>,
    /// Held by who reads the settings files, until what they say is in force.
    pub(super) reading: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What the sandbox was built by: its files, environment and limits stay so.
    begun: Arc<Policy>,
    /// Whose network half is in force.
    current: Arc<Policy>,
    generation: Generation,
    /// That half, with the grants.
    network: Arc<NetworkPolicy>,
    /// Where it is put in force; none before the sandbox is there.
    handle: Option<NetworkHandle>,
    trouble: Option<String>,
    next_start: Vec<String>,
    /// The settings files as they were when they were last read.
    seen: Seen,
}

/// What a settings file that was read anew came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It says what is in force. Whether it could not be used before.
    Same { recovered: bool },
    /// Its network half is in force.
    Changed {
        before: Generation,
        next_start: Vec<String>,
    },
}

/// What `status` tells.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) generation: Generation,
    pub(crate) trouble: Option<String>,
    pub(crate) next_start: Vec<String>,
}

/// A launch that begins.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) launch: Uuid,
    pub(crate) server: String,
    pub(crate) choice: Choice,
    pub(crate) cwd: PathBuf,
    pub(crate) program: Vec<PathBuf>,
    /// The settings files, looked at before they were read.
    pub(crate) seen: Seen,
}

impl Rules {
    pub(super) fn new(beginning: Beginning, loaded: &Loaded, grants: Arc<Grants>) -> Self {
        let Beginning {
            launch,
            server,
            choice,
            cwd,
            program,
            seen,
        } = beginning;
        let network = with_grants(&loaded.policy, &grants, &server, launch);
        Self {
            state: Mutex::new(State {
                begun: loaded.policy.clone(),
                current: loaded.policy.clone(),
                generation: loaded.generation.clone(),
                network,
                handle: None,
                trouble: None,
                next_start: Vec::new(),
                seen,
            }),
            launch,
            server,
            choice,
            cwd,
            program,
            grants,
            needs: watch::Sender::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Where and by what it was launched.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            server: &self.server,
            cwd: &self.cwd,
            settings: self.choice.settings.as_deref(),
        }
    }

    /// The keys whose change needs another launch, and every change of them.
    pub(crate) fn needs(&self) -> watch::Receiver<Vec<String>> {
        self.needs.subscribe()
    }

    /// The keys that changed since its beginning and are in force.
    pub(crate) fn changed(&self) -> Vec<&'static str> {
        let state = self.lock();
        differing(&state.begun, &state.current)
            .filter(|key| is_live(key))
            .collect()
    }

    /// What is in force, whole.
    pub(crate) fn loaded(&self) -> Loaded {
        let state = self.lock();
        Loaded {
            policy: state.current.clone(),
            warnings: Vec::new(),
            notes: Vec::new(),
            generation: state.generation.clone(),
        }
    }

    /// The policy whose live half is in force.
    pub(crate) fn current(&self) -> Arc<Policy> {
        self.lock().current.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What decides at this moment.
    pub(crate) fn network(&self) -> Arc<NetworkPolicy> {
        self.lock().network.clone()
    }

    /// The policy that the sandbox was built by.
    pub(crate) fn begun(&self) -> Arc<Policy> {
        self.lock().begun.clone()
    }

    pub(crate) fn standing(&self) -> Standing {
        let state = self.lock();
        Standing {
            generation: state.generation.clone(),
            trouble: state.trouble.clone(),
            next_start: state.next_start.clone(),
        }
    }

    /// The sandbox is there: what came to be in force meanwhile is, from now on.
    pub(crate) fn enforce(&self, handle: NetworkHandle) {
        let mut state = self.lock();
        handle.set(state.network.clone());
        state.handle = Some(handle);
    }

    /// Reads the grants anew. When it returns, they are in force.
    pub(super) fn regrant(&self) {
        let mut state = self.lock();
        self.put_in_force(&mut state);
    }

    /// Takes a settings file over that was read anew. When it returns, its network half is in force.
    pub(super) fn take(&self, loaded: &Loaded) -> Taken {
        let mut state = self.lock();
        let recovered = state.trouble.take().is_some();
        if state.generation == loaded.generation {
            return Taken::Same { recovered };
        }
        let before = state.generation.clone();
        state.next_start = next_start(&state.begun, &loaded.policy);
        state.current = loaded.policy.clone();
        state.generation = loaded.generation.clone();
        self.put_in_force(&mut state);
        self.needs.send_if_modified(|needs| {
            let changed = *needs != state.next_start;
            needs.clone_from(&state.next_start);
            changed
        });
        Taken::Changed {
            before,
            next_start: state.next_start.clone(),
        }
    }

    fn put_in_force(&self, state: &mut State) {
        // Asked under the lock: of two that come at once, neither puts an older answer in force after a newer one.
        state.network = with_grants(&state.current, &self.grants, &self.server, self.launch);
        if let Some(handle) = &state.handle {
            handle.set(state.network.clone());
        }
    }

    /// Notes why a changed settings file is not taken over. The generation that stays, where that is news.
    pub(super) fn trouble(&self, why: &str) -> Option<Generation> {
        let mut state = self.lock();
        if state.trouble.as_deref() == Some(why) {
            return None;
        }
        state.trouble = Some(why.to_owned());
        Some(state.generation.clone())
    }

    /// Whether the settings files look different from when they were last read and what they said was settled.
    pub(super) fn differ_from(&self, seen: &Seen) -> bool {
        self.lock().seen != *seen
    }

    /// Notes how the settings files looked before they were read; what they say is settled.
    pub(super) fn were_read(&self, seen: Seen) {
        self.lock().seen = seen;
    }
}

/// Grants are answers to questions: where the settings do not ask, they say all there is to say.
pub(super) fn with_grants(
    policy: &Policy,
    grants: &Grants,
    server: &str,
    launch: Uuid,
) -> Arc<NetworkPolicy> {
    let network = &policy.network;
    Arc::new(if network.asks() {
        network.with_grants(&grants.of(server, launch, Timestamp::now()))
    } else {
        network.clone()
    })
}

/// The keys that two policies say different things of.
fn differing(begun: &Policy, now: &Policy) -> impl Iterator<Item = &'static str> {
    let lines = |policy: &Policy| {
        let mut lines: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for line in policy.lines() {
            // Which of the daemon's files are closed is its own affair.
            if line.key != "built-in.protected" {
                lines.entry(line.key).or_default().push(line.value);
            }
        }
        lines
    };
    let (before, after) = (lines(begun), lines(now));
    let keys: BTreeSet<&'static str> = before.keys().chain(after.keys()).copied().collect();
    keys.into_iter()
        .filter(move |key| before.get(key) != after.get(key))
}

/// The keys whose change a running sandbox does not take over.
fn next_start(begun: &Policy, now: &Policy) -> Vec<String> {
    let mut changed: Vec<String> = differing(begun, now)
        .filter(|key| !is_live(key))
        .map(str::to_owned)
        .collect();
    // A sandbox has a loopback of its own, and a socket there for each address that its settings named at its start.
    let (was, is) = (&begun.network, &now.network);
    let had = was.loopback_listeners();
    for address in is.loopback_listeners() {
        if !had.contains(&address) {
            changed.push(format!("network.allowedDomains ({address})"));
        }
    }
    let had = was.udp_ports();
    for port in is.udp_ports() {
        if !had.contains(&port) {
            changed.push(format!("network.allowedUdp (port {port})"));
        }
    }
    changed
}

/// What is asked of the policy in force, or of the next attachment, and of no sandbox.
const OF_THE_SUPERVISOR: [&str; 3] = [
    "runtime.restart",
    "runtime.healthTimeoutSeconds",
    "runtime.warm",
];

/// What the daemon as a whole goes by.
const OF_THE_DAEMON: [&str; 3] = ["audit.retain", "audit.otlp.", "audit.anchor."];

/// Whether a change of a key reaches what runs.
fn is_live(key: &str) -> bool {
    if OF_THE_SUPERVISOR.contains(&key) {
        return true;
    }
    let live = ["network.", "tls.", "strict", "mcp.", "audit.mcp"];
    live.iter()
        .chain(&OF_THE_DAEMON)
        .any(|prefix| key.starts_with(prefix))
        && !BUILT_IN_SANDBOX.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_policy::{Decision, Facts, Host, Source, Target, compile};

    fn loaded(number: u64, text: &str) -> Loaded {
        let facts = Facts {
            home: "/home/u".into(),
            cwd: "/home/u/p".into(),
            protected: Vec::new(),
            program: Vec::new(),
            macos: false,
        };
        let source = Source {
            path: "/s.json".into(),
            text: text.into(),
        };
        let policy = compile(Some(&source), &facts).unwrap().policy;
        Loaded {
            generation: Generation {
                source: "/s.json".into(),
                digest: policy.digest().to_owned(),
                number,
                ..Generation::default()
            },
            policy: Arc::new(policy),
            warnings: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn the_halves_that_a_running_sandbox_keeps_are_named() {
        let base = r#"{"network": {"allowedDomains": ["a.example"]}, "filesystem": {"allowWrite": ["."]}}"#;
        let check = |text: &str, expected: &[&str]| {
            let changed = next_start(&loaded(1, base).policy, &loaded(2, text).policy);
            assert_eq!(changed, expected, "{text}");
        };
        check(base, &[]);
        check(
            r#"{"network": {"allowedDomains": ["b.example"], "deniedDomains": ["c.example"]}, "filesystem": {"allowWrite": ["."]}}"#,
            &[],
        );
        check(
            r#"{"network": {"allowedDomains": ["a.example"]}, "filesystem": {"allowWrite": ["./x"], "denyRead": ["/y"]}}"#,
            &["filesystem.allowWrite", "filesystem.denyRead"],
        );
        check(
            r#"{"network": {"allowedDomains": ["a.example", "127.0.0.1:3000"], "allowedUdp": ["a.example:5000"]}, "filesystem": {"allowWrite": ["."]}}"#,
            &[
                "network.allowedDomains (127.0.0.1:3000)",
                "network.allowedUdp (port 5000)",
            ],
        );
        check(
            r#"{"network": {"allowedDomains": ["a.example"], "allowUnixSockets": ["/x.sock"]}, "filesystem": {"allowWrite": ["."]}}"#,
            &["network.allowUnixSockets"],
        );
    }

    #[tokio::test]
    async fn grants_count_where_the_settings_ask_and_nowhere_else() {
        use super::super::grants::{Draft, Who};
        use crate::audit::{Entry, Kind};
        use crate::store::{Scope, Store};

        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state/srt.db"))
            .await
            .unwrap();
        let grants = Arc::new(Grants::open(store).await.unwrap());
        let target = Target {
            host: Host::parse("x.example").unwrap(),
            port: 443,
        };
        let asks = loaded(1, r#"{"network": {"ask": true}}"#);
        let beginning = Beginning {
            launch: Uuid::from_u128(1),
            server: "git".into(),
            choice: Choice::default(),
            cwd: "/home/u/p".into(),
            program: Vec::new(),
            seen: Seen::default(),
        };
        let rules = Rules::new(beginning, &asks, grants.clone());
        let decision = || rules.network().decide(&target);
        assert!(matches!(decision(), Decision::Ask(_)));
        let draft = Draft {
            server: "git".into(),
            target: target.clone(),
            scope: Scope::Always,
            launch: rules.launch,
            expires_at: None,
            who: Who { uid: 0, user: None },
        };
        let entry = |_: &_| Entry::new(Timestamp::now(), Kind::Approve, "x");
        grants.add(draft, Timestamp::now(), entry).await.unwrap();
        assert!(
            matches!(decision(), Decision::Ask(_)),
            "not before it is put in force"
        );
        rules.regrant();
        assert!(matches!(decision(), Decision::Allow(_)));
        let taken = rules.take(&loaded(2, r#"{"network": {"ask": false}}"#));
        assert_eq!(
            taken,
            Taken::Changed {
                before: asks.generation.clone(),
                next_start: Vec::new()
            }
        );
        assert!(matches!(decision(), Decision::Deny(_)));
        rules.take(&loaded(
            3,
            r#"{"network": {"ask": true, "deniedDomains": ["x.example"]}}"#,
        ));
        assert!(
            matches!(decision(), Decision::Deny(_)),
            "a denied domain wins"
        );
        rules.take(&loaded(4, r#"{"network": {"ask": true}} "#));
        assert!(matches!(decision(), Decision::Allow(_)));
    }

    #[tokio::test]
    async fn trouble_is_news_once_and_over_when_the_file_can_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::Store::open(&folder.path().join("state/srt.db"))
            .await
            .unwrap();
        let grants = Arc::new(Grants::open(store).await.unwrap());
        let first = loaded(1, "{}");
        let beginning = Beginning {
            launch: Uuid::from_u128(1),
            server: "git".into(),
            choice: Choice::default(),
            cwd: "/p".into(),
            program: Vec::new(),
            seen: Seen::default(),
        };
        let rules = Rules::new(beginning, &first, grants);
        assert_eq!(rules.trouble("not JSON").unwrap().number, 1);
        assert_eq!(rules.trouble("not JSON"), None);
        assert!(rules.trouble("a folder").is_some());
        assert_eq!(rules.standing().trouble.as_deref(), Some("a folder"));
        assert_eq!(rules.take(&first), Taken::Same { recovered: true });
        assert_eq!(rules.standing().trouble, None);
        assert_eq!(rules.take(&first), Taken::Same { recovered: false });
    }
}
