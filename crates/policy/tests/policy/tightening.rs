//! Random files above random files: what comes of them never permits what is forbidden without the project's file, nor,
//! below the user's, what the server's own file forbids.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use srt_policy::{
    Decision, FilesystemPolicy, Host, Layer, Layered, McpAudit, Policy, Source, UnixSockets,
    compile_layers,
};

use crate::support::{facts, target};

/// A linear congruential generator (Knuth's constants): the same files in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn some(&mut self, of: &[&str], most: usize) -> String {
        let all: Vec<&str> = (0..self.below(most + 1)).map(|_| self.one(of)).collect();
        format!("[{}]", all.join(", "))
    }
}

#[rustfmt::skip]
const HOSTS: &[&str] = &[
    r#""a.x.test""#, r#""*.x.test""#, r#""*.a.x.test""#, r#""a.x.test:443""#, r#""*.x.test:443""#, r#""b.y.test""#, r#""x.test""#,
    r#""localhost""#, r#""localhost:80""#, r#""127.0.0.1:80""#, r#""127.0.0.1""#, r#""10.0.0.1""#, r#""[::1]:443""#,
];
const DENIED: &[&str] = &[
    r#""a.x.test""#,
    r#""*.x.test:80""#,
    r#""*""#,
    r#""10.0.0.1""#,
    r#""*:443""#,
    r#""b.y.test""#,
];
const RANGES: &[&str] = &[r#""10.0.0.0/8""#, r#""192.0.2.0/24""#, r#""::/0""#];
#[rustfmt::skip]
const PATHS: &[&str] = &[
    r#"".""#, r#""./a""#, r#""./a/b""#, r#""./a/b/c""#, r#""./d""#, r#""~""#, r#""~/.ssh""#, r#""~/.ssh/known_hosts""#, r#""~/p""#, r#""/data""#, r#""/data/a""#,
    r#""/""#, r#""./**/*.md""#, r#""**/b""#, r#""./a/*""#, r#""~/**/a""#, r#""./{a,d}""#, r#""./link""#, r#""./a/link""#, r#"{"path": "./a", "literal": true}"#,
];
const PLAIN: &[&str] = &[
    r#"".""#,
    r#""./a""#,
    r#""./a/b""#,
    r#""./link""#,
    r#""/data""#,
];
const SOCKETS: &[&str] = &[r#""/run/a.sock""#, r#""/run/d""#, r#""/run/d/b.sock""#];
const TOOLS: &[&str] = &[
    r#""*""#,
    r#""read_*""#,
    r#""read_a""#,
    r#""write_?""#,
    r#""{read,write}_a""#,
    r#""rm""#,
];
const SIZES: &[&str] = &["1024", "\"1M\"", "\"2G\"", "5"];
const BOOLS: &[&str] = &["true", "false"];

/// A file that says something of most kinds.
fn document(draw: &mut Draw) -> String {
    let mut members: Vec<(&str, String)> = Vec::new();
    let mut list = |key: &'static str, of: &[&str], one_in: usize, most: usize, draw: &mut Draw| {
        if draw.below(one_in) == 0 {
            members.push((key, draw.some(of, most)));
        }
    };
    list("network.allowedDomains", HOSTS, 2, 3, draw);
    list("network.deniedDomains", DENIED, 4, 2, draw);
    list("network.deniedResolvedAddresses", RANGES, 6, 2, draw);
    list("network.allowUnixSockets", SOCKETS, 6, 2, draw);
    list("filesystem.denyRead", PATHS, 3, 3, draw);
    list("filesystem.allowRead", PATHS, 3, 3, draw);
    list("filesystem.allowWrite", PATHS, 3, 3, draw);
    list("filesystem.denyWrite", PATHS, 4, 3, draw);
    list("filesystem.overlay", PLAIN, 8, 2, draw);
    list("mcp.tools.allow", TOOLS, 5, 3, draw);
    list("mcp.tools.deny", TOOLS, 5, 2, draw);
    list("runtime.envStrip", &["\"A\"", "\"B\""], 5, 2, draw);
    let mut single = |key: &'static str, of: &[&str], one_in: usize, draw: &mut Draw| {
        if draw.below(one_in) == 0 {
            members.push((key, draw.one(of).to_owned()));
        }
    };
    for key in [
        "network.enforceAllowlist",
        "network.strictAllowlist",
        "network.ask",
        "network.logDroppedConnections",
        "network.allowAllUnixSockets",
        "network.requireHostMatch",
        "network.refuseOpaqueTunnels",
        "tls.requireSni",
        "filesystem.allowGitConfig",
        "mcp.pinTools",
        "audit.filesystem",
        "allowNestedUserNamespaces",
    ] {
        single(key, BOOLS, 10, draw);
    }
    for key in [
        "runtime.memoryMax",
        "runtime.maxFileSize",
        "filesystem.overlayMax",
    ] {
        single(key, SIZES, 8, draw);
    }
    single("runtime.cpuQuota", &["\"10%\"", "\"200%\""], 8, draw);
    single("filesystem.mode", &["\"minimal\"", "\"shared\""], 4, draw);
    single(
        "runtime.limits",
        &["\"enforced\"", "\"best-effort\""],
        10,
        draw,
    );
    single("tls.ech", &["\"refuse\"", "\"allow\""], 10, draw);
    text(&members)
}

