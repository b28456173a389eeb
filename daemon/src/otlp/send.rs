//! One request after another to a collector, by OTLP/HTTP with JSON.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use srt_policy::Otlp;
use srt_runtime::trusting_the_system;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

/// How long a connection and an answer may take, each.
const PATIENCE: Duration = Duration::from_secs(10);
/// No answer is longer, in bytes: it says how many records were not taken, and why.
const ANSWER: usize = 64 * 1024;

/// What a collector said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has them, but for so many, for this reason.
    Taken { rejected: u64, why: String },
    /// It has none, and may have them later: after so long, if it said.
    Later {
        why: String,
        after: Option<Duration>,
    },
    /// It has none and never will, or they are too many at once.
    Refused { why: String },
}

/// A collector, with the connection to it while there is one.
pub(super) struct Collector {
    endpoint: Uri,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    headers: HeaderMap,
    connection: Option<SendRequest<Full<Bytes>>>,
    tracker: TaskTracker,
}

impl Collector {
    /// Reads what the settings say.
    ///
    /// # Errors
    /// What in them cannot be used, or why there can be no TLS.
    pub(super) fn new(otlp: &Otlp, tracker: TaskTracker) -> Result<Self, String> {
        let endpoint = logs_url(&otlp.endpoint)?;
        let host = endpoint.host().unwrap_or_default();
        let bare = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let secure = endpoint.scheme_str() == Some("https");
        let port = endpoint.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = match secure {
            true => Some((
                TlsConnector::from(trusting_the_system()?),
                server_name(&bare)?,
            )),
            false => None,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &otlp.headers {
            let name = hyper::header::HeaderName::from_bytes(name.as_bytes());
            let mut value = hyper::header::HeaderValue::from_str(value)
                .map_err(|_| "a value in audit.otlp.headers is no header of HTTP".to_owned())?;
            value.set_sensitive(true);
            let name =
                name.map_err(|_| "a name in audit.otlp.headers is no header of HTTP".to_owned())?;
            headers.append(name, value);
        }
        Ok(Self {
            endpoint,
            host: bare,
            port,
            tls,
            headers,
            connection: None,
            tracker,
        })
    }

    /// Sends one request. Whatever goes wrong is an answer: it has to be sent again.
    pub(super) async fn send(&mut self, body: String) -> Answer {
        let later = |why: String| Answer::Later { why, after: None };
        // A connection that was kept may be gone by now; then a new one is tried at once.
        for kept in [true, false] {
            let connection = match self.connection.take().filter(|one| kept && one.is_ready()) {
                Some(connection) => connection,
                None if kept => continue,
                None => match tokio::time::timeout(PATIENCE, self.connect()).await {
                    Ok(Ok(connection)) => connection,
                    Ok(Err(why)) => return later(why),
                    Err(_) => {
                        return later(format!("no connection within {} s", PATIENCE.as_secs()));
                    }
                },
            };
            match tokio::time::timeout(PATIENCE, self.request(connection, body.clone())).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) if kept => {}
                Ok(Err(why)) => return later(why),
                Err(_) => return later(format!("no answer within {} s", PATIENCE.as_secs())),
            }
        }
        later("the connection was closed".to_owned())
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| format!("cannot connect to {}:{}: {error}", self.host, self.port))?;
        match &self.tls {
            None => self.handshake(TokioIo::new(stream)).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                let stream = stream
                    .map_err(|error| format!("no TLS with {}:{}: {error}", self.host, self.port))?;
                self.handshake(TokioIo::new(stream)).await
            }
        }
    }

    async fn handshake<T>(&self, io: T) -> Result<SendRequest<Full<Bytes>>, String>
    where
        T: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(io)
            .await
            .map_err(|error| error.to_string())?;
        // Ends with the sender.
        self.tracker.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the collector failed");
            }
        });
        Ok(sender)
    }

    async fn request(
        &mut self,
        mut connection: SendRequest<Full<Bytes>>,
        body: String,
    ) -> Result<Answer, String> {
        let path = self
            .endpoint
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let authority = self
            .endpoint
            .authority()
            .map_or("", |authority| authority.as_str());
        let mut request = Request::post(path)
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("srtd/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let said = |error: hyper::Error| format!("no answer: {error}");
        let response = connection.send_request(request).await.map_err(said)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        self.connection = Some(connection);
        let after = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok());
        Ok(answer(head.status, after, &body))
    }
}

