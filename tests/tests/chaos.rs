//! Whatever is killed or changed, every request is answered exactly once, in an order that the protocol allows, and
//! nothing is left over.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use srt_tests::chaos::havoc::{self, Below};
use srt_tests::chaos::oracle::{self, Asked};
use srt_tests::chaos::{
    self, Breakage, Conversation, Launch, Plan, Progress, Server, converse, model,
};
use srt_tests::{Random, SOON, World, servers, until};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Whether an error tells whoever reads it what happened: more than a word, and what of.
fn explained(asked: &Asked, message: &str) -> bool {
    message.len() > 15
        && asked
            .tool
            .as_ref()
            .is_none_or(|tool| message.contains(tool.as_str()))
}

/// Where a session's launches write down what they read and wrote.
fn logs(world: &World, session: &str) -> PathBuf {
    world.work().join("launches").join(session)
}

fn scripted(world: &World, session: &str) -> Command {
    let mut command = world.command(world.program("test-scripted"));
    command.arg(logs(world, session));
    command
}

fn plan(seed: u64) -> Plan {
    Plan {
        server: Server::Scripted,
        seed,
        requests: 120,
        deaths: 0,
        pause: Duration::from_millis(4),
        patience: Duration::from_secs(60),
    }
}

fn calm() -> Progress {
    let progress = Progress::default();
    progress.calm.store(true, Ordering::Relaxed);
    progress
}

fn alone(command: Command, plan: Plan, breakage: Option<Breakage>) -> Conversation {
    runtime().block_on(converse(command, plan, breakage, &calm()))
}

fn faults(world: &World, session: &str, over: &Conversation) -> Vec<String> {
    let mut faults = oracle::faults(&over.trace, explained);
    faults.extend(model::disagreements(
        &over.trace,
        &chaos::launches(&logs(world, session)),
    ));
    faults
}

#[test]
fn a_bare_server_that_lives_breaks_no_rule() {
    let world = World::new();
    for seed in [1, 2, 3] {
        let session = format!("bare-{seed}");
        let over = alone(scripted(&world, &session), plan(seed), None);
        assert!(over.answered[0] > 80, "{:?}", over.answered);
        assert_eq!(over.code, Some(0));
        let found = faults(&world, &session, &over);
        assert!(found.is_empty(), "seed {seed}: {found:#?}");
    }
    let mut command = world.command(servers().join("node/node_modules/.bin/mcp-server-everything"));
    command.arg("stdio");
    let everything = Plan {
        server: Server::Everything,
        requests: 60,
        ..plan(4)
    };
    let over = alone(command, everything, None);
    let found = oracle::faults(&over.trace, explained);
    assert!(found.is_empty(), "{found:#?}");
    assert!(over.answered[0] > 50, "{:?}", over.answered);
}

/// The oracle can fail: each relay that is broken on purpose is found out, most by both judges.
#[test]
fn a_relay_that_is_broken_is_found_out() {
    let world = World::new();
    for breakage in Breakage::ALL {
        let session = format!("{breakage:?}");
        let plan = Plan {
            patience: Duration::from_secs(2),
            ..plan(5)
        };
        let over = alone(scripted(&world, &session), plan, Some(breakage));
        let by_rules = oracle::faults(&over.trace, explained);
        let by_model = model::disagreements(&over.trace, &chaos::launches(&logs(&world, &session)));
        println!(
            "{breakage:?}: {} faults by the rules, {} by the model: {:?}",
            by_rules.len(),
            by_model.len(),
            by_rules.first().or(by_model.first())
        );
        // Nothing but a model knows who wrote a notification that may be written, and a rule does not.
        assert!(
            !by_model.is_empty(),
            "{breakage:?} is not noticed by the model"
        );
        assert!(
            !by_rules.is_empty() || breakage == Breakage::Invents,
            "{breakage:?} is not noticed by the rules"
        );
    }
}

/// What `srt` is there for: without it a death is a fault.
#[test]
fn a_bare_server_that_dies_leaves_requests_unanswered() {
    let world = World::new();
    let found = (6..16).any(|seed| {
        let plan = Plan {
            deaths: 1,
            patience: Duration::from_secs(5),
            ..plan(seed)
        };
        let session = format!("dies-{seed}");
        let over = alone(scripted(&world, &session), plan, None);
        faults(&world, &session, &over)
            .iter()
            .any(|fault| fault.contains("was never answered"))
    });
    assert!(found, "ten servers died, and nobody missed an answer");
}

