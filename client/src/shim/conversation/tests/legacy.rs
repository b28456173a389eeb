//! A legacy conversation from one launch to the next.

use super::*;

#[test]
fn lines_pass_as_they_came() {
    let mut case = Case::new();
    let odd = "{ \"id\" :1,\t\"jsonrpc\":\"2.0\",\"method\":\"ping\" }\r";
    case.host(INITIALIZE);
    case.host(odd);
    case.host("noise");
    assert_eq!(case.sent(), [INITIALIZE, odd, "noise"]);
    let answer = "{\"result\":{ },\"id\":1,\"jsonrpc\":\"2.0\"}  ";
    case.server(answer);
    case.server("a line of a server that logs to stdout");
    case.server("{}");
    assert_eq!(
        case.told(),
        [answer, "a line of a server that logs to stdout", "{}"]
    );
}

#[test]
fn a_killed_server_is_replaced_behind_the_hosts_back() {
    let capabilities = json!({ "tools": {}, "logging": {}, "resources": { "subscribe": true } });
    let mut case = Case::legacy(&capabilities);
    case.host(&request(
        1,
        "logging/setLevel",
        json!({ "level": "debug", "_meta": { "progressToken": 1 } }),
    ));
    case.host(&request(2, "resources/subscribe", json!({ "uri": "a:b" })));
    case.host(&request(3, "resources/subscribe", json!({ "uri": "a:c" })));
    case.host(&request(
        4,
        "resources/subscribe",
        json!({ "uri": "refused" }),
    ));
    case.server(&result(1, json!({})));
    case.server(&result(2, json!({})));
    case.server(&result(3, json!({})));
    case.server(r#"{"jsonrpc":"2.0","id":4,"error":{"code":1,"message":"no"}}"#);
    case.host(&request(
        5,
        "resources/unsubscribe",
        json!({ "uri": "a:b" }),
    ));
    case.server(&result(5, json!({})));
    case.host(&call("c", "echo"));
    case.host(&request(6, "tools/list", json!({})));
    case.host(&request(7, "ping", json!({})));
    case.clear();

    case.dies();
    let told = case.told();
    let [broken] = &told[..] else {
        panic!("only the call is answered: {told:?}")
    };
    let (id, message) = error(broken);
    assert_eq!(id, "c");
    for part in [
        "tool call \"echo\"",
        "\"x\" ended (killed by SIGKILL)",
        "may have had effects",
        "not retried",
        "started again",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(case.reopens().contains("SIGKILL"));

    // What comes meanwhile waits.
    case.host(&call(8, "later"));
    assert!(case.sent().is_empty() && case.told().is_empty());
    case.open();
    let sent = case.sent();
    assert_eq!(sent.len(), 1);
    let (method, params) = ours(&sent[0]);
    let asked: Value = serde_json::from_str(INITIALIZE).unwrap();
    assert_eq!((method.as_str(), &params), ("initialize", &asked["params"]));
    // A server may log before it answers; its answer is ours alone.
    case.server(r#"{"jsonrpc":"2.0","method":"notifications/message"}"#);
    case.server(&initialized(
        serde_json::from_str::<Value>(&sent[0]).unwrap()["id"].clone(),
        &capabilities,
    ));
    assert_eq!(
        case.told(),
        [r#"{"jsonrpc":"2.0","method":"notifications/message"}"#]
    );
    let sent = case.sent();
    assert_eq!(sent[0], INITIALIZED);
    assert_eq!(
        ours(&sent[1]),
        ("logging/setLevel".to_owned(), json!({ "level": "debug" }))
    );
    assert_eq!(
        ours(&sent[2]),
        ("resources/subscribe".to_owned(), json!({ "uri": "a:c" }))
    );
    assert_eq!(
        sent[3..],
        [
            request(6, "tools/list", json!({})),
            request(7, "ping", json!({})),
            call(8, "later")
        ]
    );
    case.server(&answer_ours(&sent[1], json!({})));
    assert!(case.told().is_empty());
    case.server(&result(6, json!({ "tools": [] })));
    assert_eq!(case.told(), [result(6, json!({ "tools": [] }))]);
}

#[test]
fn a_lost_daemon_is_as_a_lost_server() {
    let mut case = Case::legacy(&json!({}));
    case.host(&call(1, "echo"));
    case.loses_the_daemon();
    let (id, message) = error(&case.told()[0]);
    assert_eq!(id, 1);
    assert!(
        message.contains("daemon srtd") && message.contains("was lost"),
        "{message}"
    );
    assert!(case.reopens().contains("daemon"));
    case.clear();
    case.host(&call(2, "echo"));
    assert_eq!(
        case.relaunched(&json!({})),
        [INITIALIZED.to_owned(), call(2, "echo")]
    );
}

#[test]
fn without_a_token_everything_is_answered_and_it_is_over() {
    let mut case = Case::legacy(&json!({}));
    case.talk.opened(
        &Attached {
            carried: false,
            health: None,
        },
        case.now,
    );
    case.host(&call(1, "echo"));
    case.loses_the_daemon();
    let (_, message) = error(&case.told()[0]);
    assert!(
        message.contains("may have had effects") && message.contains("is over"),
        "{message}"
    );
    assert_eq!(case.is_over(5), Some(Failure::new(5, "gone")));
}

#[test]
fn an_end_that_was_asked_for_answers_what_is_under_way() {
    let mut case = Case::legacy(&json!({}));
    case.host(&call(1, "echo"));
    case.host(&request(2, "tools/list", json!({})));
    case.ends(false);
    let told = case.told();
    assert_eq!(told.len(), 2);
    assert!(error(&told[0]).1.contains("may have had effects"));
    assert!(!error(&told[1]).1.contains("may have had effects"));
    assert_eq!(case.is_over(137), None);
}

#[test]
fn before_anything_is_answered_an_end_is_the_end() {
    for again in [true, false] {
        let mut case = Case::new();
        case.host(INITIALIZE);
        case.talk.server("half".into(), case.now);
        case.ends(again);
        assert_eq!(case.told(), ["half"]);
        assert_eq!(case.is_over(137), None);
    }
}

#[test]
fn before_anything_is_answered_a_lost_daemon_is_replaced() {
    let mut case = Case::new();
    case.host(INITIALIZE);
    case.host(INITIALIZED);
    case.host(&call(1, "echo"));
    case.host(&request(2, "tools/list", json!({})));
    case.clear();
    case.loses_the_daemon();
    let told = case.told();
    assert_eq!(told.len(), 1);
    assert_eq!(error(&told[0]).0, 1);
    case.reopens();
    case.open();
    // Under the host's own ids: the answers are the host's.
    assert_eq!(
        case.sent(),
        [
            INITIALIZE.to_owned(),
            INITIALIZED.to_owned(),
            request(2, "tools/list", json!({}))
        ]
    );
    case.server(&initialized(0, &json!({})));
    assert_eq!(case.told(), [initialized(0, &json!({}))]);
}

#[test]
fn what_is_no_mcp_is_not_carried() {
    let mut case = Case::new();
    case.host("echo {");
    case.talk.host(b"ec", case.now);
    case.talk.server("{\"ha".into(), case.now);
    assert_eq!(
        (case.sent(), case.told()),
        (
            vec!["echo {".to_owned(), "ec".to_owned()],
            vec!["{\"ha".to_owned()]
        )
    );
    case.talk.renew("limits", true);
    assert!(case.orders().is_empty());
    case.loses_the_daemon();
    assert!(case.told().is_empty());
    assert!(case.is_over(5).is_some());
}

#[test]
fn a_launch_that_lacks_something_ends_the_session_with_an_explanation() {
    let mut case = Case::legacy(&json!({ "tools": {}, "prompts": {} }));
    case.dies();
    case.clear();
    case.host(&call(1, "echo"));
    case.relaunched(&json!({ "tools": {} }));
    let (id, message) = error(&case.told()[0]);
    assert_eq!(id, 1);
    assert!(
        message.contains("was not sent") && message.contains("capability prompts"),
        "{message}"
    );
    let failure = case.is_over(1).unwrap();
    assert!(
        failure.message.contains("capability prompts") && failure.hint.is_some(),
        "{failure}"
    );
}

#[test]
fn a_launch_that_refuses_the_handshake_ends_the_session() {
    let mut case = Case::legacy(&json!({}));
    case.dies();
    case.clear();
    case.open();
    let asked: Value = serde_json::from_str(&case.sent()[0]).unwrap();
    case.server(&json!({ "jsonrpc": "2.0", "id": asked["id"], "error": { "code": 1, "message": "not today" } }).to_string());
    assert!(case.told().is_empty());
    assert!(case.is_over(1).unwrap().message.contains("not today"));
}

#[test]
fn a_subscription_that_is_refused_later_is_told_to_a_person() {
    let mut case = Case::legacy(&json!({ "resources": {} }));
    case.host(&request(1, "resources/subscribe", json!({ "uri": "a:b" })));
    case.server(&result(1, json!({})));
    case.dies();
    case.clear();
    let sent = case.relaunched(&json!({ "resources": {} }));
    let asked: Value = serde_json::from_str(&sent[1]).unwrap();
    case.server(
        &json!({ "jsonrpc": "2.0", "id": asked["id"], "error": { "code": 1, "message": "gone" } })
            .to_string(),
    );
    assert!(case.told().is_empty());
    let notice = case.talk.out.notices.pop_front().unwrap();
    assert!(
        notice.contains("a:b") && notice.contains("gone"),
        "{notice}"
    );
}

/// What the host is told of a list that it saw, and that a new launch has otherwise or not.
fn announced(declared: bool, asked: bool, new: &Value) -> Vec<String> {
    let capabilities = json!({ "tools": { "listChanged": declared } });
    let mut case = Case::legacy(&capabilities);
    if asked {
        case.host(&request(1, "tools/list", json!({})));
        case.server(&result(1, json!({ "tools": [{ "name": "a" }] })));
    }
    case.dies();
    case.clear();
    let sent = case.relaunched(&capabilities);
    assert_eq!(
        sent.len(),
        if declared && asked { 2 } else { 1 },
        "{sent:?}"
    );
    if let Some(list) = sent.get(1) {
        assert_eq!(ours(list), ("tools/list".to_owned(), json!({})));
        case.server(&answer_ours(list, json!({ "tools": new })));
    }
    case.told()
}

#[test]
fn a_changed_list_is_told_of_where_that_was_declared_and_nowhere_else() {
    let changed = json!([{ "name": "b" }]);
    let same = json!([{ "name": "a" }]);
    let told = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    assert_eq!(announced(true, true, &changed), [told]);
    assert!(announced(true, true, &same).is_empty());
    assert!(announced(false, true, &changed).is_empty());
    assert!(announced(true, false, &changed).is_empty());
}

#[test]
fn a_list_is_fetched_page_by_page_and_not_told_of_twice() {
    let capabilities = json!({ "resources": { "listChanged": true } });
    let mut case = Case::legacy(&capabilities);
    case.host(&request(1, "resources/list", json!({})));
    case.server(&result(1, json!({ "resources": [1], "nextCursor": "c" })));
    case.host(&request(2, "resources/list", json!({ "cursor": "c" })));
    case.server(&result(2, json!({ "resources": [2] })));
    case.host(&request(3, "resources/templates/list", json!({})));
    case.server(&result(3, json!({ "resourceTemplates": [1] })));
    case.dies();
    case.clear();
    let sent = case.relaunched(&capabilities);
    assert_eq!(sent.len(), 3);
    case.server(&answer_ours(
        &sent[1],
        json!({ "resources": [1], "nextCursor": "d" }),
    ));
    let page = case.sent();
    assert_eq!(
        ours(&page[0]),
        ("resources/list".to_owned(), json!({ "cursor": "d" }))
    );
    case.server(&answer_ours(&page[0], json!({ "resources": [3] })));
    assert_eq!(
        case.told(),
        [r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#]
    );
    // Templates are told of by the same notification.
    case.server(&answer_ours(&sent[2], json!({ "resourceTemplates": [2] })));
    assert!(case.told().is_empty());
}

#[test]
fn a_server_that_tells_of_its_list_itself_is_not_repeated() {
    let capabilities = json!({ "tools": { "listChanged": true } });
    let mut case = Case::legacy(&capabilities);
    case.host(&request(1, "tools/list", json!({})));
    case.server(&result(1, json!({ "tools": [1] })));
    case.dies();
    case.clear();
    let sent = case.relaunched(&capabilities);
    let own = r#"{"method":"notifications/tools/list_changed","jsonrpc":"2.0"}"#;
    case.server(own);
    case.server(&answer_ours(&sent[1], json!({ "tools": [2] })));
    assert_eq!(case.told(), [own]);
}
