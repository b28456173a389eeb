//! A small HTTP client: the same code direct and through the proxies that the environment names.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::stats::Samples;

/// What the client is to do, as it stands on its command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) way: Way,
    pub(crate) task: Task,
    /// Where the responder is: this port of 127.0.0.1.
    pub(crate) port: u16,
    pub(crate) connections: usize,
    /// Requests in all; bytes of the one download.
    pub(crate) amount: usize,
}

/// How the responder is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As a program that knows of no proxy: outside direct, in a sandbox captured.
    Direct,
    /// The HTTP proxy of `HTTP_PROXY`, in absolute form.
    Http,
    /// The same, with CONNECT.
    Connect,
    /// The SOCKS5 proxy of `SRT_SOCKS_PROXY`, or where another sandbox names its own, of `ftp_proxy`.
    Socks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Requests on connections that stay open.
    KeepAlive,
    /// As `KeepAlive`, for a host that policy denies: each answer is a refusal.
    Denied,
    /// A connection for each request.
    SetUp,
    /// One large body.
    Download,
    /// Connections that are opened, used once, and then held until standard input ends.
    Hold,
}

/// The word of a value in a table of them, and back.
trait Word: Copy + PartialEq + 'static {
    const ALL: &'static [(Self, &'static str)];

    fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(value, _)| *value == self);
        found.map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == word);
        Ok(found.with_context(|| format!("no {word:?}"))?.0)
    }
}

impl Word for Way {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Direct, "direct"),
        (Self::Http, "http"),
        (Self::Connect, "connect"),
        (Self::Socks, "socks"),
    ];
}

impl Word for Task {
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::KeepAlive, "keep-alive"),
        (Self::Denied, "denied"),
        (Self::SetUp, "set-up"),
        (Self::Download, "download"),
        (Self::Hold, "hold"),
    ];
}

/// What came of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Requests a second, or bytes a second.
    pub(crate) rate: f64,
    /// Seconds that half of the requests took at most, from opening the connection where each has its own.
    pub(crate) p50: f64,
    /// Seconds that all but one in a hundred took at most.
    pub(crate) p99: f64,
}

impl Job {
    pub(crate) fn to_argument(self) -> String {
        let Self {
            way,
            task,
            port,
            connections,
            amount,
        } = self;
        let (way, task) = (way.word(), task.word());
        format!("{way},{task},{port},{connections},{amount}")
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let fields: Vec<&str> = text.split(',').collect();
        let [way, task, port, connections, amount] = fields.as_slice() else {
            bail!("{text:?} is no job");
        };
        Ok(Self {
            way: Way::of(way)?,
            task: Task::of(task)?,
            port: port.parse()?,
            connections: connections.parse()?,
            amount: amount.parse()?,
        })
    }
}

impl Outcome {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut figures = text.split_whitespace().map(str::parse);
        let mut next = || {
            let figure = figures.next().and_then(Result::ok);
            figure.ok_or_else(|| anyhow!("the client said {text:?}"))
        };
        Ok(Self {
            rate: next()?,
            p50: next()?,
            p99: next()?,
        })
    }
}

pub(super) fn run(job: &Job) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if job.task == Task::Hold {
        return runtime.block_on(hold(*job));
    }
    let (elapsed, times) = runtime.block_on(work(*job))?;
    println!(
        "{} {} {}",
        job.amount as f64 / elapsed.as_secs_f64(),
        times.median(),
        times.percentile(99.0)
    );
    Ok(())
}

async fn work(job: Job) -> anyhow::Result<(Duration, Samples)> {
    let peer = Peer::of(job)?;
    let mut times = Samples::default();
    let start = Instant::now();
    if job.task == Task::Download {
        let mut connection = peer.open().await?;
        peer.get(&mut connection, &format!("/bytes/{}", job.amount))
            .await?;
        times.time(start.elapsed());
    } else {
        let each = job.amount.div_ceil(job.connections);
        let loops = (0..job.connections).map(|_| tokio::spawn(requests(peer.clone(), each)));
        for one in loops.collect::<Vec<_>>() {
            for time in one.await?? {
                times.time(time);
            }
        }
    }
    Ok((start.elapsed(), times))
}

