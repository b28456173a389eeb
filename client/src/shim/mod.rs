//! The shim: opens a session for the command in its arguments and holds the host's conversation, whichever launches and
//! daemons serve it, until it ends.

pub mod answer;
pub mod args;
mod attach;
mod conversation;
pub mod name;
mod relay;
mod signals;
pub(crate) mod stdio;
mod words;

use std::os::unix::fs::MetadataExt as _;

use crate::errors::Failure;
use crate::start;
use args::Args;
use attach::{Attached, Door};
use signals::Attachment;
use srt_proto::exit;
use srt_proto::socket::Environment;
use srt_proto::v1::Open;

/// The process's life, and its exit status.
pub fn main() -> i32 {
    let args = Args::from_process();
    if args.is_direct() {
        return crate::direct::main(&args);
    }
    let ended = signals::watch().and_then(|attachment| {
        let runtime = crate::runtime::runtime()?;
        runtime.block_on(run(&args, &attachment))
    });
    match ended {
        Ok(code) => code,
        Err(Ended::BeforeOpen(failure)) => {
            failure.report("srt: ");
            answer::answer(&args.name, &failure);
            failure.code
        }
        Err(Ended::Open(failure)) => {
            failure.report("srt: ");
            failure.code
        }
    }
}

/// When a failure came: before the session was open, the host's first request is still unread and can be
/// answered; later its bytes are the server's.
enum Ended {
    BeforeOpen(Failure),
    Open(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::BeforeOpen(failure)
    }
}

async fn run(args: &Args, attachment: &Attachment) -> Result<i32, Ended> {
    let environment = Environment::from_process();
    let open = open_message(args)?;
    let notice = |text: &str| {
        if args.debug {
            stdio::notice(text);
        }
    };
    let mut connection = start::connect_or_start(&environment).await?;
    notice(&format!("connected to {}", connection.socket.display()));
    let attached = match Attached::open(&connection, open.clone()).await {
        Err(failure) if failure.code == exit::UNREACHABLE => {
            // It was on its way out, and nothing of the host's was sent: the next daemon may have it.
            notice(&format!("{}; trying again", failure.message));
            connection = start::connect_or_start(&environment).await?;
            Attached::open(&connection, open.clone()).await?
        }
        opened => opened?,
    };
    let door = Door {
        environment,
        open,
        signals: attachment.clone(),
        debug: args.debug,
    };
    relay::relay(door, attached).await.map_err(Ended::Open)
}

/// What the command line asks the daemon to launch.
pub(crate) fn open_message(args: &Args) -> Result<Open, Failure> {
    let text = |path: std::path::PathBuf| {
        path.into_os_string()
            .into_string()
            .map_err(|path| Failure::new(exit::USAGE, format!("{} is not UTF-8", path.display())))
    };
    let cwd = match &args.cwd {
        Some(cwd) if !cwd.is_dir() => {
            return Err(Failure::new(
                exit::USAGE,
                format!("--cwd {} is not a folder", cwd.display()),
            )
            .hint("name an existing folder, or leave --cwd out"));
        }
        Some(cwd) => cwd.clone(),
        None => std::env::current_dir().map_err(|error| {
            Failure::new(
                exit::ERROR,
                format!("cannot tell the working directory: {error}"),
            )
            .hint("it may have been removed; pass --cwd DIR")
        })?,
    };
    // Of the folder that we are in, not of what its name leads to by now.
    let place = args.cwd.as_deref().unwrap_or(std::path::Path::new("."));
    let (cwd_device, cwd_inode) =
        std::fs::metadata(place).map_or((0, 0), |meta| (meta.dev(), meta.ino()));
    Ok(Open {
        name: args.name.clone(),
        command: args.command.clone(),
        cwd: text(cwd)?,
        settings: args.settings.clone().map_or(Ok(String::new()), text)?,
        environment: environment(),
        env_names: args.env.clone(),
        debug: args.debug,
        name_given: args.name_given,
        umask: mask(),
        cwd_device,
        cwd_inode,
        token: String::new(),
        because: String::new(),
        profile: args.profile.clone().unwrap_or_default(),
    })
}

/// Our environment; variables that are not UTF-8 have no place in the contract and are left out.
pub(crate) fn environment() -> std::collections::HashMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
/// Our file mode creation mask. It can only be read by setting it (umask(2)); nothing of ours creates a file at
/// this point.
fn mask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    rustix::process::umask(mask);
    #[allow(clippy::useless_conversion, reason = "16 bits on macOS")]
    u32::from(mask.bits() & 0o777)
}
