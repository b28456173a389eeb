//! Settings files as users have them: they must load and mean what they say, in this version and every later one.

use std::path::Path;

use srt_policy::{Compiled, FlowKind, Upstream};

use crate::support::{denial, permit, show, target, try_compile};

fn load(name: &str) -> Compiled {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/settings")
        .join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    try_compile(&text).unwrap_or_else(|invalid| panic!("{name}: {:#?}", invalid.diagnostics))
}

#[track_caller]
fn files(compiled: &Compiled, table: &[(&str, bool, bool)]) {
    for (path, read, write) in table {
        let filesystem = &compiled.policy.filesystem;
        assert_eq!(
            filesystem.decide_read(Path::new(path)).allowed,
            *read,
            "read {path}"
        );
        assert_eq!(
            filesystem.decide_write(Path::new(path)).allowed,
            *write,
            "write {path}"
        );
    }
}

#[test]
fn first_steps() {
    let compiled = load("first-steps.json");
    assert_eq!(show(&compiled.warnings), [] as [&str; 0]);
    files(
        &compiled,
        &[
            ("/home/ada/project/x", true, true),
            ("/home/ada/x", true, false),
            ("/home/ada/private/x", true, false),
            ("/home/ada/.ssh/id_rsa", false, false),
        ],
    );
    let network = &compiled.policy.network;
    permit(network, "api.github.com:443");
    permit(network, "npm.example-packages.org:443");
    denial(network, "example-packages.org:443");
    denial(network, "github.com:443");
    assert!(network.loopback_listeners().is_empty());
}

#[test]
fn template() {
    let compiled = load("template.json");
    assert_eq!(show(&compiled.warnings), [] as [&str; 0]);
    let quota = compiled.policy.limits.cpu_quota.unwrap();
    assert_eq!(quota.percent, 50);
    files(
        &compiled,
        &[
            ("/home/ada/project/workspace/x", true, true),
            ("/home/ada/project/cache", true, true),
            ("/home/ada/project/x", true, false),
            ("/etc/passwd", false, false),
            ("/etc/hosts", true, false),
            ("/tmp/x", true, false),
            ("/home/ada/.config/x", true, false),
            ("/home/ada/.aws/credentials", false, false),
        ],
    );
    let network = &compiled.policy.network;
    let allowed = permit(network, "registry.example.com:443");
    assert_eq!(
        network.upstream(&allowed, FlowKind::PlainHttp),
        Some(Upstream::Http {
            proxy: target("127.0.0.1:8080"),
            tls: false,
            credentials: None
        })
    );
    denial(network, "127.0.0.1:8080");
    assert_eq!(compiled.policy.limits.max_file_descriptors, Some(1024));
    let offered = [("DATABASE_URL".to_owned(), "x".to_owned())].into();
    let selection = compiled
        .policy
        .environment
        .select(&offered, &["DATABASE_URL".to_owned()]);
    assert_eq!(selection.left_out, ["DATABASE_URL"]);
}

#[test]
fn workspace_only() {
    let compiled = load("workspace-only.json");
    let warnings = show(&compiled.warnings);
    assert!(warnings.is_empty(), "{warnings:?}");
    files(
        &compiled,
        &[
            ("/home/ada/project/src/x", true, true),
            ("/home/ada/project/.env", true, false),
            ("/home/ada/project/config/production.json", true, false),
            ("/home/ada/project/config/dev.json", true, true),
            ("/home/ada/x", false, false),
            ("/root/x", false, false),
            ("/usr/bin/env", true, false),
        ],
    );
    let network = &compiled.policy.network;
    permit(network, "github.com:443");
    denial(network, "github.com:22");
    permit(network, "api.github.com:22");
    denial(network, "gist.github.com:443");
    let local = permit(network, "127.0.0.1:3000");
    network
        .check(local, &[], &["127.0.0.1".parse().expect("an address")])
        .expect("a literal opens itself");
    permit(network, "[::1]:3000");
    denial(network, "127.0.0.1:3001");
    let listeners: Vec<String> = network
        .loopback_listeners()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(listeners, ["127.0.0.1:3000", "[::1]:3000"]);
}
