//! Bounds of time, bytes and tries; signs of life; a new launch that is wanted.

use super::*;

#[test]
fn what_waits_for_too_long_is_answered_and_the_session_goes_on() {
    let mut case = Case::legacy(&json!({}));
    case.host(&request(1, "ping", json!({})));
    case.dies();
    case.clear();
    case.passes(20);
    case.host(&call(2, "echo"));
    assert_eq!(
        case.talk.deadline(),
        Some(case.now + Duration::from_secs(10))
    );
    case.passes(10);
    let told = case.told();
    assert_eq!(told.len(), 1);
    let (id, message) = error(&told[0]);
    assert_eq!(id, 1);
    assert!(!message.contains("may have had effects"), "{message}");
    case.passes(20);
    let (id, message) = error(&case.told()[0]);
    assert_eq!(id, 2);
    assert!(
        message.contains("was not sent, and nothing was done") && message.contains("within 30 s"),
        "{message}"
    );
    assert!(case.orders().is_empty() && case.talk.deadline().is_none());
    case.host(&call(3, "echo"));
    assert_eq!(
        case.relaunched(&json!({})),
        [INITIALIZED.to_owned(), call(3, "echo")]
    );
}

#[test]
fn the_host_is_not_read_while_too_much_waits() {
    let mut case = Case::legacy(&json!({}));
    case.dies();
    let line = request(1, "tools/call", json!({ "x": "y".repeat(1 << 20) }));
    let mut lines = 0;
    while case.talk.takes_host() {
        case.host(&line);
        lines += 1;
        assert!(lines <= 16, "16 MiB are enough");
    }
    case.clear();
    assert_eq!(case.relaunched(&json!({})).len(), 1 + lines);
    assert!(case.talk.takes_host());
}

#[test]
fn what_kills_every_launch_is_not_asked_for_ever() {
    let mut case = Case::legacy(&json!({}));
    case.host(&request(1, "tools/list", json!({})));
    for _ in 0..2 {
        case.dies();
        assert!(case.told().is_empty());
        case.clear();
        assert_eq!(case.relaunched(&json!({})).len(), 2);
    }
    case.dies();
    let (id, message) = error(&case.told()[0]);
    assert_eq!(id, 1);
    assert!(message.contains("asked 3 times"), "{message}");
    case.clear();
    assert_eq!(case.relaunched(&json!({})), [INITIALIZED]);
}

#[test]
fn a_launch_that_dies_during_the_handshake_is_followed_by_the_next() {
    let mut case = Case::legacy(&json!({}));
    case.host(&request(1, "ping", json!({})));
    case.dies();
    case.host(&call(2, "echo"));
    case.clear();
    case.open();
    assert_eq!(case.sent().len(), 1);
    case.dies();
    assert!(case.told().is_empty());
    case.reopens();
    let sent = case.relaunched(&json!({}));
    assert_eq!(
        sent,
        [
            INITIALIZED.to_owned(),
            request(1, "ping", json!({})),
            call(2, "echo")
        ]
    );
}

#[test]
fn a_launch_that_does_not_answer_the_handshake_is_given_up() {
    let mut case = Case::legacy(&json!({}));
    case.dies();
    case.clear();
    case.open();
    case.passes(29);
    assert!(case.orders().is_empty());
    case.passes(1);
    let [Order::GiveUp { reason }] = &case.orders()[..] else {
        panic!("it is not given up")
    };
    assert!(reason.contains("handshake"));
    case.ends(true);
    case.reopens();
}

#[test]
fn no_other_launch_answers_everything_and_is_the_end() {
    let mut case = Case::legacy(&json!({}));
    case.host(&request(1, "ping", json!({})));
    case.dies();
    case.clear();
    case.host(&call(2, "echo"));
    case.talk
        .refused(Failure::new(7, "it was started 5 times in 60 s").hint("srtctl reset-failed x"));
    let told = case.told();
    assert_eq!(told.len(), 2);
    for (line, id) in told.iter().zip([1, 2]) {
        let (found, message) = error(line);
        assert_eq!(found, id);
        assert!(message.contains("5 times in 60 s"), "{message}");
    }
    let failure = case.is_over(7).unwrap();
    assert!(
        failure.message.contains("SIGKILL") && failure.message.contains("5 times"),
        "{failure}"
    );
    assert!(failure.hint.is_some());
}

