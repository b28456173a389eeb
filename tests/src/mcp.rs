//! Messages of both eras of MCP, and the client of crate rmcp.

use std::process::Command;

use rmcp::model::{CallToolRequestParams, ProtocolVersion};
use rmcp::service::RunningService;
use rmcp::transport::TokioChildProcess;
use rmcp::{ClientLifecycleMode, ClientServiceExt as _, RoleClient};
use serde_json::{Value, json};

/// A request of the modern era, where each carries what `initialize` used to say.
pub fn modern(id: &Value, method: &str, mut params: Value) -> String {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "srt-tests", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// A request of the legacy era.
pub fn legacy(id: &Value, method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// The first request of the legacy era.
pub fn initialize(id: &Value) -> String {
    let params = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": { "name": "srt-tests", "version": "1" },
    });
    legacy(id, "initialize", params)
}

/// What a client says after the answer to `initialize`.
pub const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The two eras, as rmcp's client begins them.
pub fn lifecycle(modern: bool) -> ClientLifecycleMode {
    if modern {
        ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        }
    } else {
        ClientLifecycleMode::Initialize
    }
}

/// Connects rmcp's client to a command.
///
/// # Panics
///
/// When the conversation does not begin.
pub async fn connect(command: Command, modern: bool) -> RunningService<RoleClient, ()> {
    let shown = format!("{command:?}");
    let transport = TokioChildProcess::new(tokio::process::Command::from(command))
        .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
    ().serve_with_lifecycle(transport, lifecycle(modern))
        .await
        .unwrap_or_else(|error| panic!("{shown}: {error}"))
}

/// Everything that rmcp's client sees of a server: who it is, its tools, and the answers to `calls`.
///
/// # Panics
///
/// When the client loses the server.
pub async fn answers(command: Command, modern: bool, calls: &[(&str, Value)]) -> Vec<Value> {
    let client = connect(command, modern).await;
    let mut seen = vec![json!(format!("{:?}", client.peer_info()))];
    let tools = client.list_all_tools().await.expect("the tools");
    seen.push(serde_json::to_value(tools).expect("tools are JSON"));
    for (name, arguments) in calls {
        let mut params = CallToolRequestParams::new((*name).to_owned());
        if let Value::Object(map) = arguments {
            params = params.with_arguments(map.clone());
        }
        seen.push(match client.call_tool(params).await {
            Ok(result) => serde_json::to_value(result).expect("a result is JSON"),
            Err(error) => json!({ "error": error.to_string() }),
        });
    }
    client.cancel().await.expect("the client ends");
    seen
}