/// A document of dotted keys.
fn text(members: &[(&str, String)]) -> String {
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    for (key, value) in members {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        let member = match name.split_once('.') {
            Some((inner, name)) => (format!("{section}.{inner}"), format!("\"{name}\": {value}")),
            None => (section.to_owned(), format!("\"{name}\": {value}")),
        };
        match sections.iter_mut().find(|(known, _)| *known == member.0) {
            Some((_, all)) => all.push(member.1),
            None => sections.push((member.0, vec![member.1])),
        }
    }
    let tools = sections
        .iter()
        .position(|(section, _)| section == "mcp.tools");
    if let Some(at) = tools {
        let (_, inner) = sections.remove(at);
        let inner = format!("\"tools\": {{{}}}", inner.join(", "));
        match sections.iter_mut().find(|(section, _)| section == "mcp") {
            Some((_, all)) => all.push(inner),
            None => sections.push(("mcp".to_owned(), vec![inner])),
        }
    }
    let all: Vec<String> = sections
        .into_iter()
        .map(|(section, members)| match section.as_str() {
            "" => members.join(", "),
            _ => format!("\"{section}\": {{{}}}", members.join(", ")),
        })
        .collect();
    format!("{{{}}}", all.join(", "))
}

fn layered(layer: Layer, text: &str) -> Layered {
    let path = match layer {
        Layer::User => "/home/ada/.srt-settings.json",
        Layer::Server => "/home/ada/.config/srt/servers/s.json",
        Layer::Project => "/home/ada/project/.srt.json",
    };
    let file = Source {
        path: path.into(),
        text: text.to_owned(),
    };
    Layered::alone(layer, file)
}

