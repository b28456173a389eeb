//! Programs that people have, unmodified in a sandbox: each reaches the host that the policy names, and not the other
//! one, which it reaches without a sandbox.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use serde_json::json;
use srt_tests::mcp::{INITIALIZED, initialize, legacy};
use srt_tests::{SOON, Site, Talk, Web, clients, postgres, servers, until};

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

/// A command from its words.
fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// The first of these that is a file, or a program on the PATH.
fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| {
        let found = folders.iter().map(|folder| folder.join(name));
        found.into_iter().find(|path| path.is_file())
    })
}

fn python() -> String {
    text(servers().join("python/bin/python"))
}

/// `python client.py HOW URL`, which is told of the test's authority as people tell it.
fn by_python(site: &Site, how: &str, url: &str) -> Vec<String> {
    let ca = site.ca();
    words([
        "env",
        &format!("SSL_CERT_FILE={ca}"),
        &format!("REQUESTS_CA_BUNDLE={ca}"),
        &python(),
        &text(clients().join("client.py")),
        how,
        url,
    ])
}

/// `node client.mjs … HOW URL`, the same.
fn by_node(site: &Site, how: &str, url: &str) -> Vec<String> {
    words([
        "env",
        &format!("NODE_EXTRA_CA_CERTS={}", site.ca()),
        "node",
        &text(clients().join("client.mjs")),
        &text(servers().join("node/node_modules")),
        how,
        url,
    ])
}

#[test]
fn curl() {
    let site = Site::with_web();
    let ca = site.ca();
    let curl = [
        "curl",
        "--silent",
        "--show-error",
        "--fail",
        "--cacert",
        &ca,
    ];
    // By the proxy that the environment names, and without it by names and addresses alone.
    for straight in [&[][..], &["--noproxy", "*"][..]] {
        let with = |more: &[&str], url: String| {
            let all = curl.iter().chain(straight).chain(more);
            all.map(|word| (*word).to_owned()).chain([url]).collect()
        };
        site.check(8080, "by HTTP/1.1", |host| {
            with(&[], format!("http://{host}:8080/"))
        });
        site.check(8443, "by HTTP/1.1", |host| {
            with(&["--http1.1"], format!("https://{host}:8443/"))
        });
        site.check(8443, "by HTTP/2.0", |host| {
            with(&["--http2"], format!("https://{host}:8443/"))
        });
        if site.has_v6() {
            site.check_hosts(["[2001:db8::7]", "[2001:db8::8]"], 8443, "hello", |host| {
                with(&["--globoff"], format!("https://{host}:8443/"))
            });
        }
    }
}

#[test]
fn curl_by_socks() {
    let site = Site::with_web();
    // Where there is no sandbox, there is no such proxy.
    let script = "curl --silent --show-error --fail --cacert \"$1\" ${SRT_SOCKS_PROXY:+--proxy \"$SRT_SOCKS_PROXY\"} \"$2\"";
    site.check(8443, "hello from", |host| {
        let url = format!("https://{host}:8443/");
        words(["sh", "-c", script, "sh", &site.ca(), &url])
    });
}

#[test]
fn curl_follows_no_redirect_to_a_host_that_is_not_allowed() {
    let site = Site::with_web();
    let to = |host: &str, location: &str| {
        let url = format!("http://{host}:8080/elsewhere?to={location}");
        words(["curl", "--silent", "--fail", "--location", &url])
    };
    // Between the two hosts, in the direction that `check` gives: bare from one to itself, which it allows.
    site.check(8080, "hello from", |host| to(host, "/"));
    let command = to("allowed.test", "http://denied.test:8080/");
    let bare = site.run(site.world.bare(&command[0]).args(&command[1..]));
    assert!(bare.contains("hello from denied.test"), "{bare}");
    let boxed = site.boxed(&command).output().unwrap();
    assert!(!boxed.status.success(), "{boxed:?}");
    site.world.until_audited("allow", "allowed.test:8080");
    site.world.until_audited("deny", "denied.test:8080");
}

