//! Attacks on the sandbox, as tables in `tests/escape`. Each is first shown to succeed where it may, then tried in a
//! real sandbox, through `srt` and `srtd`. Prints how many were tried and how many escaped.
//!
//! `cargo test -p srt-tests --test escape -- PART…` tries those whose `group/name` holds one of the parts, `--list`
//! names them all. `SRT_ESCAPE_VERBOSE=1` prints what each said inside.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use srt_tests::escape::{Arsenal, Verdict, groups, report, run};

/// What the promise of the suite is, and what may be missing on one machine before it is no proof any more.
const FEWEST: usize = 150;
const MOST_LEFT_OUT: usize = 12;

fn main() -> ExitCode {
    if !cfg!(target_os = "linux") {
        println!("escape: not run: the attacks are for Linux");
        return ExitCode::SUCCESS;
    }
    match tried() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("escape: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tried() -> Result<bool, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("escape");
    let groups = groups(&folder)?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for group in &groups {
            for case in &group.cases {
                println!("{}/{}: {}", group.group, case.name, case.tries);
            }
        }
        return Ok(true);
    }
    // Flags are the other harness's.
    let parts: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let wanted = |name: &str| parts.is_empty() || parts.iter().any(|part| name.contains(*part));
    let start = Instant::now();
    let arsenal = Arsenal::build(&folder.join("programs"))?;
    let mut outcomes = run(&groups, &arsenal, wanted);
    let user = rustix::process::geteuid();
    let (mut tried, mut escapes, mut broken, mut left_out) = (0, 0, 0, 0);
    for outcome in &outcomes {
        match outcome.verdict {
            Verdict::Held => tried += 1,
            Verdict::Escaped(_) => (tried, escapes) = (tried + 1, escapes + 1),
            Verdict::Broken(_) => broken += 1,
            Verdict::NotApplicable(_) => left_out += 1,
            Verdict::Awaits(_) => {}
        }
    }
    let table = report(&groups, &outcomes);
    outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.took));
    for outcome in outcomes.iter().take(3) {
        println!(
            "slow: {}/{} {:.1} s",
            outcome.group,
            outcome.name,
            outcome.took.as_secs_f64()
        );
    }
    println!("\nattacks on the sandbox, as uid {}:\n", user.as_raw());
    print!("{table}");
    println!(
        "\nattacks tried: {tried}, escapes: {escapes}, in {:.0} s\n",
        start.elapsed().as_secs_f64()
    );
    if parts.is_empty() && (tried < FEWEST || left_out > MOST_LEFT_OUT) {
        println!(
            "too little is shown: {tried} tried of at least {FEWEST}, {left_out} left out of at most {MOST_LEFT_OUT}"
        );
        return Ok(false);
    }
    Ok(escapes == 0 && broken == 0)
}
