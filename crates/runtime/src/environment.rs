//! What a server's environment holds beside what policy let through.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use srt_policy::{Decision, EnvSelection, Host, NetworkPolicy, Permit, Target};

use crate::caches::launcher;

/// The whole environment of a server.
///
/// `http` and `socks` are the proxies' addresses as the server sees them, `temp` its temporary folder, `token` what
/// the proxies ask for where others can reach them (macOS).
pub fn server_environment(
    selection: &EnvSelection,
    network: &NetworkPolicy,
    command: &[String],
    http: SocketAddr,
    socks: SocketAddr,
    temp: &str,
    token: Option<&str>,
) -> BTreeMap<String, String> {
    let mut all = selection.passed.clone();
    let mut set = |name: &str, value: &str| {
        all.insert(name.to_owned(), value.to_owned());
    };
    set("TMPDIR", temp);
    let user = token
        .map(|token| format!("srt:{token}@"))
        .unwrap_or_default();
    let proxy = format!("http://{user}{http}");
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
        set(name, &proxy);
    }
    // Not ALL_PROXY: with a socks5h:// in it, httpx raises unless socksio is there.
    set("SRT_SOCKS_PROXY", &format!("socks5h://{user}{socks}"));
    // A server that talks to a child of its own over loopback must not be sent to the proxy for it, unless
    // loopback is what policy allows: then the proxy is the way there.
    if !allows_loopback(network) {
        for name in ["NO_PROXY", "no_proxy"] {
            set(name, "localhost,127.0.0.1,::1");
        }
    }
    if !network.allows_anything() {
        // Without network npx takes more than a minute to give up looking for updates, and uvx fails.
        match launcher(command) {
            Some("npx" | "npm" | "pnpm" | "yarn") => set("npm_config_prefer_offline", "true"),
            Some("uvx" | "uv") => set("UV_OFFLINE", "1"),
            _ => {}
        }
    }
    all
}

fn allows_loopback(network: &NetworkPolicy) -> bool {
    // Port 1 stands for "any port": nothing is ever there by name.
    let any = Target {
        host: Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        port: 1,
    };
    // What is only observed is not meant: a server's own children stay off the proxy.
    let named = |permit: &Permit| permit.would_be_denied().is_none();
    !network.loopback_listeners().is_empty()
        || matches!(network.decide(&any), Decision::Allow(permit) if named(&permit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_policy::{Facts, Source, compile};

    fn environment(allowed: &str, command: &str) -> BTreeMap<String, String> {
        let facts = Facts {
            home: "/h".into(),
            cwd: "/h".into(),
            protected: vec![],
            program: Vec::new(),
            macos: false,
        };
        let source = Source {
            path: "/s.json".into(),
            text: format!(r#"{{"network": {{"allowedDomains": [{allowed}]}}}}"#),
        };
        let policy = compile(Some(&source), &facts).unwrap().policy;
        let offered = BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]);
        server_environment(
            &policy.environment.select(&offered, &[]),
            &policy.network,
            &[command.to_owned()],
            ([127, 0, 0, 1], 1000).into(),
            ([127, 0, 0, 1], 1001).into(),
            "/run/srt/tmp",
            None,
        )
    }

    #[test]
    fn no_proxy_never_makes_an_allowed_address_unreachable() {
        assert_eq!(environment("", "x")["NO_PROXY"], "localhost,127.0.0.1,::1");
        for allowed in [
            "\"127.0.0.1:3000\"",
            "\"127.0.0.1\"",
            "\"localhost:80\"",
            "\"[::1]:3000\"",
        ] {
            assert!(
                !environment(allowed, "x").contains_key("NO_PROXY"),
                "{allowed}"
            );
        }
    }

    #[test]
    fn launchers_are_told_when_there_is_no_network() {
        assert_eq!(
            environment("", "/usr/bin/npx")["npm_config_prefer_offline"],
            "true"
        );
        assert_eq!(environment("", "uvx")["UV_OFFLINE"], "1");
        assert!(!environment("\"example.com\"", "npx").contains_key("npm_config_prefer_offline"));
        assert_eq!(environment("", "x")["HTTPS_PROXY"], "http://127.0.0.1:1000");
    }
}