async fn requests(peer: Peer, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut open = None;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => peer.open().await?,
        };
        let stays = peer.get(&mut connection, "/small").await?;
        times.push(start.elapsed());
        if stays && peer.job.task != Task::SetUp {
            open = Some(connection);
        }
    }
    Ok(times)
}

/// Says "held" once all connections are open and used.
async fn hold(job: Job) -> anyhow::Result<()> {
    let peer = Peer::of(job)?;
    let mut held = Vec::with_capacity(job.connections);
    for _ in 0..job.connections {
        let mut connection = peer.open().await?;
        peer.get(&mut connection, "/small").await?;
        held.push(connection);
    }
    println!("held");
    // Nothing else is to be done meanwhile.
    std::io::read_to_string(std::io::stdin())?;
    Ok(())
}

/// A proxy, as a URL of the environment names it.
#[derive(Clone, Debug)]
struct Proxy {
    address: String,
    user: String,
    password: String,
}

impl Proxy {
    fn parse(url: &str) -> anyhow::Result<Self> {
        let (_, rest) = url
            .split_once("://")
            .with_context(|| format!("{url:?} is no URL"))?;
        let rest = rest.trim_end_matches('/');
        let (credentials, address) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        Ok(Self {
            address: address.to_owned(),
            user: unescaped(user),
            password: unescaped(password),
        })
    }

    /// The header that carries the credentials, with its end of line; nothing where there are none.
    fn header(&self) -> String {
        if self.user.is_empty() {
            return String::new();
        }
        let coded = BASE64_STANDARD.encode(format!("{}:{}", self.user, self.password));
        format!("Proxy-Authorization: Basic {coded}\r\n")
    }
}

/// Percent-escapes (RFC 3986, section 2.1) undone; what is none stays.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        let (byte, left) = match escape {
            Some(byte) => (byte, &tail[2..]),
            None => (*first, tail),
        };
        bytes.push(byte);
        rest = left;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whom to connect to, and how to ask.
#[derive(Clone, Debug)]
struct Peer {
    job: Job,
    address: String,
    proxy: Option<Proxy>,
}