#[test]
fn an_idle_server_is_asked_for_a_sign_of_life() {
    let mut case = Case::legacy(&json!({}));
    case.passes(6);
    assert!(case.sent().is_empty());
    case.passes(1);
    let sent = case.sent();
    assert_eq!(ours(&sent[0]), ("ping".to_owned(), json!({})));
    case.now += Duration::from_secs(1);
    case.server(&answer_ours(&sent[0], json!({})));
    assert!(case.told().is_empty());
    // The next one when it has been quiet for as long again.
    assert_eq!(case.talk.deadline(), Some(case.now + HEALTH));
    case.passes(7);
    assert_eq!(case.sent().len(), 1);
    case.passes(6);
    assert!(case.orders().is_empty());
    case.passes(1);
    let [Order::GiveUp { reason }] = &case.orders()[..] else {
        panic!("it is not given up")
    };
    assert!(reason.contains("no answer to ping within 7 s"), "{reason}");
    case.ends(true);
    assert!(case.reopens().contains("no answer to ping"));
}

#[test]
fn a_modern_server_is_asked_who_it_is_and_a_busy_one_nothing() {
    let mut case = Case::modern(&json!({}));
    case.host(&modern(1, "tools/call", json!({})));
    case.clear();
    assert!(case.talk.deadline().is_none());
    case.server(&result(1, json!({})));
    case.clear();
    case.passes(7);
    let sent = case.sent();
    assert_eq!(
        ours(&sent[0]),
        ("server/discover".to_owned(), json!({ "_meta": meta() }))
    );
}

#[test]
fn before_it_is_ready_nobody_is_asked_for_a_sign_of_life() {
    let mut case = Case::new();
    assert!(case.talk.deadline().is_none());
    case.host(INITIALIZE);
    assert!(case.talk.deadline().is_none());
}

#[test]
fn a_new_launch_comes_when_nothing_is_under_way() {
    let mut case = Case::legacy(&json!({}));
    case.host(&call(1, "echo"));
    case.server(&request(0, "roots/list", json!({})));
    case.talk.renew("filesystem.allowWrite changed", false);
    case.server(&result(1, json!({})));
    assert!(case.orders().is_empty());
    case.clear();
    case.host(&result(0, json!({})));
    assert_eq!(case.sent().len(), 1);
    let [Order::GiveUp { reason }] = &case.orders()[..] else {
        panic!("it is not renewed")
    };
    assert_eq!(reason, "filesystem.allowWrite changed");
    // What comes until it is gone is for the next one.
    case.host(&call(2, "echo"));
    assert!(case.sent().is_empty());
    case.ends(true);
    assert!(case.told().is_empty());
    assert!(case.reopens().contains("allowWrite"));
    assert_eq!(
        case.relaunched(&json!({})),
        [INITIALIZED.to_owned(), call(2, "echo")]
    );
}

#[test]
fn a_new_launch_that_is_wanted_at_once_ends_what_is_under_way() {
    let mut case = Case::legacy(&json!({}));
    case.host(&call(1, "echo"));
    case.talk.renew("limits", true);
    assert!(matches!(&case.orders()[..], [Order::GiveUp { .. }]));
    case.host(&notification(
        "notifications/cancelled",
        json!({ "requestId": 9 }),
    ));
    case.ends(true);
    let (id, message) = error(&case.told()[0]);
    assert_eq!(id, 1);
    assert!(message.contains("to start it anew (limits)"), "{message}");
}

#[test]
fn too_many_requests_are_refused_one_by_one() {
    let mut case = Case::legacy(&json!({}));
    for id in 0..REQUESTS {
        case.host(&call(id, "echo"));
    }
    case.clear();
    case.host(&call("more", "echo"));
    let (id, message) = error(&case.told()[0]);
    assert_eq!(id, "more");
    assert!(message.contains("65536 requests wait"), "{message}");
    assert!(case.sent().is_empty());
}

/// More than a line may have.
fn long() -> Vec<u8> {
    let mut line = format!(
        "{{\"jsonrpc\":\"2.0\",\"x\":\"{}",
        "x".repeat(srt_mcp::LONGEST)
    );
    line.push_str("\"}\n");
    line.into_bytes()
}

#[test]
fn a_message_that_is_too_long_to_be_read_passes_and_the_session_is_not_carried() {
    for from_host in [true, false] {
        let mut case = Case::legacy(&json!({}));
        case.host(&call(1, "echo"));
        case.clear();
        let line = long();
        let passed = if from_host {
            case.talk.host(&line, case.now);
            case.sent()
        } else {
            case.talk.server(line.clone().into(), case.now);
            case.told()
        };
        assert_eq!(passed.concat().len(), line.len() - 1);
        case.dies();
        // Who knows which request that was.
        assert!(case.told().is_empty());
        case.is_over(137);
    }
}

#[test]
fn a_message_that_is_too_long_to_be_kept_ends_the_session() {
    let mut case = Case::legacy(&json!({}));
    case.dies();
    case.clear();
    case.talk.host(&long(), case.now);
    assert!(case.is_over(1).unwrap().message.contains("16 MiB"));
}
