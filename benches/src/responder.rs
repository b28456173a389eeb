//! The server that clients ask: HTTP/1.1 by hand, so that it costs as little as possible beside what is measured.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const CHUNK: usize = 256 * 1024;

/// A responder on a port of its own.
pub(crate) struct Responder {
    pub(crate) port: u16,
    accepting: JoinHandle<()>,
}

impl Responder {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("cannot listen")?;
        let port = listener.local_addr()?.port();
        let chunk: Arc<[u8]> = vec![b'x'; CHUNK].into();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let chunk = Arc::clone(&chunk);
                // Ends with its connection; a client that leaves in the middle is no news.
                tokio::spawn(async move { drop(answer(stream, &chunk).await) });
            }
        });
        Ok(Self { port, accepting })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers `/bytes/N` with N bytes and anything else with two, until the client leaves.
async fn answer(stream: TcpStream, chunk: &[u8]) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = BufReader::new(stream);
    let mut line = String::new();
    loop {
        let mut length = 2;
        loop {
            line.clear();
            if connection.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
            if let Some((_, rest)) = line.split_once("/bytes/") {
                let digits = rest.split(' ').next().unwrap_or_default();
                length = digits.parse()?;
            }
        }
        let mut head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        let stream = connection.get_mut();
        if length <= 2 {
            // One write, so that head and body are one packet.
            head.extend_from_slice(&chunk[..length]);
            stream.write_all(&head).await?;
            continue;
        }
        stream.write_all(&head).await?;
        while length > 0 {
            let part = length.min(chunk.len());
            stream.write_all(&chunk[..part]).await?;
            length -= part;
        }
    }
}