/// How much a policy permits, as numbers with what they are about: more is looser.
fn permitted(policy: &Policy, seed: u64) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    let mut add = |what: String, how_much: u64| all.push((what, how_much));
    let network = &policy.network;
    for host in [
        "x.test",
        "a.x.test",
        "b.a.x.test",
        "c.x.test",
        "b.y.test",
        "z.test",
        "localhost",
        "127.0.0.1",
        "10.0.0.1",
        "10.0.0.2",
        "192.0.2.1",
        "[::1]",
    ] {
        for port in [80, 443, 22] {
            let target = target(&format!("{host}:{port}"));
            let how_much = match network.decide(&target) {
                Decision::Deny(_) => 0,
                Decision::Ask(_) => 1,
                Decision::Allow(permit) => {
                    let sni = u64::from(!permit.requires_sni());
                    let resolved: Vec<IpAddr> = [
                        "10.0.0.1",
                        "127.0.0.1",
                        "192.0.2.7",
                        "93.184.216.34",
                        "::1",
                        "2001:4860::1",
                    ]
                    .iter()
                    .map(|ip| ip.parse().expect("an address"))
                    .collect();
                    for ip in &resolved {
                        let one = network.check(permit.clone(), &[*ip], &[]).is_ok();
                        add(format!("{target} at {ip}"), u64::from(one));
                    }
                    2 + sni
                }
            };
            add(format!("connect {target}"), how_much);
            add(
                format!("datagrams {target}"),
                u64::from(matches!(network.decide_udp(&target), Decision::Allow(_))),
            );
        }
        if let Ok(host) = Host::parse(host) {
            add(
                format!("look up {host}"),
                u64::from(network.decide_lookup(&host).is_ok()),
            );
        }
    }
    files(&policy.filesystem, "", &mut add);
    // With links on the disk, as a launch finds them.
    let mut draw = Draw(seed);
    let link = [
        "/home/ada/.ssh",
        "/data",
        "/home/ada/p",
        "/home/ada/project/a/b",
    ][draw.below(4)];
    let resolve = |path: &Path| {
        for from in ["/home/ada/project/link", "/home/ada/project/a/link"] {
            if let Ok(rest) = path.strip_prefix(from) {
                return PathBuf::from(link).join(rest);
            }
        }
        path.to_owned()
    };
    files(&policy.filesystem.resolved(resolve), " by links", &mut add);
    for tool in [
        "read_a", "read_b", "write_a", "write_bc", "rm", "RM", "ｒead_a", "",
    ] {
        add(
            format!("tool {tool:?}"),
            u64::from(policy.tools.decide(tool).is_ok()),
        );
    }
    let limits = &policy.limits;
    for (what, limit) in [
        ("memory", limits.memory_max),
        ("file size", limits.max_file_size),
        (
            "cpu",
            limits.cpu_quota.map(|quota| u64::from(quota.percent)),
        ),
        ("overlay", Some(policy.filesystem.overlay_max())),
    ] {
        add(what.to_owned(), limit.unwrap_or(u64::MAX));
    }
    match &policy.sockets {
        UnixSockets::All => {
            for socket in ["/run/a.sock", "/run/d", "/run/d/b.sock"] {
                add(format!("socket {socket}"), 1);
            }
            add("all sockets".to_owned(), 1);
        }
        UnixSockets::Listed(listed) => {
            for socket in ["/run/a.sock", "/run/d", "/run/d/b.sock"] {
                let covered = listed
                    .iter()
                    .any(|rule| Path::new(socket).starts_with(&rule.path));
                add(format!("socket {socket}"), u64::from(covered));
            }
            add("all sockets".to_owned(), 0);
        }
    }
    let offered = ["A", "B", "C"].map(|name| (name.to_owned(), String::new()));
    let names = ["A", "B", "C"].map(str::to_owned);
    let selected = policy.environment.select(&offered.into(), &names);
    for name in names {
        add(
            format!("variable {name}"),
            u64::from(selected.passed.contains_key(&name)),
        );
    }
    for (what, loose) in [
        ("unrecorded denials", !network.records_denials()),
        ("other Host", !network.requests().require_host_match),
        ("opaque tunnels", !network.requests().refuse_opaque_tunnels),
        ("nested namespaces", policy.process.nested_user_namespaces),
        ("best effort", limits.best_effort),
        ("unreported files", !policy.audit.filesystem),
        ("unpinned tools", policy.tools.pin.is_none()),
        ("no record of calls", policy.audit.mcp == McpAudit::Off),
    ] {
        add(what.to_owned(), u64::from(loose));
    }
    all
}

