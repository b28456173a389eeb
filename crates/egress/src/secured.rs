//! TLS to a proxy of the user's own.
//!
//! What is inside gets a socket of its own, and a task carries between the two: for everything else the connection is one
//! like any other.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use srt_policy::Host;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::context::Context;
use crate::handoff::HandoffError;
use crate::pair::pair;
use crate::trust::trusting_the_system;

/// How long the system's certificates are taken as they were read: they are many, and change seldom.
const KEPT: Duration = Duration::from_secs(60);
/// How often it is looked whether the inner side is gone.
const LOOK: Duration = Duration::from_secs(1);
/// How long what it left behind may take to reach the proxy.
const LAST_BYTES: Duration = Duration::from_secs(10);
/// What is read at once of what the proxy says: a record of TLS.
const BUFFER: usize = 16 * 1024;

/// Begins TLS with the proxy at the other end of `stream`, whose certificate has to be for `proxy`; what comes back is the
/// connection inside.
pub(crate) async fn secure(
    context: &Context,
    stream: TcpStream,
    proxy: &Host,
) -> Result<TcpStream, HandoffError> {
    let name = match proxy {
        Host::Ip(ip) => ServerName::from(*ip),
        Host::Name(name) => ServerName::try_from(name.clone())
            .map_err(|error| HandoffError::Tls(error.to_string()))?,
    };
    let config = config().await.map_err(HandoffError::Tls)?;
    let secured = TlsConnector::from(config).connect(name, stream).await;
    let secured = secured.map_err(|error| HandoffError::Tls(error.to_string()))?;
    let (inner, outer) = pair()?;
    let cancel = context.cancel.clone();
    context.tasks.spawn(async move {
        let carried = cancel.run_until_cancelled(carry(secured, outer)).await;
        if let Some(Err(error)) = carried {
            tracing::debug!(%error, "a connection to the user's own proxy broke");
        }
    });
    Ok(inner)
}

async fn config() -> Result<Arc<ClientConfig>, String> {
    static LAST: Mutex<Option<(Instant, Arc<ClientConfig>)>> = Mutex::new(None);
    // Nothing that is done under it can panic half-way.
    let last = || LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((read, config)) = &*last()
        && read.elapsed() < KEPT
    {
        return Ok(Arc::clone(config));
    }
    let config = tokio::task::spawn_blocking(trusting_the_system)
        .await
        .unwrap_or_else(|error| Err(error.to_string()))?;
    *last() = Some((Instant::now(), Arc::clone(&config)));
    Ok(config)
}

/// Carries both ways until both are done, or the inner side is gone and what it left has been sent.
async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    secured: S,
    mut outer: TcpStream,
) -> io::Result<()> {
    let (mut from_proxy, mut to_proxy) = tokio::io::split(secured);
    let (mut from_inner, to_inner) = outer.split();
    let outward = async {
        tokio::io::copy(&mut from_inner, &mut to_proxy).await?;
        to_proxy.shutdown().await
    };
    let (mut outward, mut inward) = (pin!(outward), pin!(inward(&mut from_proxy, to_inner)));
    tokio::select! {
        sent = &mut outward => {
            sent?;
            inward.await?;
            Ok(())
        }
        ended = &mut inward => match ended? {
            Inward::Done => outward.await,
            Inward::Gone => timeout(LAST_BYTES, outward).await.unwrap_or(Ok(())),
        },
    }
}

/// How what the proxy says came to its end.
enum Inward {
    /// The proxy has said all.
    Done,
    /// Nobody is left to hear it.
    Gone,
}

async fn inward(from: &mut (impl AsyncRead + Unpin), mut to: WriteHalf<'_>) -> io::Result<Inward> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => match read {
                // Many close without a word of TLS; who relies on the end of what was inside has a framing of its own.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                read => read?,
            },
            () = gone(&to) => return Ok(Inward::Gone),
        };
        if read == 0 {
            to.shutdown().await?;
            return Ok(Inward::Done);
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return Ok(Inward::Gone);
        }
    }
}

/// Returns when the other end of the pair is closed, and not only its direction to here.
async fn gone(to: &WriteHalf<'_>) {
    loop {
        sleep(LOOK).await;
        match to.ready(Interest::WRITABLE).await {
            Ok(ready) if !ready.is_write_closed() => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn both_ways_are_carried_to_their_ends() {
        let (mut proxy, secured) = tokio::io::duplex(1024);
        let (mut inner, outer) = pair().unwrap();
        let carried = tokio::spawn(carry(secured, outer));
        inner.write_all(b"asked").await.unwrap();
        inner.shutdown().await.unwrap();
        let mut asked = Vec::new();
        proxy.read_to_end(&mut asked).await.unwrap();
        assert_eq!(asked, b"asked");
        // Whoever has said all still hears, and for longer than it takes to see that somebody is gone.
        for _ in 0..3 {
            sleep(LOOK).await;
            proxy.write_all(b"answer").await.unwrap();
        }
        drop(proxy);
        let mut answer = Vec::new();
        inner.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answeransweranswer");
        timeout(SOON, carried).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_connection_ends_with_whoever_used_it_though_the_proxy_does_not() {
        let (mut proxy, secured) = tokio::io::duplex(1024);
        let (mut inner, outer) = pair().unwrap();
        let carried = tokio::spawn(carry(secured, outer));
        inner.write_all(b"last words").await.unwrap();
        drop(inner);
        timeout(SOON, carried).await.unwrap().unwrap().unwrap();
        let mut heard = Vec::new();
        proxy.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"last words");
    }
}