#[test]
fn names_are_found_however_they_are_asked_for() {
    let site = Site::new();
    // As glibc's getaddrinfo(3) is asked by default, for IPv4 alone, only where the machine has it (AI_ADDRCONFIG, as
    // GLib and wget ask), and by the old call.
    let script = "import socket, sys
host = sys.argv[1]
for family in (0, socket.AF_INET):
    for flags in (0, socket.AI_ADDRCONFIG, socket.AI_ADDRCONFIG | socket.AI_V4MAPPED):
        assert socket.getaddrinfo(host, 8080, family, socket.SOCK_STREAM, 0, flags)[0][0] == socket.AF_INET
socket.gethostbyname(host)
print('found')";
    let find = |host: &str| words([&python(), "-c", script, host]);
    let bare = site.run(site.world.bare(python()).args(&find("denied.test")[1..]));
    let boxed = site.run(&mut site.boxed(&find("allowed.test")));
    assert_eq!((&*bare, &*boxed), ("found\n", "found\n"));
    let refused = site.boxed(&find("denied.test")).output().unwrap();
    assert!(!refused.status.success(), "{refused:?}");
    site.world.until_audited("deny", "denied.test");
}

/// Asks for a host's page so often that a resolver which waited for its time-out once in each lookup (musl: 2.5 s, Go:
/// 5 s) would be past the end.
fn without_a_stall(site: &Site, words: impl Fn(&str) -> Vec<String>) {
    site.check(8080, "hello from", &words);
    let began = Instant::now();
    let refused = site.boxed(&words("denied.test")).output().unwrap();
    let took = began.elapsed();
    assert!(!refused.status.success(), "{refused:?}");
    assert!(took < SOON, "a refused name is refused at once: {took:?}");
}

/// musl's resolver asks for both kinds of addresses at once, by one socket.
#[test]
fn musl() {
    let site = Site::with_web();
    let find = site.folder().join("find");
    let mut compile = site.world.command("musl-gcc");
    compile.args(["-static", "-o"]).arg(&find);
    site.run(compile.arg(clients().join("find.c")));
    without_a_stall(&site, |host| words([&text(&find), host, "8080", "20"]));
}

/// A program written in Go, whose resolver is Go's own.
#[test]
fn go() {
    let site = Site::with_web();
    // It says what failed, and ends as if nothing had.
    let script = "hey -n 20 -c 1 \"http://$1:8080/\" | tee said && grep -q '\\[200\\].20 responses' said && echo hello from Go";
    without_a_stall(&site, |host| {
        words(["env", "GODEBUG=netdns=go", "sh", "-c", script, "sh", host])
    });
}

/// A repository with one file, and without a folder of its own.
fn repository(site: &Site) -> PathBuf {
    let bare = site.folder().join("git/repo.git");
    let script = "set -e; git init -q -b main source; cd source; echo 'from the repository' > file; git add file
        git -c user.name=t -c user.email=t@test commit -qm first; cd ..; git clone -q --bare source \"$1\"
        git -C \"$1\" config http.receivepack true; rm -rf source";
    site.run(
        site.world
            .command("sh")
            .args(["-c", script, "sh"])
            .arg(&bare),
    );
    bare
}

/// Clones, shows the file, commits and pushes. Git's samples of hooks are left out: no sandbox may write hooks.
const CLONE_AND_PUSH: &str = "set -e; cd \"$(mktemp -d -p .)\"; git clone -q --template= \"$@\" clone; cd clone; cat file; echo more > more
    git add more; git -c user.name=t -c user.email=t@test commit -qm more; git push -q --force origin HEAD:refs/heads/pushed
    echo pushed";

#[test]
fn git_over_https() {
    let site = Site::with_web();
    let bare = repository(&site);
    site.check(8443, "from the repository\npushed", |host| {
        let url = format!("https://{host}:8443/git/repo.git");
        let ca = format!("GIT_SSL_CAINFO={}", site.ca());
        words(["env", &ca, "sh", "-c", CLONE_AND_PUSH, "sh", &url])
    });
    let pushed = "git -C \"$1\" cat-file -p pushed:more";
    site.run(
        site.world
            .command("sh")
            .args(["-c", pushed, "sh"])
            .arg(bare),
    );
}