/// OTLP/HTTP's rules, but for one: what the specification would have dropped (401, 404 …) is kept and sent again, because
/// who reads an audit log would rather have it late than never.
fn answer(status: StatusCode, after: Option<&str>, body: &[u8]) -> Answer {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    if status.is_success() {
        let partial = &body["partialSuccess"];
        let rejected = &partial["rejectedLogRecords"];
        let rejected = rejected
            .as_u64()
            .or_else(|| rejected.as_str()?.parse().ok());
        return Answer::Taken {
            rejected: rejected.unwrap_or(0),
            why: text(&partial["errorMessage"]),
        };
    }
    let mut why = format!("it answers {status}");
    let message = text(&body["message"]);
    if !message.is_empty() {
        why += &format!(": {message}");
    }
    match status {
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => Answer::Refused { why },
        _ => {
            let after = after.and_then(|text| text.trim().parse().ok());
            if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                why += " (audit.otlp.headers may need a token)";
            }
            Answer::Later {
                why,
                after: after.map(Duration::from_secs),
            }
        }
    }
}

/// What a collector says of itself, its beginning.
fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_default()
        .chars()
        .take(300)
        .collect()
}

/// As the standard variables have it: an address without a path is a collector's, and logs have a place below it.
fn logs_url(endpoint: &str) -> Result<Uri, String> {
    let whole = match endpoint.splitn(4, '/').nth(3) {
        None | Some("") => format!("{}/v1/logs", endpoint.trim_end_matches('/')),
        Some(_) => endpoint.to_owned(),
    };
    whole
        .parse()
        .map_err(|error| format!("{endpoint:?} is no URL: {error}"))
}

fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is no name that TLS knows"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_gets_the_standard_one() {
        let table = [
            ("http://localhost:4318", "http://localhost:4318/v1/logs"),
            ("http://localhost:4318/", "http://localhost:4318/v1/logs"),
            (
                "https://x.example/otlp/v1/logs",
                "https://x.example/otlp/v1/logs",
            ),
            ("http://[::1]:4318", "http://[::1]:4318/v1/logs"),
        ];
        for (endpoint, expected) in table {
            assert_eq!(logs_url(endpoint).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn answers_mean_what_the_protocol_says() {
        let check = |status: u16, after, body: &str, expected: Answer| {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                answer(status, after, body.as_bytes()),
                expected,
                "{status} {body}"
            );
        };
        let taken = |rejected, why: &str| Answer::Taken {
            rejected,
            why: why.into(),
        };
        check(200, None, "{}", taken(0, ""));
        check(200, None, "", taken(0, ""));
        check(
            200,
            None,
            r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"no"}}"#,
            taken(2, "no"),
        );
        let later = |why: &str, after: Option<u64>| Answer::Later {
            why: why.into(),
            after: after.map(Duration::from_secs),
        };
        check(
            503,
            Some("7"),
            r#"{"message":"busy"}"#,
            later("it answers 503 Service Unavailable: busy", Some(7)),
        );
        check(
            429,
            None,
            "<html>",
            later("it answers 429 Too Many Requests", None),
        );
        check(404, None, "", later("it answers 404 Not Found", None));
        check(
            401,
            None,
            "",
            later(
                "it answers 401 Unauthorized (audit.otlp.headers may need a token)",
                None,
            ),
        );
        let why = "it answers 413 Payload Too Large".to_owned();
        check(413, None, "", Answer::Refused { why });
    }
}
