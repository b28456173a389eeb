//! The shim's command line. Its options end at the first word that is not one: the server's are the server's.

use super::name;
use crate::programs;
use clap::Parser;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

/// Runs an MCP server in a sandbox of the daemon srtd, and carries its stdin, stdout and stderr.
///
/// Put it in front of a server's command in .mcp.json:
///     srt npx -y @modelcontextprotocol/server-filesystem /project
/// A server registered with `srtctl add NAME` is attached to with `srt --name NAME`.
/// From a terminal, any program: srt bash
///
/// The exit status is the server's (128+N for a signal), or ours: 2 usage, 4 unknown name,
/// 5 daemon unreachable, 6 policy invalid, 7 denied, 126 command not executable, 127 command not found.
#[derive(Debug, Parser)]
#[command(name = "srt", version, verbatim_doc_comment)]
#[command(
    override_usage = "srt [OPTIONS] [--] COMMAND [ARG]...\n       srt [OPTIONS] -c 'SHELL STRING'\n       srt --name NAME"
)]
struct Raw {
    /// The server's name in srtctl and in the audit log [default: made from the command]
    #[arg(long, value_name = "NAME", value_parser = valid_name)]
    name: Option<String>,
    /// The settings file with this server's policy [default: found by srtd's rules]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Take NAME's settings files where there are such (policy.NAME.json for policy.json) [default: SRT_ENV]
    #[arg(long, value_name = "NAME", value_parser = valid_profile)]
    profile: Option<String>,
    /// Let the server see this variable of our environment (repeatable)
    #[arg(long, value_name = "NAME", value_parser = valid_variable)]
    env: Vec<String>,
    /// The server's working directory [default: ours]
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Say on stderr what happens
    #[arg(long)]
    debug: bool,
    /// Hand our stdin, stdout and stderr to the command [default: where stdin is a terminal]
    #[arg(long, overrides_with = "no_direct")]
    direct: bool,
    /// Carry its bytes instead, as for a host
    #[arg(long, overrides_with = "direct")]
    no_direct: bool,
    /// Run a shell string, as /bin/sh -c does
    #[arg(short = 'c', value_name = "SHELL STRING", allow_hyphen_values = true)]
    shell: Option<String>,
    /// The server's command and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    command: Vec<String>,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    /// The server's name.
    pub name: String,
    /// Whether a person chose it.
    pub name_given: bool,
    /// Empty: attach to the registered server.
    pub command: Vec<String>,
    /// Absolute.
    pub settings: Option<PathBuf>,
    /// Whose settings files stand in the place of others.
    pub profile: Option<String>,
    /// Names of variables to let through.
    pub env: Vec<String>,
    /// As given; `None` for our own.
    pub cwd: Option<PathBuf>,
    /// Notices on stderr.
    pub debug: bool,
    /// Whether our descriptors are to be handed over; `None`: where stdin is a terminal.
    pub direct: Option<bool>,
}

impl Args {
    /// Reads the process's command line; ends the process on a wrong one (2), `--help` and `--version`.
    pub fn from_process() -> Self {
        match Self::parse(std::env::args_os(), names_an_executable) {
            Ok(args) => args,
            Err(error) => error.exit(),
        }
    }

    /// Whether our descriptors are handed over in place of their bytes.
    pub(crate) fn is_direct(&self) -> bool {
        // A program has no terminal in a sandbox of macOS yet.
        let by_itself = || cfg!(target_os = "linux") && std::io::stdin().is_terminal();
        self.direct.unwrap_or_else(by_itself)
    }

    /// `executable` tells whether a word names a program.
    fn parse<T: Into<std::ffi::OsString> + Clone>(
        words: impl IntoIterator<Item = T>,
        executable: impl Fn(&str) -> bool,
    ) -> Result<Self, clap::Error> {
        let raw = Raw::try_parse_from(words)?;
        let command = match (raw.shell, raw.command) {
            (Some(string), rest) => shell(string, rest),
            (None, one)
                if one.len() == 1
                    && one[0].contains(char::is_whitespace)
                    && !executable(&one[0]) =>
            {
                shell(one.into_iter().next().unwrap_or_default(), Vec::new())
            }
            (None, command) => command,
        };
        let wrong =
            |kind, message: &str| <Raw as clap::CommandFactory>::command().error(kind, message);
        if command.first().is_some_and(String::is_empty) {
            return Err(wrong(
                clap::error::ErrorKind::InvalidValue,
                "the command is an empty string",
            ));
        }
        let name_given = raw.name.is_some();
        let Some(name) = raw
            .name
            .or_else(|| (!command.is_empty()).then(|| name::derive(&command)))
        else {
            return Err(wrong(
                clap::error::ErrorKind::MissingRequiredArgument,
                "a command is needed, or --name NAME of a registered server",
            ));
        };
        Ok(Self {
            name,
            name_given,
            command,
            settings: raw.settings.map(absolute),
            profile: raw.profile,
            env: raw.env,
            cwd: raw.cwd.map(absolute),
            debug: raw.debug,
            direct: (raw.direct || raw.no_direct).then_some(raw.direct),
        })
    }
}

