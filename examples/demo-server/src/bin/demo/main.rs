//! `make demo`: a private daemon in a temporary home, one MCP server under it, and a host that tries things.
//!
//! `demo --bin-dir DIR [--servers DIR]`. Exit status 0 only if every outcome is the expected one.

mod attempts;
mod stage;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::stage::Stage;
use crate::table::{Paint, Table};

struct Arguments {
    programs: PathBuf,
    servers: Option<PathBuf>,
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut programs = None;
    let mut servers = None;
    let mut given = std::env::args_os().skip(1);
    while let Some(name) = given.next() {
        let slot = match name.to_str() {
            Some("--bin-dir") => &mut programs,
            Some("--servers") => &mut servers,
            _ => bail!("unknown argument {name:?}; usage: demo --bin-dir DIR [--servers DIR]"),
        };
        *slot = Some(PathBuf::from(given.next().context("a folder is missing")?));
    }
    Ok(Arguments {
        programs: programs.context("--bin-dir DIR is missing; make demo gives it")?,
        servers,
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<bool> {
    let arguments = arguments()?;
    let stage = Stage::set(&arguments.programs).await?;
    let result = show(&stage, &arguments).await;
    if result.is_err() {
        eprintln!("--- the daemon's log:\n{}", stage.log());
    }
    let cleared = stage.clear().await;
    let good = result?;
    cleared?;
    println!("The daemon has ended and the temporary home is gone.");
    Ok(good)
}

async fn show(stage: &Stage, arguments: &Arguments) -> anyhow::Result<bool> {
    let (paint, width) = (Paint::for_stdout(), table::width());
    println!("A private daemon, in a temporary home (~ below). A host drives MCP servers by");
    println!("srt, as an AI tool would; each runs in a sandbox of its own, under this policy.");
    println!("\n{}", paint.bold("~/.srt-settings.json"));
    println!("{}\n", stage.policy_text());

    stage.ctl(
        &["add", "demo", "--cwd"],
        &[
            stage.work().as_os_str(),
            "--".as_ref(),
            arguments.programs.join("demo-server").as_os_str(),
        ],
    )?;
    let mut outcomes = attempts::drive(stage, "demo", &attempts::demo(stage)).await?;

    if let Some(servers) = &arguments.servers {
        let server = servers.join("node/node_modules/.bin/mcp-server-filesystem");
        // The server would itself refuse what is outside the folders it is given: it is given the whole home,
        // so what refuses is the policy.
        stage.ctl(
            &["add", "server-filesystem", "--cwd"],
            &[
                stage.work().as_os_str(),
                "--settings".as_ref(),
                stage.settings().as_os_str(),
                "--".as_ref(),
                server.as_os_str(),
                stage.home().as_os_str(),
            ],
        )?;
        let attempts = attempts::filesystem(stage);
        outcomes.extend(attempts::drive(stage, "server-filesystem", &attempts).await?);
    }

    println!("{}", paint.bold("What it tried"));
    let mut table = Table::new(&["", "attempt", "what the policy said", "what happened"]);
    for outcome in &outcomes {
        table.row(
            outcome.as_expected(),
            &[
                if outcome.as_expected() { "ok" } else { "!!" },
                &outcome.title,
                &outcome.policy,
                &outcome.happened,
            ],
        );
    }
    print!("{}", table.render(paint, width));

    println!("\n{}", paint.bold("What srtctl audit recorded"));
    let audit = stage.shorten(&stage.ctl(&["audit"], &[])?);
    print!("{}", table::fold(&audit, width));

    let wrong = outcomes.iter().filter(|o| !o.as_expected()).count();
    let attempts = outcomes.len();
    println!();
    match wrong {
        0 => println!("{attempts} attempts, each with the outcome that the policy asks for."),
        _ => println!(
            "{attempts} attempts, {wrong} with another outcome than expected: see !! above."
        ),
    }
    Ok(wrong == 0)
}
