//! `srtctl kill`: a signal to servers, and nothing else.

use super::{output, select};
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table;
use nix::sys::signal::Signal;
use srt_proto::v1::KillRequest;
use srt_proto::v1::operations_client::OperationsClient;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which: a name with or without SIG (HUP, SIGUSR1), or a number
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM", value_parser = signal)]
    signal: Signal,
    /// The servers
    #[arg(required = true)]
    names: Vec<String>,
}

/// Reads a signal as kill(1) does. 0, which only asks whether a process is there, and real-time signals are none.
fn signal(text: &str) -> Result<Signal, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let found = match text.parse::<i32>() {
        Ok(number) => Signal::try_from(number).ok(),
        Err(_) => format!("SIG{name}").parse().ok(),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = Signal::iterator()
            .map(|signal| &signal.as_str()[3..])
            .collect();
        format!("no signal is called that; there are {}", names.join(" "))
    })
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let mut client = OperationsClient::new(connection.channel.clone());
    let request = KillRequest {
        names: args.names,
        signal: args.signal as i32,
    };
    let mut code = 0;
    for result in client.kill(request).await?.into_inner().results {
        if result.error.is_empty() {
            let pids: Vec<_> = result.pids.iter().map(u32::to_string).collect();
            let text = format!(
                "{}: {} to pid {}",
                result.name,
                args.signal,
                pids.join(", ")
            );
            output::print(&format!("{}\n", table::clean(&text)))?;
        } else {
            let own = select::report(&result.name, &result.error, result.exit_code);
            code = if code == 0 { own } else { code };
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_kill_reads_them() {
        for (text, expected) in [
            ("TERM", Signal::SIGTERM),
            ("SIGTERM", Signal::SIGTERM),
            ("kill", Signal::SIGKILL),
            ("sigUsr1", Signal::SIGUSR1),
            ("9", Signal::SIGKILL),
            ("1", Signal::SIGHUP),
        ] {
            assert_eq!(signal(text), Ok(expected), "{text}");
        }
        for text in ["", "SIG", "NOPE", "0", "-9", "64", "9.0", "SIGSIGTERM"] {
            let error = signal(text).expect_err(text);
            assert!(error.contains(" HUP INT QUIT "), "{error}");
        }
    }
}
