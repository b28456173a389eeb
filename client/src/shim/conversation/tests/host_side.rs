//! What the host takes back, sends too late, or no longer reads.

use super::*;

fn cancel(id: impl Into<Value>) -> String {
    notification("notifications/cancelled", json!({ "requestId": id.into() }))
}

#[test]
fn a_request_that_was_taken_back_is_neither_answered_nor_retried() {
    let mut case = Case::legacy(&json!({}));
    case.host(&call(1, "echo"));
    case.host(&request(2, "ping", json!({})));
    case.host(&cancel(1));
    case.host(&cancel(2));
    assert_eq!(case.sent().len(), 4);
    case.dies();
    assert!(case.told().is_empty());
    assert_eq!(case.relaunched(&json!({})), [INITIALIZED]);
}

#[test]
fn taking_back_what_is_dead_is_nobodys_business() {
    let mut case = Case::legacy(&json!({}));
    case.host(&call(1, "echo"));
    case.host(&request(2, "ping", json!({})));
    case.dies();
    case.clear();
    // Dead; waiting to be retried; waiting to be sent.
    case.host(&call(3, "echo"));
    case.host(&call(4, "echo"));
    for id in [1, 2, 3] {
        case.host(&cancel(id));
    }
    assert_eq!(
        case.relaunched(&json!({})),
        [INITIALIZED.to_owned(), call(4, "echo")]
    );
    case.host(&cancel(1));
    assert!(case.sent().is_empty());
    case.host(&cancel(4));
    assert_eq!(case.sent(), [cancel(4)]);
}

#[test]
fn initialized_is_told_once_to_each_launch() {
    let mut case = Case::new();
    case.host(INITIALIZE);
    case.server(&initialized(0, &json!({})));
    case.dies();
    case.clear();
    // It comes while there is no launch.
    case.host(INITIALIZED);
    case.host(&call(1, "echo"));
    assert_eq!(
        case.relaunched(&json!({})),
        [INITIALIZED.to_owned(), call(1, "echo")]
    );
    case.dies();
    case.clear();
    assert_eq!(case.relaunched(&json!({})), [INITIALIZED]);
}

#[test]
fn a_host_that_has_not_said_initialized_says_it_itself() {
    let mut case = Case::new();
    case.host(INITIALIZE);
    case.server(&initialized(
        0,
        &json!({ "tools": { "listChanged": true } }),
    ));
    case.dies();
    case.clear();
    assert!(
        case.relaunched(&json!({ "tools": { "listChanged": true } }))
            .is_empty()
    );
    case.host(INITIALIZED);
    assert_eq!(case.sent(), [INITIALIZED]);
}

#[test]
fn the_end_of_stdin_waits_for_what_was_asked_before() {
    let mut case = Case::legacy(&json!({}));
    case.dies();
    case.clear();
    case.host(&call(1, "echo"));
    case.talk.host_end(case.now);
    assert!(case.orders().is_empty());
    assert_eq!(
        case.relaunched(&json!({})),
        [INITIALIZED.to_owned(), call(1, "echo"), "END".to_owned()]
    );
    // From then on the server's end is the end.
    case.dies();
    assert_eq!(error(&case.told()[0]).0, 1);
    case.is_over(137);
}

#[test]
fn with_nothing_to_wait_for_the_end_of_stdin_is_the_end() {
    let mut case = Case::legacy(&json!({}));
    case.dies();
    case.clear();
    case.talk.host_end(case.now);
    case.is_over(0);

    let mut case = Case::legacy(&json!({}));
    case.dies();
    case.host(&call(1, "echo"));
    case.talk.host_end(case.now);
    case.clear();
    case.passes(31);
    assert_eq!(error(&case.told()[0]).0, 1);
    case.is_over(0);
}

#[test]
fn half_a_line_at_the_end_of_stdin_is_the_servers() {
    let mut case = Case::legacy(&json!({}));
    case.talk.host(b"{\"half", case.now);
    assert!(case.sent().is_empty());
    case.talk.host_end(case.now);
    let all: Vec<_> = case.talk.out.to_server.drain(..).collect();
    assert_eq!(all, [ToServer::Bytes("{\"half".into()), ToServer::End]);
}

#[test]
fn a_line_that_is_cut_by_the_death_of_its_server_goes_to_the_next_as_a_whole() {
    let mut case = Case::legacy(&json!({}));
    let line = call(1, "echo");
    case.talk.host(&line.as_bytes()[..10], case.now);
    case.dies();
    case.clear();
    case.talk
        .host(format!("{}\n", &line[10..]).as_bytes(), case.now);
    assert_eq!(case.relaunched(&json!({})), [INITIALIZED.to_owned(), line]);
}

#[test]
fn what_is_no_message_is_not_kept_for_a_launch_that_is_not_there() {
    let mut case = Case::legacy(&json!({}));
    case.talk.host(b"no mess", case.now);
    case.dies();
    case.clear();
    case.talk.host(b"age\n\nnor this\n", case.now);
    assert_eq!(case.talk.out.notices.len(), 1);
    assert_eq!(case.relaunched(&json!({})), [INITIALIZED]);
    case.host("but this");
    assert_eq!(case.sent(), ["but this"]);
}
