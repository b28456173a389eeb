//! The built-in templates, each with the real server that it is for: the server works, and without any one of the rules
//! that open something it does not.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use srt_tests::mcp::{INITIALIZED, initialize, legacy};
use srt_tests::{Beside, SOON, Site, Talk, Web, World, clients, postgres, servers};

/// A tool, and what it is called with.
type Call = (&'static str, Value);

/// A real server in a world that has what it works on.
struct Real {
    template: &'static str,
    /// The server's program and arguments.
    command: Vec<String>,
    /// Variables that it is given by name.
    env: Vec<&'static str>,
    /// What each of these says must come without an error, the last with this text in it.
    calls: Vec<Call>,
    expected: &'static str,
}

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

fn npm(name: &str) -> String {
    text(servers().join("node/node_modules/.bin").join(name))
}

/// The template without comments.
fn template(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging/templates")
        .join(format!("{name}.json"));
    let text = fs::read_to_string(path).unwrap();
    let parsed = jsonc_parser::parse_to_ast(&text, &Default::default(), &Default::default());
    parsed.unwrap().value.unwrap().into()
}

impl Real {
    /// Runs the server with these settings, and makes the calls. What went wrong, if anything did.
    fn tried(&self, world: &World, settings: &Value) -> Result<(), String> {
        // Outside of the project, whose own file could not open a thing.
        let path = text(world.write("settings/server.json", &format!("{settings:#}")));
        let mut arguments = vec!["--name", self.template, "--settings", &path];
        for name in &self.env {
            arguments.extend(["--env", name]);
        }
        arguments.push("--");
        let mut command = world.srt(&arguments);
        command.args(&self.command);
        let mut talk = Talk::start(&mut command);
        let answered = |talk: &mut Talk, line: &str| -> Result<Value, String> {
            talk.send(line);
            let id = serde_json::from_str::<Value>(line).unwrap()["id"].clone();
            while let Some(line) = talk.line(SOON) {
                let said: Value =
                    serde_json::from_slice(&line).map_err(|error| error.to_string())?;
                if said["id"] == id && said["method"].is_null() {
                    return Ok(said);
                }
            }
            Err(format!("it ended: {}", talk.stderr()))
        };
        answered(&mut talk, &initialize(&json!("hello")))?;
        talk.send(INITIALIZED);
        let tools = answered(&mut talk, &legacy(&json!("tools"), "tools/list", json!({})))?;
        let listed = tools["result"]["tools"].as_array().map_or(0, Vec::len);
        if listed == 0 {
            return Err(format!("no tools: {tools}"));
        }
        let mut last = tools.to_string();
        for (number, (tool, arguments)) in self.calls.iter().enumerate() {
            let call = json!({ "name": tool, "arguments": arguments });
            let answer = answered(&mut talk, &legacy(&json!(number), "tools/call", call))?;
            let result = &answer["result"];
            // Some say in words that it went wrong.
            let words = result["content"].to_string();
            if result["isError"] == true || result.is_null() || words.contains("rror:") {
                return Err(format!("{tool}: {answer}"));
            }
            last = words;
        }
        talk.close();
        talk.wait(SOON);
        match last.contains(self.expected) {
            true => Ok(()),
            false => Err(format!("no {:?} in {last}", self.expected)),
        }
    }

    /// It works with the template, and not without any of its rules that open something. `fresh` puts the world back as it
    /// was.
    #[track_caller]
    fn check(&self, world: &World, fresh: impl Fn()) {
        let name = self.template;
        fresh();
        self.tried(world, &json!({ "extends": [format!("@{name}")] }))
            .unwrap_or_else(|why| {
                let log: Vec<String> = world
                    .audit()
                    .iter()
                    .map(|entry| entry.json.to_string())
                    .collect();
                panic!("@{name}: {why}\n{}", log.join("\n"))
            });
        let whole = template(name);
        let rules = opening(&whole);
        for (what, without) in &rules {
            fresh();
            let outcome = self.tried(world, without);
            assert!(outcome.is_err(), "@{name} works without {what}, too");
        }
        println!("@{name}: {} rules, each needed", rules.len());
    }
}

/// Each rule of a document that opens something, and the document without it.
fn opening(document: &Value) -> Vec<(String, Value)> {
    const LISTS: [(&str, &str); 3] = [
        ("network", "allowedDomains"),
        ("filesystem", "allowRead"),
        ("filesystem", "allowWrite"),
    ];
    let mut found = Vec::new();
    for (section, key) in LISTS {
        let list = document[section][key].as_array();
        for place in 0..list.map_or(0, Vec::len) {
            let mut without = document.clone();
            let gone = without[section][key].as_array_mut().unwrap().remove(place);
            found.push((format!("{gone} in {section}.{key}"), without));
        }
    }
    if document["network"]["ask"] == true {
        let mut without = document.clone();
        without["network"]["ask"] = false.into();
        found.push(("network.ask".to_owned(), without));
    }
    found
}

#[test]
fn filesystem() {
    let world = World::start();
    let path = text(world.path("work/notes.txt"));
    let real = Real {
        template: "filesystem",
        command: vec![npm("mcp-server-filesystem"), text(world.work())],
        env: vec![],
        calls: vec![
            ("write_file", json!({ "path": path, "content": "buy milk" })),
            ("read_text_file", json!({ "path": path })),
        ],
        expected: "buy milk",
    };
    real.check(&world, || drop(fs::remove_file(&path)));
}

#[test]
fn git() {
    let world = World::start();
    let repository = text(world.work());
    let at = |more: Value| {
        let mut arguments = json!({ "repo_path": repository });
        arguments
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        arguments
    };
    let real = Real {
        template: "git",
        command: vec![
            text(servers().join("python/bin/mcp-server-git")),
            "--repository".to_owned(),
            repository.clone(),
        ],
        env: vec![],
        calls: vec![
            ("git_status", at(json!({}))),
            ("git_add", at(json!({ "files": ["new"] }))),
            ("git_commit", at(json!({ "message": "second" }))),
            ("git_create_branch", at(json!({ "branch_name": "other" }))),
            ("git_checkout", at(json!({ "branch_name": "before" }))),
            ("git_show", at(json!({ "revision": "main" }))),
        ],
        expected: "Ada",
    };
    real.check(&world, || {
        let script = "set -e; rm -rf .git new old; git init -q -b main .; echo old >old; git add old
            git -c user.name=a -c user.email=a@test commit -qm first; git branch before
            echo changed >old; git add old; git -c user.name=a -c user.email=a@test commit -qm changed; echo new >new
            printf '[user]\\n name = Ada\\n email = ada@test\\n' >~/.gitconfig";
        let made = world.command("sh").args(["-c", script]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    });
}

#[test]
fn sqlite() {
    let world = World::start();
    let real = Real {
        template: "sqlite",
        command: vec![
            text(servers().join("python-mcp1/bin/mcp-server-sqlite")),
            "--db-path".to_owned(),
            "./data/shop.db".to_owned(),
        ],
        env: vec![],
        calls: vec![
            (
                "create_table",
                json!({ "query": "create table milk (litres integer)" }),
            ),
            (
                "write_query",
                json!({ "query": "insert into milk values (42)" }),
            ),
            ("read_query", json!({ "query": "select litres from milk" })),
        ],
        expected: "42",
    };
    real.check(&world, || {
        let _ = fs::remove_dir_all(world.path("work/data"));
        fs::create_dir(world.path("work/data")).unwrap();
    });
}

#[test]
fn memory() {
    let mut world = World::new();
    let graph = text(world.path("work/memory/graph.jsonl"));
    world.set("MEMORY_FILE_PATH", &graph);
    world.start_daemon();
    let entity = json!({ "name": "Ada", "entityType": "person", "observations": ["drinks milk"] });
    let real = Real {
        template: "memory",
        command: vec![npm("mcp-server-memory")],
        env: vec!["MEMORY_FILE_PATH"],
        calls: vec![
            ("create_entities", json!({ "entities": [entity] })),
            ("read_graph", json!({})),
        ],
        expected: "drinks milk",
    };
    real.check(&world, || {
        let _ = fs::remove_dir_all(world.path("work/memory"));
        fs::create_dir(world.path("work/memory")).unwrap();
    });
}

#[test]
fn shell() {
    let mut world = World::new();
    world.set("ALLOW_COMMANDS", "cp,cat");
    world.write("work/notes.txt", "buy milk");
    world.start_daemon();
    let real = Real {
        template: "shell",
        command: vec![text(servers().join("python-mcp1/bin/mcp-shell-server"))],
        env: vec!["ALLOW_COMMANDS"],
        calls: vec![
            (
                "shell_execute",
                json!({ "command": ["cp", "notes.txt", "copy.txt"] }),
            ),
            ("shell_execute", json!({ "command": ["cat", "copy.txt"] })),
        ],
        expected: "buy milk",
    };
    real.check(&world, || {
        drop(fs::remove_file(world.path("work/copy.txt")))
    });
}

#[test]
fn fetch() {
    let world = World::with_network(&[("203.0.113.7", "pages.test")]);
    let web = Web::in_world(&world, "203.0.113.7:8080", "a page about milk");
    world.start_daemon();
    let real = Real {
        template: "fetch",
        command: vec![
            text(servers().join("python/bin/mcp-server-fetch")),
            "--ignore-robots-txt".to_owned(),
        ],
        env: vec![],
        calls: vec![(
            "fetch",
            json!({ "url": "http://pages.test:8080/", "raw": true }),
        )],
        expected: "milk",
    };
    // The person who says yes, once.
    let script =
        "while :; do id=$(\"$1\" approvals --json | sed -n 's/.*\"id\": \"\\([^\"]*\\)\".*/\\1/p')
        [ -z \"$id\" ] || exec \"$1\" approve \"$id\"; sleep 0.05; done";
    let mut person = world.command("sh");
    person
        .args(["-c", script, "sh"])
        .arg(world.program("srtctl"));
    let mut person = Talk::start(&mut person);
    real.check(&world, || {});
    assert!(person.wait(SOON).success(), "{}", person.stderr());
    assert_eq!(web.came(1), 1, "only what was approved came");
}

/// A world in which two hosts answer at port 443: one as GitHub's and GitLab's API, and one that nobody names.
fn with_api() -> (World, Vec<Talk>) {
    let names = [
        ("203.0.113.7", "api.github.com"),
        ("203.0.113.7", "gitlab.com"),
        ("203.0.113.8", "elsewhere.test"),
    ];
    let beside = Beside {
        low_ports: true,
        ..Beside::default()
    };
    let mut world = World::with_network_and(&names, &beside);
    let script = "set -e; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=a test' -days 30 \
        -keyout key.pem -out cert.pem -addext basicConstraints=critical,CA:TRUE \
        -addext subjectAltName=DNS:api.github.com,DNS:gitlab.com,DNS:elsewhere.test";
    let made = world.command("sh").args(["-c", script]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let apis = ["203.0.113.7", "203.0.113.8"].map(|address| {
        let mut node = world.bare("node");
        node.arg(clients().join("api.mjs"))
            .args([address, "cert.pem", "key.pem"]);
        let mut api = Talk::start(&mut node);
        assert_eq!(
            api.line(SOON).as_deref(),
            Some(&b"ready\n"[..]),
            "{}",
            api.stderr()
        );
        api
    });
    world.set("NODE_EXTRA_CA_CERTS", &text(world.path("work/cert.pem")));
    world.set("GITHUB_PERSONAL_ACCESS_TOKEN", "a token");
    world.set("GITLAB_PERSONAL_ACCESS_TOKEN", "a token");
    world.start_daemon();
    (world, apis.into())
}

/// The one host that a launch of this server reached.
#[track_caller]
fn reached(world: &World, server: &str, target: &str) {
    world.until_audited("allow", target);
    let entries = world.audit().into_iter();
    let allowed = entries.filter(|entry| entry.kind == "allow" && entry.server == server);
    for entry in allowed {
        assert_eq!(entry.subject, target, "{}", entry.json);
    }
}

#[test]
fn github_and_gitlab() {
    let (world, _apis) = with_api();
    for (template, token, query, target) in [
        (
            "github",
            "GITHUB_PERSONAL_ACCESS_TOKEN",
            "query",
            "api.github.com:443",
        ),
        (
            "gitlab",
            "GITLAB_PERSONAL_ACCESS_TOKEN",
            "search",
            "gitlab.com:443",
        ),
    ] {
        let real = Real {
            template,
            command: vec![npm(&format!("mcp-server-{template}"))],
            env: vec!["NODE_EXTRA_CA_CERTS", token],
            calls: vec![("search_repositories", json!({ query: "milk" }))],
            expected: "items",
        };
        real.check(&world, || {});
        reached(&world, template, target);
    }
    // The same server, told of another host: it reaches it without a sandbox, and not with the template.
    let mut told = vec![
        "env".to_owned(),
        "GITLAB_API_URL=https://elsewhere.test/api/v4".to_owned(),
    ];
    told.push(npm("mcp-server-gitlab"));
    let mut talk = Talk::start(world.bare(&told[0]).args(&told[1..]));
    talk.ask(&initialize(&json!(1)), SOON);
    talk.send(INITIALIZED);
    let call = json!({ "name": "search_repositories", "arguments": { "search": "milk" } });
    let answer = talk.ask(&legacy(&json!(2), "tools/call", call.clone()), SOON);
    assert!(answer.contains("items"), "bare: {answer}");
    let path = text(world.write("settings/own.json", r#"{ "extends": ["@gitlab"] }"#));
    let mut boxed = world.srt(&["--name", "gitlab", "--settings", &path]);
    boxed
        .args([
            "--env",
            "GITLAB_PERSONAL_ACCESS_TOKEN",
            "--env",
            "NODE_EXTRA_CA_CERTS",
        ])
        .args(["--env", "GITLAB_API_URL", "--"])
        .arg(&told[2])
        .env("GITLAB_API_URL", "https://elsewhere.test/api/v4");
    let mut talk = Talk::start(&mut boxed);
    talk.ask(&initialize(&json!(1)), SOON);
    talk.send(INITIALIZED);
    let answer = talk.ask(&legacy(&json!(2), "tools/call", call), SOON);
    assert!(!answer.contains("items"), "{answer}");
    world.until_audited("deny", "elsewhere.test");
}

#[test]
fn postgresql() {
    let Some((programs, _)) = postgres() else {
        println!("not applicable: neither the wheel nor this machine has PostgreSQL");
        return;
    };
    let mut site = Site::new();
    let script = "set -e; cd \"$1\"; mkdir data; \"$2/initdb\" -D data -U tester --auth=trust --no-sync >said 2>&1
        \"$2/postgres\" -D data -h 127.0.0.1 -k '' -c fsync=off >said 2>&1 &
        until \"$2/pg_isready\" -q -h 127.0.0.1; do kill -0 $! || { cat said >&2; exit 1; }; sleep 0.05; done
        echo ready; cat; kill -INT $!; wait";
    let mut server = site.world.bare("sh");
    server
        .args(["-c", script, "sh"])
        .arg(site.folder())
        .arg::<&PathBuf>(&programs);
    site.serve(&mut server);
    let real = Real {
        template: "postgres",
        command: vec![
            npm("mcp-server-postgres"),
            "postgresql://tester@localhost:5432/postgres".to_owned(),
        ],
        env: vec![],
        calls: vec![("query", json!({ "sql": "select 6 * 7 as answer" }))],
        expected: "42",
    };
    real.check(&site.world, || {});
}

/// Chromium, with the sandbox of its own that it puts pages in. Debian's: others have it as a package that no test can
/// install.
#[test]
fn browser() {
    let chromium = "/usr/bin/chromium";
    if !Path::new(chromium).exists() {
        println!("not applicable: this machine has no {chromium}");
        return;
    }
    let page = "<title>a page</title><script>document.title += ' of ' + 6 * 7</script>";
    let web = Web::on("127.0.0.1:0", page);
    let address = web.address().to_string();
    let world = World::start();
    let real = Real {
        template: "browser",
        command: ["--headless", "--isolated", "--executable-path", chromium]
            .into_iter()
            .fold(vec![npm("playwright-mcp")], |mut command, word| {
                command.push(word.to_owned());
                command
            }),
        env: vec![],
        calls: vec![(
            "browser_navigate",
            json!({ "url": format!("http://{address}/") }),
        )],
        expected: "a page of 42",
    };
    // Nobody is here to be asked.
    let allowed = json!([address]);
    let mut settings = json!({ "extends": ["@browser"], "network": { "allowedDomains": allowed } });
    real.tried(&world, &settings)
        .unwrap_or_else(|why| panic!("{why}"));
    settings["network"] = json!({});
    assert!(real.tried(&world, &settings).is_err(), "nobody allowed it");
    let mut whole = template("browser");
    whole["network"] = json!({ "allowedDomains": allowed, "allowAllUnixSockets": true });
    for key in ["/allowNestedUserNamespaces", "/network/allowAllUnixSockets"] {
        let mut without = whole.clone();
        *without.pointer_mut(key).unwrap() = false.into();
        assert!(real.tried(&world, &without).is_err(), "works without {key}");
    }
    whole["filesystem"]["allowRead"] = json!([]);
    assert!(
        real.tried(&world, &whole).is_err(),
        "works without its files"
    );
}
