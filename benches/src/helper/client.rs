//! A small HTTP client: the same code direct and through the proxy that the environment names.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// What the client is to do, as it stands on its command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Through the proxy of `HTTP_PROXY`, or direct.
    pub(crate) proxied: bool,
    pub(crate) task: Task,
    /// Where the responder is: this port of 127.0.0.1.
    pub(crate) port: u16,
    pub(crate) connections: usize,
    /// Requests in all; bytes of the one download.
    pub(crate) amount: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Requests on connections that stay open; through a proxy in absolute form.
    KeepAlive,
    /// As `KeepAlive`, for a host that policy denies: each answer is a refusal.
    Denied,
    /// A connection for each request; through a proxy with CONNECT.
    Connect,
    /// One large body; through a proxy in absolute form.
    Download,
    /// One large body; through a proxy with CONNECT.
    Tunnel,
}

impl Task {
    const ALL: [(Self, &'static str); 5] = [
        (Self::KeepAlive, "keep-alive"),
        (Self::Denied, "denied"),
        (Self::Connect, "connect"),
        (Self::Download, "download"),
        (Self::Tunnel, "tunnel"),
    ];
}

/// What came of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Requests a second, or bytes a second.
    pub(crate) rate: f64,
}

impl Job {
    pub(crate) fn to_argument(self) -> String {
        let task = Task::ALL.iter().find(|(task, _)| *task == self.task);
        let name = task.map_or("", |(_, name)| *name);
        let Self {
            proxied,
            port,
            connections,
            amount,
            ..
        } = self;
        format!("{name},{proxied},{port},{connections},{amount}")
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let fields: Vec<&str> = text.split(',').collect();
        let [name, proxied, port, connections, amount] = fields.as_slice() else {
            bail!("{text:?} is no job");
        };
        let task = Task::ALL.iter().find(|(_, known)| known == name);
        Ok(Self {
            task: task
                .map(|(task, _)| *task)
                .with_context(|| format!("no task {name:?}"))?,
            proxied: proxied.parse()?,
            port: port.parse()?,
            connections: connections.parse()?,
            amount: amount.parse()?,
        })
    }
}

impl Outcome {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let rate = text
            .trim()
            .parse()
            .map_err(|_| anyhow!("the client said {text:?}"))?;
        Ok(Self { rate })
    }
}

pub(super) fn run(job: &Job) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let elapsed = runtime.block_on(work(*job))?;
    println!("{}", job.amount as f64 / elapsed.as_secs_f64());
    Ok(())
}

async fn work(job: Job) -> anyhow::Result<Duration> {
    let peer = Peer::of(job)?;
    let start = Instant::now();
    match job.task {
        Task::Download | Task::Tunnel => {
            let mut connection = peer.open().await?;
            peer.get(&mut connection, &format!("/bytes/{}", job.amount))
                .await?;
        }
        Task::KeepAlive | Task::Denied | Task::Connect => {
            let each = job.amount.div_ceil(job.connections);
            let loops = (0..job.connections).map(|_| tokio::spawn(requests(peer.clone(), each)));
            for one in loops.collect::<Vec<_>>() {
                one.await??;
            }
        }
    }
    Ok(start.elapsed())
}

async fn requests(peer: Peer, count: usize) -> anyhow::Result<()> {
    let mut open = None;
    for _ in 0..count {
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => peer.open().await?,
        };
        let stays = peer.get(&mut connection, "/small").await?;
        if stays && peer.job.task != Task::Connect {
            open = Some(connection);
        }
    }
    Ok(())
}

/// Whom to connect to, and how to ask.
#[derive(Clone, Debug)]
struct Peer {
    job: Job,
    address: String,
    proxy: Option<String>,
}

impl Peer {
    fn of(job: Job) -> anyhow::Result<Self> {
        let proxy = match job.proxied {
            true => {
                let url = std::env::var("HTTP_PROXY").context("HTTP_PROXY is not set")?;
                let address = url
                    .strip_prefix("http://")
                    .context("HTTP_PROXY is no http: URL")?;
                Some(address.trim_end_matches('/').to_owned())
            }
            false => None,
        };
        let address = match job.task {
            Task::Denied => "denied.example:80".into(),
            _ => format!("127.0.0.1:{}", job.port),
        };
        Ok(Self {
            job,
            address,
            proxy,
        })
    }

    fn tunnels(&self) -> bool {
        self.proxy.is_some() && matches!(self.job.task, Task::Connect | Task::Tunnel)
    }

    async fn open(&self) -> anyhow::Result<BufReader<TcpStream>> {
        let address = self.proxy.as_ref().unwrap_or(&self.address);
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let mut connection = BufReader::with_capacity(64 * 1024, stream);
        if self.tunnels() {
            let request = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", self.address);
            connection.get_mut().write_all(request.as_bytes()).await?;
            let head = Head::read(&mut connection).await?;
            if head.status != 200 {
                bail!("CONNECT was answered with {}", head.status);
            }
        }
        Ok(connection)
    }

    /// One request; whether the connection stays open.
    async fn get(&self, connection: &mut BufReader<TcpStream>, path: &str) -> anyhow::Result<bool> {
        let host = &self.address;
        let target = match self.proxy.is_some() && !self.tunnels() {
            true => format!("http://{host}{path}"),
            false => path.to_owned(),
        };
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        connection.get_mut().write_all(request.as_bytes()).await?;
        let head = Head::read(connection).await?;
        let expected = if self.job.task == Task::Denied {
            403
        } else {
            200
        };
        if head.status != expected {
            bail!("GET {target} was answered with {}", head.status);
        }
        let length = head.length.context("an answer without a Content-Length")?;
        let mut body = connection.take(length);
        let mut read = 0;
        loop {
            let count = body.fill_buf().await?.len();
            if count == 0 {
                break;
            }
            body.consume(count);
            read += count as u64;
        }
        if read != length {
            bail!("GET {target} ended after {read} of {length} bytes");
        }
        Ok(!head.closes)
    }
}

/// What matters of an answer's head.
#[derive(Debug, Default)]
struct Head {
    status: u16,
    length: Option<u64>,
    closes: bool,
}

impl Head {
    async fn read(connection: &mut BufReader<TcpStream>) -> anyhow::Result<Self> {
        let mut head = Self::default();
        let mut line = String::new();
        loop {
            line.clear();
            if connection.read_line(&mut line).await? == 0 {
                bail!("the connection was closed in the middle of an answer");
            }
            let text = line.trim_end();
            if text.is_empty() {
                return Ok(head);
            }
            if head.status == 0 {
                let status = text
                    .split(' ')
                    .nth(1)
                    .with_context(|| format!("an answer begins with {text:?}"))?;
                head.status = status.parse()?;
            } else if let Some((name, value)) = text.split_once(':') {
                let value = value.trim();
                if name.eq_ignore_ascii_case("content-length") {
                    head.length = Some(value.parse()?);
                } else if name.eq_ignore_ascii_case("connection") {
                    head.closes = value.eq_ignore_ascii_case("close");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_survives_the_command_line() {
        for (task, _) in Task::ALL {
            let job = Job {
                proxied: true,
                task,
                port: 80,
                connections: 16,
                amount: 1000,
            };
            assert_eq!(Job::parse(&job.to_argument()).unwrap(), job);
        }
        assert!(Job::parse("keep-alive,true,80,1").is_err());
    }
}
