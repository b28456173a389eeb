//! A server's name, made from its command: what a person would call it. Pure.

pub use super::words::LONGEST;
use super::words::{package, path_name, sanitise, stem};

/// Whether a person may give a server this name.
pub fn is_valid(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST && name == sanitise(name)
}

/// The name of the server that `command` runs. Never empty, at most [`LONGEST`] of `[A-Za-z0-9._-]`.
pub fn derive(command: &[String]) -> String {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    sanitise(&from_words(&words, 0))
}

/// `depth` bounds wrappers in wrappers (`env npx …`).
fn from_words(words: &[&str], depth: u8) -> String {
    let Some((program, rest)) = words.split_first() else {
        return String::new();
    };
    if depth > 4 {
        return stem(program).to_owned();
    }
    let tool = stem(program);
    let again = |rest: &[&str]| from_words(rest, depth + 1);
    let named = match tool.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
        "npx" | "bunx" | "pnpx" => package_of(rest),
        "npm" | "pnpm" | "yarn" | "bun" => after(rest, &["exec", "x", "dlx"])
            .and_then(package_of)
            .or_else(|| after(rest, &["run", "start"]).and_then(script_of)),
        "uvx" => package_of(rest),
        "uv" => after(rest, &["run"])
            .and_then(|rest| python(rest, UV_VALUES).or_else(|| nested(rest, UV_VALUES, &again)))
            .or_else(|| {
                after(rest, &["tool"])
                    .and_then(|rest| after(rest, &["run"]))
                    .and_then(package_of)
            }),
        "pipx" => after(rest, &["run"]).and_then(package_of),
        "python" | "pypy" => python(rest, &["-W", "-X"]),
        "node" | "nodejs" | "tsx" | "ts-node" | "ruby" | "perl" | "php" => script_of(skip(
            rest,
            &["-r", "--require", "--import", "--loader", "-I"],
        )),
        "deno" => after(rest, &["run"])
            .and_then(script_of)
            .or_else(|| script_of(rest)),
        "java" => after_option(rest, "-jar").or_else(|| script_of(rest)),
        "docker" | "podman" | "nerdctl" => after(rest, &["run"]).and_then(|rest| {
            skip(rest, DOCKER_VALUES)
                .first()
                .map(|image| package(image))
        }),
        "cargo" => after(rest, &["run", "r"]).and_then(|rest| {
            option_value(rest, &["--bin", "-p", "--package", "--example"])
                .or_else(|| option_value(rest, &["--manifest-path"]).map(|path| path_name(&path)))
        }),
        "go" => after(rest, &["run"]).and_then(script_of),
        "bash" | "sh" | "zsh" | "dash" | "fish" => shell(rest, &again),
        "env" => nested(skip_assignments(rest), &["-u", "-C", "-S"], &again),
        "sudo" | "nice" | "nohup" | "exec" | "time" | "timeout" | "xvfb-run" => {
            nested(rest, &["-n", "-u"], &again)
        }
        _ => None,
    };
    named
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| path_name(program))
}

const UV_VALUES: &[&str] = &[
    "--directory",
    "--project",
    "--with",
    "--python",
    "-p",
    "--from",
    "--extra",
    "--env-file",
];
const DOCKER_VALUES: &[&str] = &[
    "-e",
    "--env",
    "-v",
    "--volume",
    "--mount",
    "--name",
    "-p",
    "--publish",
    "--network",
    "--net",
    "-w",
    "--workdir",
    "-u",
    "--user",
    "--entrypoint",
    "--env-file",
    "--platform",
    "--pull",
    "-l",
    "--label",
    "-h",
    "--hostname",
    "--add-host",
    "-m",
    "--memory",
    "--cpus",
];
/// Options of npx and its kin that name a package beside the command, or take another value.
const RUNNER_VALUES: &[&str] = &[
    "--python",
    "--with",
    "--index-url",
    "--registry",
    "--spec",
    "--pip-args",
    "-c",
    "--call",
];

