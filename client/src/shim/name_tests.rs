//! The table of names: each line a command as it stands in somebody's `.mcp.json`.

use super::*;

#[test]
fn names_are_what_a_person_would_say() {
    let table = [
        (
            "npx -y @modelcontextprotocol/server-filesystem /x",
            "server-filesystem",
        ),
        (
            "npx -y @modelcontextprotocol/server-filesystem@1.2.3 /x",
            "server-filesystem",
        ),
        (
            "npx --yes mcp-remote@latest https://x.example/sse",
            "mcp-remote",
        ),
        ("npx -p @scope/pkg the-command --flag", "the-command"),
        ("npx --package=@scope/pkg", "pkg"),
        (
            "/usr/bin/npx @playwright/mcp@latest --headless",
            "playwright-mcp",
        ),
        ("npx -y pkg --name x", "pkg"),
        ("npx -y github:owner/repo#main", "repo"),
        ("uvx mcp-server-git --repository .", "mcp-server-git"),
        ("uvx mcp-server-git==0.6.2", "mcp-server-git"),
        ("uvx mcp-server-git@latest", "mcp-server-git"),
        ("uvx mcp[cli]", "mcp"),
        (
            "uvx --from git+https://x.example/o/thing.git thing-mcp",
            "thing-mcp",
        ),
        ("uv tool run mcp-server-time", "mcp-server-time"),
        ("uv run mcp-server-time", "mcp-server-time"),
        ("uv --directory /srv/weather run weather.py", "weather"),
        (
            "uv run --directory /srv/weather python -m weather_mcp.server",
            "weather_mcp",
        ),
        ("uv run --with mcp server.py", "server"),
        ("pipx run mcp-server-fetch", "mcp-server-fetch"),
        ("python -m mcp_server_git --repository .", "mcp_server_git"),
        ("python3 -m mcp_server_git", "mcp_server_git"),
        ("python3.12 -u -m mcp_server_git", "mcp_server_git"),
        ("python3 /a/b/server.py", "server"),
        ("python3 /a/weather/main.py -m x", "weather"),
        ("node /a/dist/index.js", "a"),
        (
            "node --no-warnings /srv/my-server/build/src/index.js",
            "my-server",
        ),
        ("node /x/node_modules/@scope/pkg/dist/cli.js", "pkg"),
        ("node server.mjs", "server"),
        ("node index.js", "index"),
        ("tsx src/index.ts", "index"),
        ("bunx @scope/tool", "tool"),
        ("bun x @scope/tool", "tool"),
        ("bun run /a/thing.ts", "thing"),
        ("pnpm dlx @scope/tool@2", "tool"),
        ("yarn dlx tool", "tool"),
        ("npm exec -y -- @scope/tool", "tool"),
        ("npm --prefix /a run serve", "serve"),
        ("deno run -A npm:@scope/tool", "tool"),
        ("deno run -A npm:@scope/tool@1.2", "tool"),
        ("npx -y @sentry/mcp-server@2", "sentry-mcp-server"),
        ("node /x/node_modules/@azure/mcp/dist/index.js", "azure-mcp"),
        ("docker run --rm -i ghcr.io/acme/mcp:1", "acme-mcp"),
        ("docker run --rm -i localhost:5000/mcp", "mcp"),
        ("deno run --allow-net /a/b/thing.ts", "thing"),
        ("cargo run -p my-server -- --bin other", "my-server"),
        (
            "cargo run --manifest-path /a/my-server/Cargo.toml",
            "my-server",
        ),
        ("cargo run", "cargo"),
        ("go run /a/thing.go", "thing"),
        ("java -jar /opt/thing.jar", "thing"),
        ("docker run -i --rm -e TOKEN mcp/github", "github"),
        (
            "docker run -i --rm -v /a:/b ghcr.io/github/github-mcp-server:v1 stdio",
            "github-mcp-server",
        ),
        ("podman run --rm img@sha256:abcd", "img"),
        ("env FOO=1 npx -y pkg", "pkg"),
        ("/opt/tools/github-mcp-server stdio", "github-mcp-server"),
        ("/opt/thing/bin/server", "thing"),
        ("./target/release/my-mcp", "my-mcp"),
        ("cat", "cat"),
        ("bash /a/start-it.sh", "start-it"),
        ("/", "server"),
        ("ünïcode server", "n-code"),
        ("-", "server"),
    ];
    for (command, expected) in table {
        let words: Vec<_> = command.split(' ').map(str::to_owned).collect();
        assert_eq!(derive(&words), expected, "{command}");
    }
}

#[test]
fn shell_strings_are_named_after_what_they_run() {
    let table = [
        ("exec npx -y @scope/tool 2>/dev/null", "tool"),
        ("FOO=1 my-server --x", "my-server"),
        ("cd /a && uvx mcp-server-git", "mcp-server-git"),
        ("\"/opt/my server/run\"", "my"),
        ("", "sh"),
    ];
    for (string, expected) in table {
        let words = ["/bin/sh", "-c", string].map(str::to_owned);
        assert_eq!(derive(&words), expected, "{string}");
    }
    let words = ["bash", "-lc", "thing --serve"].map(str::to_owned);
    assert_eq!(derive(&words), "thing");
}

#[test]
fn every_name_is_valid_whatever_the_command() {
    let long = "x".repeat(500);
    let dots = format!("{}.{}", "x".repeat(63), "y".repeat(9));
    let nested = vec!["env"; 40].join(" ");
    let words = [
        &long,
        &dots,
        &nested,
        "",
        " ",
        "...",
        "--",
        "a/../..",
        "npx -y",
        "npx -y @",
        "uvx --from",
        "docker run",
        "python -m",
        "bash -c",
        "cargo run -p",
        "@",
        "@/",
        "npx @a/@b",
        "\u{0}\n\u{1b}[2J",
    ];
    for command in words {
        let words: Vec<_> = command.split(' ').map(str::to_owned).collect();
        let name = derive(&words);
        assert!(is_valid(&name), "{command:?} gives {name:?}");
    }
    assert!(is_valid(&derive(&[])));
}

#[test]
fn a_given_name_is_held_to_the_same_alphabet() {
    for name in ["a", "server-filesystem", "A.b_c-9", "_x"] {
        assert!(is_valid(name), "{name}");
    }
    for name in ["", ".hidden", "-x", "a b", "a/b", "ä", &"x".repeat(65)] {
        assert!(!is_valid(name), "{name}");
    }
}
