//! A small real MCP server whose tools try things: files, hosts, environment.
//!
//! It is honest: it does what it is asked and reports what the system said. The demo and the end-to-end tests run
//! it with and without a sandbox, so that a refusal is seen against the same call succeeding.

mod get;

use std::time::Duration;

use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{ServerCapabilities, ServerConfig};
use rmcp::{ServerHandler, ServiceExt as _, schemars, tool, tool_handler, tool_router};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// How long a connection attempt may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long `connect` waits for the other side to say something.
const GREETING: Duration = Duration::from_millis(500);

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct ReadFile {
    /// The file to read.
    path: String,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct WriteFile {
    /// The file to write.
    path: String,
    /// What it shall contain.
    content: String,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct FetchUrl {
    /// An `http://` address.
    url: String,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Connect {
    /// A name or an address.
    host: String,
    /// The TCP port.
    port: u16,
}

/// What every tool answers: text for a person, marked as an error where the system refused.
type Answer = Result<String, String>;

#[derive(Clone, Debug)]
struct Demo;

#[tool_router]
impl Demo {
    #[tool(description = "Read a text file")]
    async fn read_file(&self, Parameters(ReadFile { path }): Parameters<ReadFile>) -> Answer {
        match tokio::fs::read(&path).await {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => Err(format!("cannot read {path}: {error}")),
        }
    }

    #[tool(description = "Write a text file")]
    async fn write_file(
        &self,
        Parameters(WriteFile { path, content }): Parameters<WriteFile>,
    ) -> Answer {
        match tokio::fs::write(&path, &content).await {
            Ok(()) => Ok(format!("wrote {} bytes to {path}", content.len())),
            Err(error) => Err(format!("cannot write {path}: {error}")),
        }
    }

    #[tool(description = "Fetch an http:// address, through HTTP_PROXY where that is set")]
    async fn fetch_url(&self, Parameters(FetchUrl { url }): Parameters<FetchUrl>) -> Answer {
        let proxy = ["HTTP_PROXY", "http_proxy"]
            .iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|value| !value.is_empty());
        match get::get(&url, proxy.as_deref()).await {
            Ok(response) if response.succeeded() => Ok(response.to_string()),
            Ok(response) => Err(response.to_string()),
            Err(error) => Err(format!("cannot fetch {url}: {error}")),
        }
    }

    #[tool(
        description = "Connect to host:port by a plain socket, whatever the proxy variables say"
    )]
    async fn connect(&self, Parameters(Connect { host, port }): Parameters<Connect>) -> Answer {
        let addresses: Vec<_> = match tokio::net::lookup_host((host.as_str(), port)).await {
            Ok(found) => found.collect(),
            Err(error) => return Err(format!("cannot resolve {host}: {error}")),
        };
        let attempt = tokio::time::timeout(CONNECT, TcpStream::connect(addresses.as_slice())).await;
        let mut stream = match attempt {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(format!("cannot connect to {host}:{port}: {error}"));
            }
            Err(_) => {
                return Err(format!(
                    "cannot connect to {host}:{port}: no answer in {} s",
                    CONNECT.as_secs()
                ));
            }
        };
        let mut greeting = [0; 256];
        match tokio::time::timeout(GREETING, stream.read(&mut greeting)).await {
            // A transparent proxy accepts before it decides: an end without a word is how it says no.
            Ok(Ok(0)) => Err(format!("connected to {host}:{port}, which closed at once")),
            Ok(Ok(count)) => Ok(format!(
                "connected to {host}:{port}, which said {:?}",
                String::from_utf8_lossy(&greeting[..count])
            )),
            Ok(Err(error)) => Err(format!("connected to {host}:{port}, then: {error}")),
            Err(_) => Ok(format!("connected to {host}:{port}, which said nothing")),
        }
    }

    #[tool(description = "List the environment variables, sorted")]
    async fn list_environment(&self) -> String {
        let mut lines: Vec<_> = std::env::vars_os()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
            .collect();
        lines.sort();
        lines.join("\n")
    }
}

#[tool_handler]
impl ServerHandler for Demo {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_instructions("Each tool tries one thing and says what the system answered")
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let service = Demo.serve(rmcp::transport::stdio()).await?;
    service.waiting().await?;
    Ok(())
}
