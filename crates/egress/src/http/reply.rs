//! Answers of the proxy's own, in plain text for whoever reads them.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, PROXY_AUTHENTICATE};
use http::{Response, StatusCode};
use srt_policy::Denial;

use super::body::Answer;
use super::head::Flaw;
use crate::decide::{Failure, Refused};
use crate::refusal::refusal_text;

static PROXY_ERROR: HeaderName = HeaderName::from_static("x-proxy-error");

/// 403: policy says no.
pub(super) fn blocked(denial: &Denial) -> Response<Answer> {
    own(
        StatusCode::FORBIDDEN,
        Some("blocked-by-srt"),
        refusal_text(denial),
    )
}

/// 403 or 502, after the pipeline's answer.
pub(super) fn refused(refused: &Refused) -> Response<Answer> {
    match refused {
        Refused::Denied(denial) => blocked(denial),
        Refused::Failed(failure) => failed(failure),
    }
}

fn failed(failure: &Failure) -> Response<Answer> {
    unreachable(&failure.to_string())
}

/// 502: policy says yes, the network says no.
pub(super) fn unreachable(why: &str) -> Response<Answer> {
    let text = format!("srt: permitted, but not reached\nreason: {why}\n");
    own(StatusCode::BAD_GATEWAY, Some("upstream-unreachable"), text)
}

/// 400, 421 or 431: a request without one reading.
pub(super) fn flawed(flaw: &Flaw) -> Response<Answer> {
    let text = format!("srt: refused a request\nreason: {}\n", flaw.why);
    let mut response = own(flaw.status, Some(flaw.kind), text);
    if flaw.ends_connection {
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// 503: a stream of HTTP/2 while all of the sandbox's connections are in use.
pub(super) fn too_many() -> Response<Answer> {
    let text = "srt: too many connections of this sandbox are open; end some and try again\n";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    own(status, Some("too-many-connections"), text.to_owned())
}

/// 407: the token is missing or wrong.
pub(super) fn needs_token() -> Response<Answer> {
    let text = "srt: this proxy belongs to one sandbox and asks for its token\n".to_owned();
    let mut response = own(StatusCode::PROXY_AUTHENTICATION_REQUIRED, None, text);
    let challenge = HeaderValue::from_static("Basic realm=\"srt\"");
    response.headers_mut().insert(PROXY_AUTHENTICATE, challenge);
    response
}

/// 200 to CONNECT: what follows is the tunnel.
pub(super) fn connected() -> Response<Answer> {
    Response::new(Answer::Own(None))
}

fn own(status: StatusCode, error: Option<&'static str>, text: String) -> Response<Answer> {
    let mut response = Response::new(Answer::Own(Some(Bytes::from(text))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if let Some(error) = error {
        headers.insert(&PROXY_ERROR, HeaderValue::from_static(error));
    }
    response
}
