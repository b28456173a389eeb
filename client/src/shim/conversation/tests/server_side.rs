//! What servers ask of the host, across launches.

use super::*;

fn ask(id: impl Into<Value>) -> String {
    request(
        id,
        "sampling/createMessage",
        json!({ "_meta": { "progressToken": "t" } }),
    )
}

/// A conversation whose server asked under id 0, and died.
fn asked_and_dead() -> Case {
    let mut case = Case::legacy(&json!({}));
    case.server(&ask(0));
    case.clear();
    case.dies();
    case
}

#[test]
fn the_host_need_not_answer_the_dead() {
    let mut case = asked_and_dead();
    let told: Value = serde_json::from_str(&case.told()[0]).unwrap();
    assert_eq!(told["method"], "notifications/cancelled");
    assert_eq!(told["params"]["requestId"], 0);
    assert!(
        told["params"]["reason"]
            .as_str()
            .unwrap()
            .contains("SIGKILL")
    );
    case.reopens();
    // It does so all the same, before and after the new launch is there.
    case.host(&notification(
        "notifications/progress",
        json!({ "progressToken": "t", "progress": 1 }),
    ));
    case.host(&result(0, json!({ "late": true })));
    assert_eq!(case.relaunched(&json!({})), [INITIALIZED]);
    assert!(case.told().is_empty());
}

#[test]
fn a_late_answer_never_reaches_a_new_request_with_the_same_id() {
    let mut case = asked_and_dead();
    case.clear();
    case.relaunched(&json!({}));
    case.server(&ask(0));
    let told = case.told();
    let shown: Value = serde_json::from_str(&told[0]).unwrap();
    let id = shown["id"].as_str().unwrap();
    assert!(id.starts_with("srt-"), "{id}");
    assert_eq!(told[0], ask(id), "but for its id it is as it came");
    case.host(&result(0, json!({ "late": true })));
    assert!(case.sent().is_empty());
    case.host(&result(id, json!({ "early": true })));
    assert_eq!(case.sent(), [result(0, json!({ "early": true }))]);
    // The host owes nothing any more: from here on nothing is changed.
    case.server(&ask(0));
    case.server(&ask(1));
    assert_eq!(case.told(), [ask(0), ask(1)]);
    case.host(&result(0, json!({})));
    assert_eq!(case.sent(), [result(0, json!({}))]);
}

#[test]
fn a_renamed_request_is_taken_back_by_the_name_that_the_host_knows() {
    let mut case = asked_and_dead();
    case.clear();
    case.relaunched(&json!({}));
    case.server(&ask(0));
    let shown: Value = serde_json::from_str(&case.told()[0]).unwrap();
    case.server(&notification(
        "notifications/cancelled",
        json!({ "requestId": 0 }),
    ));
    assert_eq!(
        case.told(),
        [notification(
            "notifications/cancelled",
            json!({ "requestId": shown["id"] })
        )]
    );
    // Dead a second time, it is not taken back a second time.
    case.dies();
    assert!(case.told().is_empty());
}

#[test]
fn in_a_batch_each_is_what_it_would_be_alone() {
    let mut case = asked_and_dead();
    case.clear();
    case.relaunched(&json!({}));
    let own = ask(0);
    let free = ask(5);
    case.server(&format!("[{own}, {free}]"));
    let told = case.told();
    let shown: Vec<Value> = serde_json::from_str(&told[0]).unwrap();
    let id = shown[0]["id"].as_str().unwrap();
    assert_eq!(told[0], format!("[{},{free}]", ask(id)));
    let (late, renamed) = (result(0, json!({})), result(id, json!({})));
    case.host(&format!("[{late},{renamed}]"));
    assert_eq!(
        case.sent(),
        [format!("[{renamed}]").replace(&format!("{id:?}"), "0")]
    );
    case.host(&format!("[{}]", result(7, json!({}))));
    assert_eq!(case.sent(), [format!("[{}]", result(7, json!({})))]);
}

#[test]
fn a_batch_that_died_is_answered_one_by_one() {
    let mut case = Case::legacy(&json!({}));
    case.host(&format!(
        "[{},{}]",
        call(1, "a"),
        request(2, "ping", json!({}))
    ));
    assert_eq!(case.sent().len(), 1);
    case.server(&format!("[{}]", result(2, json!({}))));
    assert_eq!(case.told(), [format!("[{}]", result(2, json!({})))]);
    case.dies();
    let told = case.told();
    assert_eq!(told.len(), 1);
    assert_eq!(error(&told[0]).0, 1);
}

#[test]
fn half_a_line_of_a_dead_server_is_never_the_hosts() {
    let mut case = Case::legacy(&json!({}));
    case.host(&call(1, "echo"));
    case.clear();
    let answer = result(1, json!({ "x": "y" }));
    case.talk
        .server(answer[..answer.len() - 1].to_owned().into(), case.now);
    case.dies();
    let told = case.told();
    assert_eq!(told.len(), 1);
    assert_eq!(error(&told[0]).0, 1);
    case.clear();
    case.relaunched(&json!({}));
    case.server(&result(2, json!({})));
    assert_eq!(case.told(), [result(2, json!({}))]);
}

#[test]
fn half_a_line_that_passed_ends_where_its_server_did() {
    let mut case = Case::legacy(&json!({}));
    case.host(&call(1, "echo"));
    case.clear();
    case.talk.server("a log li".into(), case.now);
    case.dies();
    let told = case.told();
    assert_eq!(told[0], "a log li");
    assert_eq!(error(&told[1]).0, 1);
}
