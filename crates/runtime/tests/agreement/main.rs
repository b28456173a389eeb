//! The policy and the sandbox say the same: small trees with links, documents about them, and what a server tries are
//! drawn; the policy is asked what should come of it, and a real sandbox what does.
//!
//! Whatever changes on the host must be what the policy lets be written, whatever is opened what it lets be read, and
//! what it allows must work. `SRT_TEST_ROUNDS` chooses how many trees, `SRT_TEST_SEED` the first: each tree has a
//! seed of its own, and a difference is told with that seed and with the least that shows it.

mod draw;
mod judge;
mod probe;
mod room;
mod tree;

use std::process::ExitCode;
use std::time::Instant;

use room::{Outcome, run};

/// What makes this program the one inside.
pub(crate) const PROBE: &str = "--probe";

/// Trees, where nothing else is said.
const ROUNDS: u64 = 100;

/// Differences that are shown before one gives up.
const MOST_SHOWN: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == PROBE) {
        return ExitCode::from(u8::from(probe::serve().is_err()));
    }
    let mut names = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .peekable();
    // Names are those of tests that are wanted; flags are the other harness's.
    let wanted = names.peek().is_none() || names.any(|name| "agreement".contains(name.as_str()));
    if !wanted || arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if !cfg!(target_os = "linux") {
        println!("agreement: not run: what a sandbox shows is tried on Linux");
        return ExitCode::SUCCESS;
    }
    match tried() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("agreement: {error}");
            ExitCode::FAILURE
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn tried() -> Result<bool, String> {
    let (first, rounds) = (
        number("SRT_TEST_SEED", 1),
        number("SRT_TEST_ROUNDS", ROUNDS),
    );
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    let start = Instant::now();
    let (mut trees, mut left_out, mut all, mut done, mut differing) = (0, 0, 0, 0, 0);
    for seed in first..first + rounds {
        let case = draw::case(seed);
        let outcome = runtime
            .block_on(run(&case))
            .map_err(|error| format!("SRT_TEST_SEED={seed}: {error}\n{case}"))?;
        match outcome {
            Outcome::Agreed { steps, worked } => {
                trees += 1;
                all += steps;
                done += worked;
            }
            Outcome::NotTried => left_out += 1,
            Outcome::Differs(why) => {
                differing += 1;
                let (case, why) = shrunk(&runtime, case, why);
                println!("SRT_TEST_SEED={seed} SRT_TEST_ROUNDS=1: {why}\n{case}");
                if differing == MOST_SHOWN {
                    break;
                }
            }
        }
    }
    println!(
        "agreement: {trees} trees, {all} steps, {done} of them done; {left_out} trees not tried, {differing} differ, in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    // What is drawn must be worth drawing.
    if trees >= 50 && (left_out > trees || done * 8 < all) {
        return Err("too little of what is drawn can be tried".to_owned());
    }
    Ok(differing == 0)
}

/// The least that differs in the same way.
fn shrunk(
    runtime: &tokio::runtime::Runtime,
    case: draw::Case,
    why: String,
) -> (draw::Case, String) {
    let kind = |why: &str| why.split(':').next().map(str::to_owned);
    let wanted = kind(&why);
    let mut least = (case, why);
    'again: loop {
        for smaller in least.0.smaller() {
            if let Ok(Outcome::Differs(why)) = runtime.block_on(run(&smaller))
                && kind(&why) == wanted
            {
                least = (smaller, why);
                continue 'again;
            }
        }
        return least;
    }
}