/// The arguments after a subcommand, which may follow options.
fn after<'a>(words: &'a [&'a str], subcommands: &[&str]) -> Option<&'a [&'a str]> {
    let rest = skip(
        words,
        &["--directory", "--project", "-C", "--prefix", "--cwd"],
    );
    let (first, rest) = rest.split_first()?;
    subcommands.contains(first).then_some(rest)
}

/// Skips options, and the values of those in `valued`; stops after `--`.
fn skip<'a>(words: &'a [&'a str], valued: &[&str]) -> &'a [&'a str] {
    let mut rest = words;
    while let Some((word, tail)) = rest.split_first() {
        if *word == "--" {
            return tail;
        }
        if !word.starts_with('-') || *word == "-" {
            break;
        }
        rest = if valued.contains(word) {
            tail.get(1..).unwrap_or(&[])
        } else {
            tail
        };
    }
    rest
}

fn skip_assignments<'a>(words: &'a [&'a str]) -> &'a [&'a str] {
    let count = words
        .iter()
        .take_while(|word| word.contains('=') && !word.starts_with('-'))
        .count();
    &words[count..]
}

fn option_value(words: &[&str], options: &[&str]) -> Option<String> {
    let own: Vec<_> = words.iter().take_while(|word| **word != "--").collect();
    own.iter().enumerate().find_map(|(index, word)| {
        if options.contains(*word) {
            return own.get(index + 1).map(|value| (**value).to_owned());
        }
        let (option, value) = word.split_once('=')?;
        options.contains(&option).then(|| value.to_owned())
    })
}

fn after_option(words: &[&str], option: &str) -> Option<String> {
    option_value(words, &[option]).map(|path| path_name(&path))
}

/// What npx, uvx and their kin run: the command where a package is named apart from it (`--package`, `--from`).
fn package_of(words: &[&str]) -> Option<String> {
    let values = [RUNNER_VALUES, &["-p", "--package", "--from"]].concat();
    match skip(words, &values).first() {
        Some(word) => Some(package(word)),
        None => option_value(words, &["-p", "--package", "--from"]).map(|name| package(&name)),
    }
}

fn python(words: &[&str], valued: &[&str]) -> Option<String> {
    let rest = match words.iter().position(|word| *word == "-m") {
        // `-m` ends python's own options; what is before it must be options too.
        Some(at)
            if words[..at]
                .iter()
                .all(|w| w.starts_with('-') || stem(w).starts_with("python")) =>
        {
            return words
                .get(at + 1)
                .map(|module| module.split('.').next().unwrap_or(module).to_owned());
        }
        _ => skip(words, valued),
    };
    rest.first()
        .filter(|word| word.ends_with(".py"))
        .and_then(|_| script_of(rest))
}

fn nested(words: &[&str], valued: &[&str], again: &impl Fn(&[&str]) -> String) -> Option<String> {
    let rest = skip(words, valued);
    (!rest.is_empty()).then(|| again(rest))
}

/// The first word of a shell string that is not an assignment, or the script.
fn shell(words: &[&str], again: &impl Fn(&[&str]) -> String) -> Option<String> {
    let at = words
        .iter()
        .position(|word| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'));
    let Some(at) = at else {
        return script_of(skip(words, &["-o"]));
    };
    let string = words.get(at + 1)?;
    let inner: Vec<_> = string
        .split_whitespace()
        .map(|word| word.trim_matches(['"', '\'']))
        .collect();
    // `cd DIR && COMMAND` is about COMMAND.
    let inner = match inner.iter().position(|word| *word == "&&") {
        Some(and) if inner.first() == Some(&"cd") => &inner[and + 1..],
        _ => &inner[..],
    };
    nested(skip_assignments(inner), &[], again)
}

fn script_of(words: &[&str]) -> Option<String> {
    skip(words, &[]).first().map(|word| path_name(word))
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