fn shell(string: String, rest: Vec<String>) -> Vec<String> {
    let mut command = vec!["/bin/sh".to_owned(), "-c".to_owned(), string];
    command.extend(rest);
    command
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn names_an_executable(word: &str) -> bool {
    if word.contains('/') {
        return programs::is_executable(Path::new(word));
    }
    programs::on_path(word).is_some()
}

/// For clap: a name that the daemon would accept.
pub(crate) fn valid_name(text: &str) -> Result<String, String> {
    if name::is_valid(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "a name has 1 to {} of A-Z a-z 0-9 . _ - and starts with neither . nor -",
        name::LONGEST
    ))
}

/// For clap: a profile's name that the daemon would accept.
pub(crate) fn valid_profile(text: &str) -> Result<String, String> {
    let fits = (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    fits.then(|| text.to_owned())
        .ok_or_else(|| "a profile's name has 1 to 32 of A-Z a-z 0-9 _ -".to_owned())
}

fn valid_variable(text: &str) -> Result<String, String> {
    if let Some((name, _)) = text.split_once('=') {
        return Err(format!(
            "a name without a value is needed: a value here would be seen by every process of this machine; set {name} in the environment of srt and pass --env {name}"
        ));
    }
    if text.is_empty() {
        return Err("a variable's name cannot be empty".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        let words = [&["srt"], words].concat();
        Args::parse(words, |word| word == "/opt/My Server")
    }

    fn check(words: &[&str], name: &str, command: &[&str]) -> Args {
        let args = parse(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        assert_eq!(args.name, name, "{words:?}");
        assert_eq!(args.command, command, "{words:?}");
        args
    }

    #[test]
    fn our_options_end_where_the_command_begins() {
        let args = check(
            &["npx", "-y", "pkg", "--name", "x"],
            "pkg",
            &["npx", "-y", "pkg", "--name", "x"],
        );
        assert!(!args.name_given);
        let args = check(
            &[
                "--name", "n", "--debug", "npx", "--debug", "--", "--help", "-c", "--cwd",
            ],
            "n",
            &["npx", "--debug", "--", "--help", "-c", "--cwd"],
        );
        assert!(args.name_given && args.debug);
        check(&["--", "npx", "-y", "pkg"], "pkg", &["npx", "-y", "pkg"]);
        check(&["--", "--odd", "-c", "x"], "odd", &["--odd", "-c", "x"]);
        check(&["npx", "--version"], "npx", &["npx", "--version"]);
        check(&["npx", "", "pkg"], "npx", &["npx", "", "pkg"]);
    }

    #[test]
    fn options_are_repeated_and_made_absolute() {
        let args = check(
            &[
                "--env",
                "A",
                "--env=B",
                "--cwd",
                "/w",
                "--settings",
                "s.json",
                "cat",
            ],
            "cat",
            &["cat"],
        );
        assert_eq!(args.env, ["A", "B"]);
        assert_eq!(args.cwd.as_deref(), Some(Path::new("/w")));
        assert!(
            args.settings
                .is_some_and(|path| path.is_absolute() && path.ends_with("s.json"))
        );
    }

    #[test]
    fn the_last_word_about_direct_mode_counts() {
        for (words, direct) in [
            (&["cat"][..], None),
            (&["--direct", "cat"], Some(true)),
            (&["--no-direct", "cat"], Some(false)),
            (&["--direct", "--no-direct", "cat"], Some(false)),
            (&["--no-direct", "--direct", "cat"], Some(true)),
            (&["cat", "--direct"], None),
        ] {
            assert_eq!(parse(words).unwrap().direct, direct, "{words:?}");
        }
    }

    #[test]
    fn shell_strings() {
        let sh = ["/bin/sh", "-c", "exec npx -y pkg | tee /x"];
        check(&["-c", "exec npx -y pkg | tee /x"], "pkg", &sh);
        check(&["exec npx -y pkg | tee /x"], "pkg", &sh);
        check(
            &["-c", "echo $1", "name", "-n"],
            "echo",
            &["/bin/sh", "-c", "echo $1", "name", "-n"],
        );
        check(&["-c", "-odd"], "sh", &["/bin/sh", "-c", "-odd"]);
        check(&["/opt/My Server"], "My-Server", &["/opt/My Server"]);
        check(&["a b", "c"], "a-b", &["a b", "c"]);
    }

    #[test]
    fn a_name_alone_attaches() {
        assert!(check(&["--name", "files"], "files", &[]).name_given);
    }

    #[test]
    fn wrong_command_lines_are_usage_errors() {
        let table: &[&[&str]] = &[
            &[],
            &["--debug"],
            &["--nmae", "x", "cat"],
            &["--name", "a b", "cat"],
            &["--name", "", "cat"],
            &["--name"],
            &["--env", "A=b", "cat"],
            &["--profile", "a.b", "cat"],
            &["--profile", "", "cat"],
            &["--env", "", "cat"],
            &[""],
            &["-c"],
        ];
        for words in table {
            let error = parse(words).expect_err(&format!("{words:?}"));
            assert_eq!(error.exit_code(), 2, "{words:?}");
        }
        assert_eq!(parse(&["--help"]).unwrap_err().exit_code(), 0);
        assert_eq!(parse(&["--version"]).unwrap_err().exit_code(), 0);
    }
}
