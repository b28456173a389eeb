//! The harness itself: a test that stands on it must be able to fail.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::json;
use srt_tests::{Random, SOON, Talk, Web, World, process, until};

#[test]
fn a_bare_server_reaches_the_hosts_of_its_world_by_address_and_by_name() {
    let world = World::with_network(&[("203.0.113.7", "private.test")]);
    let web = Web::in_world(&world, "203.0.113.7:8080", "hello");
    let mut bare = Talk::start(&mut world.bare(world.program("demo-server")));
    for host in ["203.0.113.7", "private.test"] {
        let (said, failed) = bare.tool("connect", json!({ "host": host, "port": 8080 }));
        assert!(!failed, "{said}");
        let url = format!("http://{host}:8080/");
        let (said, failed) = bare.tool("fetch_url", json!({ "url": url }));
        assert!(!failed && said.contains("hello"), "{said}");
    }
    assert_eq!(web.connections(), 4);
    let (said, failed) = bare.tool("connect", json!({ "host": "other.test", "port": 8080 }));
    assert!(failed && said.contains("cannot resolve"), "{said}");
    bare.close();
    assert!(bare.wait(SOON).success());
}

#[test]
fn a_process_of_a_world_is_found_by_arguments_folder_and_program() {
    let world = World::new();
    assert!(world.processes().is_empty());
    let mark = world.mark().display().to_string();
    let mut by_argument = std::process::Command::new("sleep")
        .args(["1000"])
        .arg0_mark(&mark)
        .spawn()
        .unwrap();
    until("it to be seen", SOON, || {
        (world.processes().len() == 1).then_some(())
    });
    let server = Talk::start(&mut world.command(world.program("demo-server")));
    until("the program to be seen", SOON, || {
        (world.running("demo-server").len() == 1).then_some(())
    });
    assert!(process::lives(server.pid()));
    assert!(process::descriptors(server.pid()).unwrap() > 2);
    assert!(process::memory(server.pid(), "VmRSS").unwrap() > 0);
    drop(server);
    by_argument.kill().unwrap();
    by_argument.wait().unwrap();
    assert!(world.processes().is_empty());
}

/// Puts the mark where a program's own name stands.
trait Arg0 {
    fn arg0_mark(&mut self, mark: &str) -> &mut Self;
}

impl Arg0 for std::process::Command {
    fn arg0_mark(&mut self, mark: &str) -> &mut Self {
        use std::os::unix::process::CommandExt as _;
        self.arg0(mark)
    }
}

#[test]
fn what_a_world_started_goes_with_it() {
    let world = World::new();
    let folder = world.mark().to_owned();
    let mut left = world.command("sleep").arg("1000").spawn().unwrap();
    until("it to be seen", SOON, || {
        (!world.processes().is_empty()).then_some(())
    });
    drop(world);
    assert!(!left.wait().unwrap().success());
    assert!(!folder.exists());
}

#[test]
#[should_panic(expected = "in vain")]
fn a_wait_in_vain_fails() {
    until("what never comes", Duration::from_millis(20), || None::<()>);
}

#[test]
fn random_numbers_repeat_with_their_seed() {
    let draw = |seed| {
        let mut random = Random::new(seed);
        [random.below(1000), random.below(1000), random.below(1000)]
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}