#[test]
fn git_over_ssh() {
    let mut site = Site::new();
    let bare = repository(&site);
    let dropbear = program(&["dropbear"]).unwrap_or_else(|| "/usr/sbin/dropbear".into());
    let keys = "set -e; umask 077; cd \"$1\"; dropbearkey -t ed25519 -f host >/dev/null
        ssh-keygen -q -t ed25519 -N '' -f \"$2/key\"; mkdir -p \"$HOME/.ssh\"; cp \"$2/key.pub\" \"$HOME/.ssh/authorized_keys\"";
    let work = site.world.work();
    site.run(
        site.world
            .command("sh")
            .args(["-c", keys, "sh"])
            .args([site.folder(), work.clone()]),
    );
    let serve = "trap '' HUP; \"$1\" -F -E -s -r host -P pid -p 203.0.113.7:8022 -p 203.0.113.8:8022 >said 2>&1 & echo ready; cat; kill $!";
    let script = format!("cd '{}'; {serve}", site.folder().display());
    let mut server = site.world.bare("sh");
    server.args(["-c", &script, "sh"]).arg(dropbear);
    site.serve(&mut server);
    until("dropbear to listen", SOON, || {
        site.folder().join("pid").exists().then_some(())
    });
    let ssh = format!(
        "GIT_SSH_COMMAND=ssh -F none -i {0}/key -o IdentitiesOnly=yes -o BatchMode=yes \
         -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={0}/known",
        work.display()
    );
    let packs = site.run(site.world.command("git").arg("--exec-path"));
    let pack = |which: &str| format!("{}/git-{which}-pack", packs.trim_end());
    let configured = format!("remote.origin.receivepack={}", pack("receive"));
    site.check(8022, "from the repository\npushed", |host| {
        let url = format!("ssh://{}@{host}:8022{}", site.world.user(), bare.display());
        words([
            "env",
            &ssh,
            "sh",
            "-c",
            CLONE_AND_PUSH,
            "sh",
            "--upload-pack",
            &pack("upload"),
            "--config",
            &configured,
            &url,
        ])
    });
}

fn registry(site: &Site) {
    let script = clients().join("registry.py");
    let folder = site.folder().join("www");
    site.run(site.world.command(python()).arg(script).arg(folder));
}

#[test]
fn npm_install() {
    let site = Site::with_web();
    registry(&site);
    let script = "cd \"$(mktemp -d -p .)\"; echo '{}' > package.json
        npm install --no-audit --no-fund --no-update-notifier --fetch-retries 0 --cache ../cache --cafile \"$1\" \
          --registry \"$2\" srt-fixture >&2 && node -p 'require(\"srt-fixture\")'";
    site.check(8443, "installed by npm", |host| {
        let url = format!("https://{host}:8443/npm/");
        words(["sh", "-c", script, "sh", &site.ca(), &url])
    });
}

#[test]
fn pip_install() {
    let site = Site::with_web();
    registry(&site);
    let script = "cd \"$(mktemp -d -p .)\"; \"$1\" -m pip install --quiet --disable-pip-version-check --no-cache-dir --retries 0 \
          --cert \"$2\" --index-url \"$3\" --target lib srt-fixture && \
        PYTHONPATH=lib \"$1\" -c 'import srt_fixture; print(srt_fixture.SAYS)'";
    site.check(8443, "installed by pip", |host| {
        let url = format!("https://{host}:8443/pypi/");
        words(["sh", "-c", script, "sh", &python(), &site.ca(), &url])
    });
}

#[test]
fn node() {
    let site = Site::with_web();
    for how in ["fetch", "http", "undici", "undici-proxy"] {
        site.check(8443, "hello from", |host| {
            by_node(&site, how, &format!("https://{host}:8443/"))
        });
    }
    site.check(8080, "hello from", |host| {
        by_node(&site, "fetch", &format!("http://{host}:8080/"))
    });
}

/// One connection to the proxy, in HTTP/2, for requests and tunnels at once.
#[test]
fn node_by_http2() {
    let site = Site::with_web();
    for (port, scheme, by) in [(8443, "https", "HTTP/2.0"), (8080, "http", "HTTP/1.1")] {
        site.check(port, "hello from", |host| {
            by_node(&site, "http2", &format!("{scheme}://{host}:{port}/"))
        });
        let mut words = by_node(&site, "http2", &format!("{scheme}://allowed.test:{port}/"));
        words.extend(["http://denied.test:8080/", "https://denied.test:8443/"].map(str::to_owned));
        let output = site.boxed(&words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 24, "{output:?}");
        for (line, expected) in lines.iter().zip(
            [
                &*format!("hello from allowed.test by {by}"),
                "403: ",
                "CONNECT: 403",
            ]
            .iter()
            .flat_map(|expected| [expected; 8]),
        ) {
            assert!(line.contains(expected), "{expected}: {said}");
        }
        assert!(said.contains("allowedDomains"), "{said}");
    }
}