impl Peer {
    fn of(job: Job) -> anyhow::Result<Self> {
        let names: &[&str] = match job.way {
            Way::Direct => &[],
            Way::Http | Way::Connect => &["HTTP_PROXY"],
            Way::Socks => &["SRT_SOCKS_PROXY", "ftp_proxy"],
        };
        let proxy = match names {
            [] => None,
            names => {
                let url = names.iter().find_map(|name| std::env::var(name).ok());
                let url = url.with_context(|| format!("{} is not set", names.join(" or ")))?;
                Some(Proxy::parse(&url)?)
            }
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

    async fn open(&self) -> anyhow::Result<BufReader<TcpStream>> {
        let address = match &self.proxy {
            Some(proxy) => &proxy.address,
            None => &self.address,
        };
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let mut connection = BufReader::with_capacity(64 * 1024, stream);
        match (&self.proxy, self.job.way) {
            (Some(proxy), Way::Connect) => {
                let request = format!(
                    "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n{1}\r\n",
                    self.address,
                    proxy.header()
                );
                connection.get_mut().write_all(request.as_bytes()).await?;
                let head = Head::read(&mut connection).await?;
                if head.status != 200 {
                    bail!("CONNECT was answered with {}", head.status);
                }
            }
            (Some(proxy), Way::Socks) => self.socks(proxy, &mut connection).await?,
            _ => {}
        }
        Ok(connection)
    }

    /// The handshake of RFC 1928, with the credentials of RFC 1929 where the proxy asks for them.
    async fn socks(
        &self,
        proxy: &Proxy,
        connection: &mut BufReader<TcpStream>,
    ) -> anyhow::Result<()> {
        connection.get_mut().write_all(&[5, 2, 0, 2]).await?;
        let mut answer = [0; 2];
        connection.read_exact(&mut answer).await?;
        if answer == [5, 2] {
            let mut words = vec![1];
            for word in [&proxy.user, &proxy.password] {
                words.push(u8::try_from(word.len())?);
                words.extend(word.as_bytes());
            }
            connection.get_mut().write_all(&words).await?;
            connection.read_exact(&mut answer).await?;
        }
        let [_, 0] = answer else {
            bail!("the SOCKS proxy answered {answer:?}");
        };
        let mut ask = vec![5, 1, 0, 1, 127, 0, 0, 1];
        ask.extend(self.job.port.to_be_bytes());
        connection.get_mut().write_all(&ask).await?;
        let mut reply = [0; 10];
        connection.read_exact(&mut reply).await?;
        if reply[1] != 0 {
            bail!("SOCKS CONNECT was answered with {}", reply[1]);
        }
        Ok(())
    }

    /// One request; whether the connection stays open.
    async fn get(&self, connection: &mut BufReader<TcpStream>, path: &str) -> anyhow::Result<bool> {
        let host = &self.address;
        let (target, credentials) = match (&self.proxy, self.job.way) {
            (Some(proxy), Way::Http) => (format!("http://{host}{path}"), proxy.header()),
            _ => (path.to_owned(), String::new()),
        };
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{credentials}\r\n");
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
        if head.chunked {
            read_chunks(connection).await?;
            return Ok(!head.closes);
        }
        let length = head.length.context("an answer without a Content-Length")?;
        skip(connection, length).await?;
        Ok(!head.closes)
    }
}

async fn skip(connection: &mut BufReader<TcpStream>, length: u64) -> anyhow::Result<()> {
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
        bail!("a body ended after {read} of {length} bytes");
    }
    Ok(())
}

/// A body in chunks (RFC 9112, section 7.1), as some proxies make of every one.
async fn read_chunks(connection: &mut BufReader<TcpStream>) -> anyhow::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        connection.read_line(&mut line).await?;
        let length = u64::from_str_radix(line.trim_end(), 16)
            .with_context(|| format!("{line:?} is no chunk's size"))?;
        // The end of line that follows is part of it.
        skip(connection, length + 2).await?;
        if length == 0 {
            return Ok(());
        }
    }
}

/// What matters of an answer's head.
#[derive(Debug, Default)]
struct Head {
    status: u16,
    length: Option<u64>,
    chunked: bool,
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
                } else if name.eq_ignore_ascii_case("transfer-encoding") {
                    head.chunked = value.eq_ignore_ascii_case("chunked");
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
        for (way, _) in Way::ALL {
            for (task, _) in Task::ALL {
                let job = Job {
                    way: *way,
                    task: *task,
                    port: 80,
                    connections: 16,
                    amount: 1000,
                };
                assert_eq!(Job::parse(&job.to_argument()).unwrap(), job);
            }
        }
        assert!(Job::parse("http,keep-alive,80,1").is_err());
    }

    #[test]
    fn a_proxy_is_what_its_url_says() {
        let proxy = Proxy::parse("http://srt.a%3D%3d:b@localhost:3128/").unwrap();
        assert_eq!(proxy.address, "localhost:3128");
        assert_eq!((&*proxy.user, &*proxy.password), ("srt.a==", "b"));
        assert_eq!(
            proxy.header(),
            "Proxy-Authorization: Basic c3J0LmE9PTpi\r\n"
        );
        assert_eq!(
            Proxy::parse("socks5h://127.0.0.1:1080").unwrap().header(),
            ""
        );
        assert_eq!(unescaped("100%"), "100%");
    }
}