/// Three hosts at once on one daemon, two with the scripted server and one with server-everything, in a storm while
/// blows are dealt.
fn chaos(seed: u64, requests: u32, storm: bool) {
    if storm {
        println!("seed {seed}: again with: make chaos SEED={seed}");
    }
    let world = World::start();
    world.policy(&havoc::settings());
    let everything = servers().join("node/node_modules/.bin/mcp-server-everything");
    let mut hosts = Vec::new();
    for (number, server) in [Server::Scripted, Server::Scripted, Server::Everything]
        .into_iter()
        .enumerate()
    {
        let session = format!("s{number}");
        let mut command = world.srt(&["--name", &session, "--"]);
        match server {
            Server::Scripted => {
                let logs = logs(&world, &session);
                std::fs::create_dir_all(&logs).unwrap();
                command.arg(world.program("test-scripted")).arg(logs);
            }
            Server::Everything => {
                command.arg(&everything).arg("stdio");
            }
        }
        let plan = Plan {
            server,
            seed: seed * 10 + number as u64,
            requests,
            deaths: u32::from(storm),
            pause: Duration::from_millis(if storm { 60 } else { 6 }),
            patience: Duration::from_secs(90),
        };
        hosts.push((session, server, command, plan));
    }
    let progress = Arc::new(if storm { Progress::default() } else { calm() });
    let all = u32::try_from(hosts.len()).unwrap();
    let (below, told) = (Below::new(&world), Arc::clone(&progress));
    let dealer = storm.then(|| {
        std::thread::spawn(move || havoc::deal(&below, &mut Random::new(seed), 3, &told, all))
    });
    let runtime = runtime();
    let conversations = runtime.block_on(async {
        let mut running = Vec::new();
        for (session, server, command, plan) in hosts {
            let progress = Arc::clone(&progress);
            let conversation = async move { converse(command, plan, None, &progress).await };
            running.push((session, server, tokio::spawn(conversation)));
        }
        let mut done = Vec::new();
        for (session, server, running) in running {
            done.push((session, server, running.await));
        }
        done
    });
    let dealt = dealer.map(|dealer| dealer.join().unwrap());
    let mut wrong = Vec::new();
    for (session, server, conversation) in conversations {
        let Ok(conversation) = conversation else {
            wrong.push(format!("{session}: the host panicked"));
            continue;
        };
        let mut found = oracle::faults(&conversation.trace, explained);
        let launches = match server {
            Server::Scripted => chaos::launches(&logs(&world, &session)),
            Server::Everything => Vec::new(),
        };
        if server == Server::Scripted {
            found.extend(model::disagreements(&conversation.trace, &launches));
        }
        println!(
            "seed {seed}, {session}: {} lines, {:?} answered with results and errors, {} launches, exit {:?}",
            conversation.trace.len(),
            conversation.answered,
            launches.len(),
            conversation.code,
        );
        // A question that server-everything has just asked keeps it for a minute, bare too: then it is told to end.
        let expected = match server {
            Server::Scripted => &[0][..],
            Server::Everything => &[0, 128 + 15],
        };
        if !conversation
            .code
            .is_some_and(|code| expected.contains(&code))
        {
            found.push(format!("srt ended with {:?}", conversation.code));
        }
        if !found.is_empty() {
            keep(seed, &session, &conversation, &launches);
        }
        // The first are what went wrong; what comes after follows from it.
        let first = found.iter().take(8);
        wrong.extend(first.map(|fault| format!("{session}: {fault}")));
    }
    println!("seed {seed}: dealt {dealt:?}");
    assert!(
        wrong.is_empty(),
        "seed {seed}, again with: make chaos SEED={seed}\n{}",
        wrong.join("\n")
    );
    nothing_is_left(&world);
}

/// Keeps what a host saw and what the launches say of it, for whoever looks why it went wrong: the same seed may hit
/// another moment.
fn keep(seed: u64, session: &str, conversation: &Conversation, launches: &[Launch]) {
    let path = format!("/var/tmp/srt-chaos-{seed}-{session}.txt");
    let mut text = String::new();
    for (number, event) in conversation.trace.iter().enumerate() {
        text += &format!("{number} {:?} {}\n", event.by, event.line);
    }
    for (number, launch) in launches.iter().enumerate() {
        for entry in &launch.entries {
            text += &format!("launch {number}: {entry:?}\n");
        }
    }
    match std::fs::write(&path, text) {
        Ok(()) => println!("what {session} saw is in {path}"),
        Err(error) => println!("{path}: {error}"),
    }
}

/// No process but the daemon, no folder, no mount, and no session that the store holds open.
fn nothing_is_left(world: &World) {
    // Where the last blow hit it, and nobody needed another one since. Its sweep settles what the dead one left.
    if world.running("srtd").is_empty() {
        world.start_daemon();
    }
    let start = Instant::now();
    until("every launch to be gone", SOON * 3, || {
        let mut left: Vec<_> = world
            .of_launches()
            .iter()
            .map(|found| format!("{found:?}"))
            .collect();
        left.extend(world.traces());
        assert!(start.elapsed() < SOON * 2, "left: {left:#?}");
        left.is_empty().then_some(())
    });
    until("no session to be open", SOON * 3, || {
        let servers = world.json(&["list"]);
        let open = |server: &serde_json::Value| server["sessions"].as_u64().unwrap_or(0);
        (servers.as_array()?.iter().map(open).sum::<u64>() == 0).then_some(())
    });
}

#[test]
fn srt_that_is_left_alone_breaks_no_rule() {
    chaos(7, 150, false);
}

/// `SEED` and `SECONDS` of `make chaos`; without them a few seeds, which are always the same.
#[test]
fn every_request_is_answered_once_whatever_is_killed() {
    let number = |name: &str| {
        std::env::var(name).ok().map(|text| {
            text.parse::<u64>()
                .unwrap_or_else(|error| panic!("{name}={text}: {error}"))
        })
    };
    match (number("SRT_CHAOS_SEED"), number("SRT_CHAOS_SECONDS")) {
        (Some(seed), None) => chaos(seed, 150, true),
        (seed, Some(seconds)) => {
            let start = Instant::now();
            for seed in seed.unwrap_or(1).. {
                chaos(seed, 300, true);
                if start.elapsed() > Duration::from_secs(seconds) {
                    break;
                }
            }
        }
        (None, None) => (1..=2).for_each(|seed| chaos(seed, 150, true)),
    }
}
