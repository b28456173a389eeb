//! `srt`: stands in `.mcp.json` before a server's command and runs it in a sandbox of the daemon.

fn main() {
    // Not by returning: a thread that reads stdin is never done, and what runtimes hold needs no tidying.
    std::process::exit(srt_client::shim::main());
}