#[test]
fn python_clients() {
    let site = Site::with_web();
    for how in [
        "urllib",
        "requests",
        "httpx",
        "httpx-async",
        "aiohttp",
        "aiohttp-proxy",
    ] {
        site.check(8443, "hello from", |host| {
            by_python(&site, how, &format!("https://{host}:8443/"))
        });
    }
    site.check(8080, "hello from", |host| {
        by_python(&site, "requests", &format!("http://{host}:8080/"))
    });
}

#[test]
fn websockets() {
    let site = Site::with_web();
    // By the proxy's CONNECT, and without it.
    for how in ["websockets", "websockets-straight"] {
        site.check(8443, "heard hello", |host| {
            by_python(&site, how, &format!("wss://{host}:8443/talk"))
        });
    }
    site.check(8080, "heard hello", |host| {
        by_node(&site, "ws", &format!("ws://{host}:8080/talk"))
    });
    // An upgrade that the proxy itself hands on.
    let upgrade = "printf 'GET http://%s:8080/talk HTTP/1.1\\r\\nHost: %s:8080\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\nSec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n'";
    let script = format!(
        "{upgrade} \"$1\" \"$1\" | {{ cat; sleep 1; }} | curl --silent --max-time 5 --proxy '' --no-buffer \
         \"telnet://${{p:-$1:8080}}\" | grep 'HTTP/1.1 101'"
    );
    site.check(8080, "101", |host| {
        let proxy = "p=${HTTP_PROXY#http://}; p=${p%/}; ";
        words(["sh", "-c", &format!("{proxy}{script}"), "sh", host])
    });
}

#[test]
fn grpc_and_a_server_that_speaks_first() {
    let mut site = Site::new();
    let mut services = site.world.bare(python());
    services
        .arg(clients().join("services.py"))
        .arg(site.folder())
        .args(["203.0.113.7", "203.0.113.8"]);
    site.serve(&mut services);
    // By the proxy that the environment names, and without it by a resolver of its own (c-ares).
    for straight in [false, true] {
        let client = |url: String| {
            let mut all = by_python(&site, "grpc", &url);
            if straight {
                all.splice(1..1, words(["-u", "http_proxy", "-u", "https_proxy"]));
            }
            all
        };
        site.check(8051, "the service heard hello", |host| {
            client(format!("http://{host}:8051"))
        });
        site.check(8052, "the service heard hello", |host| {
            client(format!("https://{host}:8052"))
        });
    }
    site.check(8025, "250 the service heard", |host| {
        by_python(&site, "smtp", &format!("smtp://{host}:8025"))
    });
}

#[test]
fn java() {
    if program(&["java"]).is_none() {
        println!("not applicable: there is no java here");
        return;
    }
    let site = Site::with_web();
    let client = text(clients().join("Client.java"));
    site.check(8443, "hello from", |host| {
        let url = format!("https://{host}:8443/");
        // Its heap is for a machine's whole memory otherwise, and its own compiler need not be fast.
        let options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
        let mut all = words(["java"]);
        all.extend(options.map(str::to_owned));
        all.extend(words([&client, &site.ca(), &url]));
        all
    });
}

#[test]
fn psql() {
    let Some((programs, tls)) = postgres() else {
        println!("not applicable: neither the wheel nor this machine has PostgreSQL");
        return;
    };
    let mut site = Site::new();
    // The account that the world has is whom initdb looks up. As root it would refuse.
    let script = "set -e; cd \"$1\"; mkdir data; \"$2/initdb\" -D data -U tester --auth=trust --no-sync >said 2>&1
        echo 'host all all 0.0.0.0/0 trust' >> data/pg_hba.conf
        install -m 600 key.pem data/server.key; cp cert.pem data/server.crt
        \"$2/postgres\" -D data -h 203.0.113.7,203.0.113.8 -k '' -c \"ssl=$3\" -c fsync=off >said 2>&1 &
        until \"$2/pg_isready\" -q -h 203.0.113.7; do kill -0 $! || { cat said >&2; exit 1; }; sleep 0.05; done
        echo ready; cat; kill -INT $!; wait";
    let mut server = site.world.bare("sh");
    server
        .args(["-c", script, "sh"])
        .arg(site.folder())
        .arg(&programs)
        .arg(if tls { "on" } else { "off" });
    site.serve(&mut server);
    let psql = programs.join("psql");
    let authority = format!("PGSSLROOTCERT={}", site.ca());
    // TLS begins in the middle of their conversation.
    let modes = ["PGSSLMODE=disable", "PGSSLMODE=verify-full"];
    for mode in modes.into_iter().take(1 + usize::from(tls)) {
        site.check(5432, "42 of them", |host| {
            let (ask, psql) = ("select 6 * 7 || ' of them'", text(&psql));
            words([
                "env", mode, &authority, &psql, "-X", "-At", "-h", host, "-U", "tester", "-c", ask,
                "postgres",
            ])
        });
    }
}