fn files(files: &FilesystemPolicy, how: &str, add: &mut impl FnMut(String, u64)) {
    for path in [
        "/",
        "/data",
        "/data/a",
        "/data/a/x",
        "/etc/hosts",
        "/etc/shadow",
        "/home/ada",
        "/home/ada/x",
        "/home/ada/.ssh",
        "/home/ada/.ssh/known_hosts",
        "/home/ada/.ssh/id_ed25519",
        "/home/ada/p",
        "/home/ada/p/a",
        "/home/ada/project",
        "/home/ada/project/x",
        "/home/ada/project/a",
        "/home/ada/project/a/x",
        "/home/ada/project/a/b",
        "/home/ada/project/a/b/c",
        "/home/ada/project/a/b/c/d",
        "/home/ada/project/d",
        "/home/ada/project/d/x.md",
        "/home/ada/project/a/b/x.md",
        "/home/ada/project/link/x",
        "/home/ada/project/.git/config",
        "/home/ada/project/a/.bashrc",
        "/home/ada/project/.srt.json",
        "/opt/x",
    ] {
        let path = Path::new(path);
        add(
            format!("read {}{how}", path.display()),
            u64::from(files.decide_read(path).allowed),
        );
        // A layer keeps writes from the host's own copy.
        let layered = files
            .overlays()
            .iter()
            .any(|overlay| path.starts_with(&overlay.path));
        let writes = files.decide_write(path).allowed && !layered;
        add(format!("write {}{how}", path.display()), u64::from(writes));
        let in_layer = layered && files.write_denied(path).is_none();
        let above = u64::from(in_layer || files.decide_write(path).allowed);
        add(
            format!("write {} in a layer or not{how}", path.display()),
            above,
        );
    }
}

/// Whether `after` permits nothing that `before` does not.
#[track_caller]
fn no_looser(before: &Policy, after: &Policy, seed: u64, texts: &[&str]) {
    let (before, after) = (permitted(before, seed), permitted(after, seed));
    for (what, how_much) in &after {
        // What is not asked of one of them is an address of a host that it refuses.
        let was = before
            .iter()
            .find(|(known, _)| known == what)
            .map_or(0, |(_, was)| *was);
        assert!(
            *how_much <= was,
            "{what}: {how_much}, and {was} before: {texts:#?}"
        );
    }
}

#[test]
fn a_projects_file_never_permits_what_is_forbidden_without_it() {
    let (mut accepted, mut refused, mut differs) = (0, 0, 0);
    for seed in 0..1500 {
        let mut draw = Draw(seed);
        let (user, server) = (document(&mut draw), document(&mut draw));
        let project = document(&mut draw);
        let mut layers = Vec::new();
        if draw.below(4) > 0 {
            layers.push(layered(Layer::User, &user));
        }
        if draw.below(2) > 0 {
            layers.push(layered(Layer::Server, &server));
        }
        let Ok(before) = compile_layers(&layers, &facts()) else {
            continue;
        };
        layers.push(layered(Layer::Project, &project));
        let Ok(after) = compile_layers(&layers, &facts()) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        differs += usize::from(permitted(&before.policy, seed) != permitted(&after.policy, seed));
        no_looser(
            &before.policy,
            &after.policy,
            seed,
            &[&user, &server, &project],
        );
    }
    println!("{accepted} accepted, {differs} of them tighten, {refused} refused");
    assert!(
        differs > 50 && refused > 250,
        "{accepted} accepted, {differs} of them tighten, {refused} refused"
    );
}

#[test]
fn the_users_file_never_permits_what_the_servers_own_forbids() {
    let (mut compiled, mut differs) = (0, 0);
    for seed in 0..800 {
        let mut draw = Draw(seed);
        let (user, server) = (document(&mut draw), document(&mut draw));
        let alone = compile_layers(&[layered(Layer::Server, &server)], &facts());
        let both = compile_layers(
            &[layered(Layer::User, &user), layered(Layer::Server, &server)],
            &facts(),
        );
        let (Ok(before), Ok(after)) = (alone, both) else {
            continue;
        };
        compiled += 1;
        differs += usize::from(permitted(&before.policy, seed) != permitted(&after.policy, seed));
        no_looser(&before.policy, &after.policy, seed, &[&user, &server]);
    }
    assert!(
        compiled > 250 && differs > 120,
        "{compiled} compiled, {differs} of them tighten"
    );
}
