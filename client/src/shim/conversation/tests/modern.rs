//! A modern conversation from one launch to the next.

use super::*;

const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

fn listen(id: u64, what: &str) -> String {
    modern(
        id,
        "subscriptions/listen",
        json!({ "notifications": { what: true } }),
    )
}

fn belongs(id: u64) -> Value {
    json!({ "io.modelcontextprotocol/subscriptionId": id })
}

fn acknowledged(id: u64, what: &str) -> String {
    notification(
        ACKNOWLEDGED,
        json!({ "_meta": belongs(id), "notifications": { what: true } }),
    )
}

#[test]
fn open_listens_are_made_again_and_their_second_acknowledgement_is_ours() {
    let mut case = Case::modern(&json!({ "tools": {} }));
    case.host(&listen(1, "toolsListChanged"));
    case.host(&listen(2, "promptsListChanged"));
    case.host(&listen(3, "toolsListChanged"));
    case.host(&listen(4, "toolsListChanged"));
    case.server(&acknowledged(1, "toolsListChanged"));
    case.server(&result(3, json!({ "_meta": belongs(3) })));
    case.host(&notification(
        "notifications/cancelled",
        json!({ "requestId": 4 }),
    ));
    assert_eq!(case.told().len(), 2);
    case.clear();

    case.dies();
    assert!(
        case.told().is_empty(),
        "a listen is not answered by an error"
    );
    case.reopens();
    case.open();
    let sent = case.sent();
    assert_eq!(
        ours(&sent[0]),
        ("server/discover".to_owned(), json!({ "_meta": meta() }))
    );
    case.server(&answer_ours(
        &sent[0],
        json!({ "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} } }),
    ));
    assert_eq!(
        case.sent(),
        [
            listen(1, "toolsListChanged"),
            listen(2, "promptsListChanged")
        ]
    );
    case.server(&acknowledged(1, "toolsListChanged"));
    assert!(case.told().is_empty());
    // Of this one the host has none yet, and of a third launch neither.
    case.server(&acknowledged(2, "promptsListChanged"));
    assert_eq!(case.told(), [acknowledged(2, "promptsListChanged")]);
    // Whatever a server acknowledges twice by itself is the host's.
    case.server(&acknowledged(1, "toolsListChanged"));
    assert_eq!(case.told().len(), 1);
}

#[test]
fn a_changed_list_is_told_of_to_each_that_listens() {
    let mut case = Case::modern(&json!({ "tools": {} }));
    case.host(&modern(1, "tools/list", json!({})));
    case.server(&result(1, json!({ "tools": [1], "ttlMs": 1 })));
    case.host(&modern(2, "prompts/list", json!({})));
    case.server(&result(2, json!({ "prompts": [1] })));
    for (id, what) in [
        (3, "toolsListChanged"),
        (4, "resourcesListChanged"),
        (5, "toolsListChanged"),
    ] {
        case.host(&listen(id, what));
        case.server(&acknowledged(id, what));
    }
    case.dies();
    case.clear();
    let sent = case.relaunched(&json!({ "tools": {} }));
    // Three listens, and the one list that somebody listens for.
    assert_eq!(sent.len(), 4);
    assert_eq!(
        ours(&sent[3]),
        ("tools/list".to_owned(), json!({ "_meta": meta() }))
    );
    case.server(&answer_ours(&sent[3], json!({ "tools": [2], "ttlMs": 1 })));
    let told = |id| {
        notification(
            "notifications/tools/list_changed",
            json!({ "_meta": belongs(id) }),
        )
    };
    assert_eq!(case.told(), [told(3), told(5)]);
}

#[test]
fn calls_are_answered_and_reads_are_asked_again() {
    let mut case = Case::modern(&json!({}));
    case.host(&modern(1, "tools/call", json!({ "name": "echo" })));
    case.host(&modern(2, "resources/read", json!({ "uri": "a:b" })));
    case.host(&modern(3, "prompts/get", json!({ "name": "p" })));
    case.host(&modern(4, "completion/complete", json!({})));
    case.dies();
    let told = case.told();
    assert_eq!(told.len(), 1);
    assert!(error(&told[0]).1.contains("\"echo\""));
    case.clear();
    let sent = case.relaunched(&json!({}));
    assert_eq!(sent.len(), 3);
    assert_eq!(
        sent[0],
        modern(2, "resources/read", json!({ "uri": "a:b" }))
    );
}

#[test]
fn a_host_that_never_asked_who_it_is_needs_no_handshake() {
    let mut case = Case::new();
    case.host(&modern(1, "tools/list", json!({})));
    case.server(&result(1, json!({ "tools": [] })));
    case.clear();
    case.dies();
    case.reopens();
    case.host(&modern(2, "ping", json!({})));
    case.open();
    assert_eq!(case.sent(), [modern(2, "ping", json!({}))]);
}

#[test]
fn a_probe_that_is_refused_makes_no_conversation() {
    let mut case = Case::new();
    case.host(&modern("p", "server/discover", json!({})));
    case.server(r#"{"jsonrpc":"2.0","id":"p","error":{"code":-32601,"message":"no"}}"#);
    case.clear();
    case.ends(true);
    assert_eq!(case.is_over(137), None);
}

#[test]
fn a_launch_that_speaks_another_version_ends_the_session_and_answers_its_listens() {
    let mut case = Case::modern(&json!({}));
    case.host(&listen(1, "toolsListChanged"));
    case.dies();
    case.clear();
    case.open();
    let sent = case.sent();
    case.server(&answer_ours(
        &sent[0],
        json!({ "supportedVersions": ["2027-01-01"], "capabilities": {} }),
    ));
    let (id, message) = error(&case.told()[0]);
    assert_eq!(id, 1);
    assert!(
        message.contains("2026-07-28") && message.contains("2027-01-01"),
        "{message}"
    );
    case.is_over(1);
}

#[test]
fn a_listen_that_its_server_ended_is_not_made_again() {
    let mut case = Case::modern(&json!({}));
    case.host(&listen(1, "toolsListChanged"));
    case.server(&acknowledged(1, "toolsListChanged"));
    case.server(&notification(
        "notifications/cancelled",
        json!({ "requestId": 1 }),
    ));
    case.dies();
    case.clear();
    assert!(case.relaunched(&json!({})).is_empty());
}