#[test]
fn redis_cli() {
    let mut site = Site::new();
    // Debian's redis-server is redis-check-rdb by another name, and its package a service.
    let server = program(&["redis-server", "redis-check-rdb"]).unwrap();
    let named = site.folder().join("redis-server");
    std::os::unix::fs::symlink(server, &named).unwrap();
    let script = "\"$1\" --port 6379 --bind 203.0.113.7 203.0.113.8 --protected-mode no --save '' >\"$1.said\" 2>&1 &
        until redis-cli -h 203.0.113.7 ping 2>/dev/null | grep -q PONG; do kill -0 $! || { cat \"$1.said\" >&2; exit 1; }; sleep 0.05; done
        echo ready; cat; kill $!; wait";
    let mut server = site.world.bare("sh");
    server.args(["-c", script, "sh"]).arg(named);
    site.serve(&mut server);
    site.check(6379, "42", |host| {
        let script = "redis-cli -e -h \"$1\" set answer 42 && redis-cli -e -h \"$1\" get answer";
        words(["sh", "-c", script, "sh", host])
    });
}

/// Datagrams to a name: the address that stands for it inside is where they are sent, and where answers come from.
#[test]
fn datagrams_to_a_name() {
    let mut site = Site::new();
    site.world
        .policy(&json!({ "network": { "allowedUdp": ["allowed.test:5300"] } }));
    let server = "import socket, sys, threading
def serve(ip):
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind((ip, 5300))
    def answer():
        while True:
            said, who = here.recvfrom(2000)
            here.sendto(b'heard ' + said, who)
    threading.Thread(target=answer, daemon=True).start()
serve('203.0.113.7')
serve('203.0.113.8')
print('ready', flush=True)
sys.stdin.read()";
    let mut command = site.world.bare(python());
    site.serve(command.args(["-c", server]));
    // A name as any program looks it up; the socket is connected, so that an answer from elsewhere would not be heard.
    let client = "import socket, sys
*place, asked = socket.getaddrinfo(sys.argv[1], 5300, 0, socket.SOCK_DGRAM)[0]
here = socket.socket(place[0], place[1])
here.settimeout(float(sys.argv[2]))
here.connect(asked)
for word in (b'one', b'two', b'x' * 1400):
    here.send(word)
    assert here.recv(2000) == b'heard ' + word
print('all heard')";
    site.check(5300, "all heard", |host| {
        words([&python(), "-c", client, host, "20"])
    });
    // Its address is another target, which no rule names; nothing tells the client so, and it need not wait for long.
    let words = words([&python(), "-c", client, "203.0.113.7", "1"]);
    let bare = site.run(site.world.bare(&words[0]).args(&words[1..]));
    assert_eq!(bare, "all heard\n");
    let refused = site.boxed(&words).output().unwrap();
    assert!(!refused.status.success(), "{refused:?}");
    site.world.until_audited("deny", "203.0.113.7:5300");
}

/// A proxy of the user's own, which is spoken to by TLS: whatever is allowed goes on through it, if its certificate is one
/// for its host.
#[test]
fn through_a_proxy_by_tls() {
    let mut site = Site::with_web();
    let mut proxy = site.world.bare("node");
    let script = clients().join("proxy.mjs");
    site.serve(proxy.arg(script).arg(site.folder()).arg("3129"));
    let big = site.folder().join("www/big");
    let make = "mkdir -p \"${1%/*}\"; head -c 5000000 /dev/urandom >\"$1\"";
    site.run(site.world.command("sh").args(["-c", make, "sh"]).arg(&big));
    let (ca, folder) = (site.ca(), site.folder());
    let fetch = |path: &str, more: &str| {
        let curl = format!("curl --silent --show-error --fail --cacert '{ca}' {more} {path}");
        words(["sh", "-c", &format!("{curl} | cksum")])
    };
    let (tls, plain) = (
        "https://allowed.test:8443/big",
        "http://allowed.test:8080/big",
    );
    let bare = |more: &str| {
        let words = fetch(tls, more);
        site.run(site.world.bare(&words[0]).args(&words[1..]))
    };
    let whole = bare("");
    assert_eq!(
        bare(&format!(
            "--proxy https://ada:s%40crt@denied.test:3129 --proxy-cacert '{ca}'"
        )),
        whole
    );
    let proxied = || std::fs::read_to_string(folder.join("proxied")).unwrap();
    assert_eq!(proxied(), "CONNECT allowed.test:8443\n");

    let through = |host: &str| {
        json!({ "network": {
            "allowedDomains": ["allowed.test"],
            "parentProxy": { "http": format!("https://ada:s%40crt@{host}:3129") },
        } })
    };
    let boxed = |site: &Site, words: &[String]| {
        let output = site.boxed(words).stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let refused = |site: &Site, host: &str| {
        site.world.policy(&through(host));
        let before = site.world.audit().len();
        for url in [tls, plain] {
            assert_ne!(boxed(site, &fetch(url, "")), whole);
        }
        until("what is wrong with the certificate", SOON, || {
            let entries = site.world.audit();
            let mut entries = entries.iter().skip(before);
            entries
                .find(|entry| entry.json.to_string().contains("no TLS with it"))
                .map(drop)
        });
        assert_eq!(proxied(), "CONNECT allowed.test:8443\n");
    };
    // Nobody knows its authority.
    refused(&site, "denied.test");
    site.world.stop_daemon();
    site.world.set("SSL_CERT_FILE", &ca);
    site.world.start_daemon();
    // It is known, and the certificate is for another host.
    refused(&site, "127.0.0.1");

    site.world.policy(&through("denied.test"));
    for (url, more) in [
        (tls, ""),
        (tls, "--noproxy '*'"),
        (plain, ""),
        (plain, "--noproxy '*'"),
    ] {
        assert_eq!(boxed(&site, &fetch(url, more)), whole, "{url} {more}");
    }
    let asked = "CONNECT allowed.test:8443\nCONNECT allowed.test:8443\nCONNECT allowed.test:8443\n\
                 GET http://allowed.test:8080/big\nCONNECT allowed.test:8080\n";
    assert_eq!(proxied(), asked);
    site.world.until_audited("allow", "allowed.test:8443");
    let shown = site.world.ctl(&["policy", "show", "client"]);
    assert!(
        shown.contains("https://ada:***@denied.test:3129"),
        "{shown}"
    );
}

/// The machine's own services, by each of the names of loopback: what is named is reached, and nothing beside it.
#[test]
fn services_of_this_machine() {
    let mut site = Site::new();
    let server = program(&["redis-server", "redis-check-rdb"]).unwrap();
    let named = site.folder().join("redis-server");
    std::os::unix::fs::symlink(server, &named).unwrap();
    let six = if site.has_v6() { "::1" } else { "" };
    let script = "for port in 6379 6380 6381; do
          \"$1\" --port $port --bind 127.0.0.1 $2 --protected-mode no --save '' >\"$1.$port\" 2>&1 &
          until redis-cli -p $port ping 2>/dev/null | grep -q PONG; do kill -0 $! || { cat \"$1.$port\" >&2; exit 1; }; sleep 0.05; done
        done
        echo ready; cat; kill $(jobs -p); wait";
    let mut server = site.world.bare("sh");
    server.args(["-c", script, "sh"]).arg(named).arg(six);
    site.serve(&mut server);
    let _four = Web::in_world(&site.world, "127.0.0.1:7000", "of IPv4");
    let _alone = Web::in_world(&site.world, "127.0.0.1:7001", "of one alone");
    let _six = (!six.is_empty()).then(|| Web::in_world(&site.world, "[::1]:7000", "of IPv6"));
    site.world.policy(&json!({ "network": { "allowedDomains":
        ["localhost:6379", "127.0.0.1:6380", "127.0.0.1:7000", "localhost:7001"] } }));

    let hosts: &[&str] = if six.is_empty() {
        &["127.0.0.1", "localhost"]
    } else {
        &["127.0.0.1", "localhost", "::1"]
    };
    for (port, reached) in [
        ("6379", hosts),
        ("6380", &["127.0.0.1", "localhost"]),
        ("6381", &[]),
    ] {
        for host in hosts {
            let words = words(["redis-cli", "-e", "-h", host, "-p", port, "ping"]);
            let bare = site.run(site.world.bare(&words[0]).args(&words[1..]));
            assert_eq!(bare, "PONG\n", "{words:?}");
            let boxed = site.boxed(&words).stdin(Stdio::null()).output().unwrap();
            let worked = boxed.status.success() && boxed.stdout == b"PONG\n";
            assert_eq!(worked, reached.contains(host), "{words:?}: {boxed:?}");
        }
    }
    // The same by the proxy, which is asked for the name itself: it leads to the address that the rule names.
    let fetch = |url: &str, how: &str| {
        let script = format!("curl --silent --show-error --fail --globoff {how} '{url}'");
        let words = words(["sh", "-c", &script]);
        site.boxed(&words).stdin(Stdio::null()).output().unwrap()
    };
    let by_proxy = "--proxy \"$HTTP_PROXY\" --noproxy ''";
    for how in [by_proxy, "--noproxy '*'"] {
        for host in ["127.0.0.1", "localhost"] {
            let answer = fetch(&format!("http://{host}:7000/"), how);
            assert_eq!(
                String::from_utf8_lossy(&answer.stdout),
                "of IPv4",
                "{host} {how}: {answer:?}"
            );
        }
        let answer = fetch("http://[::1]:7000/", how);
        assert!(!answer.status.success(), "{how}: {answer:?}");
    }
    // Inside both addresses are open, and a client stays with the first that is.
    let answer = fetch(
        "http://localhost:7001/",
        "--noproxy '*' --resolve 'localhost:7001:[::1]'",
    );
    let heard = String::from_utf8_lossy(&answer.stdout);
    assert!(six.is_empty() || heard == "of one alone", "{answer:?}");
    site.world.until_audited("allow", "localhost:7000");
    site.world.until_audited("deny", "[::1]:7000");
    // `policy why` says the same.
    for (target, status) in [
        ("127.0.0.1:6379", 0),
        ("[::1]:6379", 0),
        ("localhost:6380", 0),
        ("[::1]:6380", 7),
        ("127.0.0.1:6381", 7),
    ] {
        let why = site
            .world
            .srtctl(&["policy", "why", "client", "connect", target]);
        assert_eq!(why.status.code(), Some(status), "{target}: {why:?}");
    }
}

#[test]
fn mcp_server_fetch() {
    let site = Site::with_web();
    // It refuses whatever does not resolve to a public address. The test's hosts have none, so outside it has to be told
    // to go on; inside a name's address is taken for one.
    let program = text(servers().join("python/bin/mcp-server-fetch"));
    let server = words([&program]);
    let fetch = |mut talk: Talk, host: &str| {
        talk.ask(&initialize(&json!(1)), SOON);
        talk.send(INITIALIZED);
        let arguments = json!({ "url": format!("http://{host}:8080/"), "raw": true });
        let call = json!({ "name": "fetch", "arguments": arguments });
        let answer = talk.ask(&legacy(&json!(2), "tools/call", call), SOON);
        talk.close();
        talk.wait(SOON);
        answer
    };
    let bare = |host| {
        let mut command = site.world.bare(&program);
        fetch(Talk::start(command.arg("--allow-private-ips")), host)
    };
    let boxed = |host| fetch(Talk::start(&mut site.boxed(&server)), host);
    let said = bare("denied.test");
    assert!(said.contains("hello from denied.test"), "bare: {said}");
    let said = boxed("allowed.test");
    assert!(said.contains("hello from allowed.test"), "{said}");
    site.world.until_audited("allow", "allowed.test:8080");
    let said = boxed("denied.test");
    assert!(!said.contains("hello from"), "{said}");
    let entry = site.world.until_audited("deny", "denied.test:8080");
    let remedy = entry.json["detail"]["remedy"].as_str().unwrap_or_default();
    assert!(remedy.contains("allowedDomains"), "{}", entry.json);
}
