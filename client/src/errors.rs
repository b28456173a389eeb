//! What went wrong, for a person: a message, where there is a remedy a hint, and the exit status it calls for.

use crate::table::clean;
use crate::terminal;
use srt_proto::exit;
use std::fmt;
use std::io;
use tonic::{Code, Status};

/// What a remedy's line begins with.
pub(crate) const HINT: &str = "hint: ";

/// A failure as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What failed: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The exit status; 0 only for [`Failure::quiet`].
    pub code: i32,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            code,
        }
    }

    /// The same failure, with its remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An end with this exit status that has nothing to say: the output said it already.
    pub fn quiet(code: i32) -> Self {
        Self::new(code, "")
    }

    /// Splits a text of the daemon's form: a message with `hint: ` lines after it. Where several things are wrong,
    /// each with a hint of its own, the hints that have something after them stay in the message, where they belong.
    pub fn from_text(code: i32, text: &str) -> Self {
        let lines: Vec<_> = text.lines().collect();
        let is_hint = |line: &&&str| line.starts_with(HINT);
        let hints = lines.iter().rev().take_while(is_hint).count();
        let (message, hint) = lines.split_at(lines.len() - hints);
        let hint: Vec<_> = hint
            .iter()
            .map(|line| line.strip_prefix(HINT).unwrap_or(line))
            .collect();
        Self {
            message: message.join("\n"),
            hint: (!hint.is_empty()).then(|| hint.join("\n")),
            code,
        }
    }

    /// Writes `error: …` and `hint: …` to stderr, after `prefix`; nothing for a quiet failure.
    pub fn report(&self, prefix: &str) {
        if self.message.is_empty() {
            return;
        }
        let stderr = terminal::Stream::Stderr;
        let text = self.reported(prefix, |style, text| stderr.paint(style, text));
        // A failed write to stderr has nowhere to be reported.
        let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
    }

    fn reported(&self, prefix: &str, paint: impl Fn(anstyle::Style, &str) -> String) -> String {
        let error = paint(terminal::BAD, "error:");
        let word = paint(terminal::STRONG, HINT.trim_end());
        let mut text = format!("{prefix}{error} ");
        // What a server may have put into it is escaped, line by line.
        for line in self.message.lines() {
            match line.strip_prefix(HINT) {
                Some(hint) => text += &format!("{word} {}\n", clean(hint)),
                None => text += &format!("{}\n", clean(line)),
            }
        }
        for line in self.hint.iter().flat_map(|hint| hint.lines()) {
            text += &format!("{word} {}\n", clean(line));
        }
        text
    }
}

/// The message, and after it the hints, a line each: the form for a log or a JSON-RPC message.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => hint
                .lines()
                .try_for_each(|line| write!(f, "\n{HINT}{line}")),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// Writing to our own stdout: a reader that left ends us quietly, as it does `cat`.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::quiet(0);
        }
        Self::new(exit::ERROR, format!("cannot write the output: {error}"))
    }
}

/// The daemon's trailer decides the exit status; without one (a status that tonic made) the code does.
impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let told = status
            .metadata()
            .get(srt_proto::EXIT_CODE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse().ok())
            .filter(|code| (1..=255).contains(code));
        if let Some(code) = told {
            return Self::from_text(code, status.message());
        }
        match status.code() {
            Code::Unavailable | Code::Cancelled => lost(&status),
            // h2's errors arrive as Unknown, with the transport's error as the source.
            Code::Unknown | Code::Internal if std::error::Error::source(&status).is_some() => {
                lost(&status)
            }
            Code::Unimplemented => Self::new(
                exit::ERROR,
                format!(
                    "the running daemon does not know this request: {}",
                    status.message()
                ),
            )
            .hint("it is older than this tool: srtctl daemon stop, then srtctl daemon start"),
            Code::DeadlineExceeded => Self::from_text(exit::TIMED_OUT, status.message()),
            Code::NotFound => Self::from_text(exit::UNKNOWN_NAME, status.message()),
            Code::PermissionDenied => Self::from_text(exit::DENIED, status.message()),
            code if status.message().is_empty() => {
                Self::new(exit::ERROR, format!("the daemon answered {code:?}"))
            }
            _ => Self::from_text(exit::ERROR, status.message()),
        }
    }
}

fn lost(status: &Status) -> Failure {
    let why = if status.message().is_empty() {
        String::new()
    } else {
        format!(": {}", status.message())
    };
    Failure::new(
        exit::UNREACHABLE,
        format!("the connection to the daemon srtd was lost{why}"),
    )
    .hint("srtctl daemon status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trailer_decides_the_exit_status() {
        let mut status =
            Status::failed_precondition("unknown key \"netwrok\"\nhint: did you mean \"network\"?");
        status
            .metadata_mut()
            .insert(srt_proto::EXIT_CODE, "6".parse().unwrap());
        assert_eq!(
            Failure::from(status),
            Failure::new(6, "unknown key \"netwrok\"").hint("did you mean \"network\"?")
        );
    }

    #[test]
    fn each_hint_stays_under_its_line() {
        let one = "it cannot be used\na.json:2:3: error: x\nhint: do this\nhint: or that";
        let several = "it cannot be used\na.json:2:3: error: x\nhint: do this\na.json:3:1: warning: y\n\
                       a.json:4:1: error: z\u{7}\nhint: do that";
        for (text, message) in [
            (one, "it cannot be used\na.json:2:3: error: x"),
            (several, several.strip_suffix("\nhint: do that").unwrap()),
            ("hint: only a hint", ""),
            ("no hint", "no hint"),
            ("", ""),
        ] {
            let failure = Failure::from_text(6, text);
            assert_eq!(failure.message, message);
            if !message.is_empty() {
                assert_eq!(failure.to_string(), text);
                let shown = failure.reported("srt: ", |_, text| text.to_owned());
                let expected = format!("srt: error: {}\n", text.replace('\u{7}', "\\u{7}"));
                assert_eq!(shown, expected);
            }
        }
    }

    #[test]
    fn without_a_trailer_the_code_does() {
        let code = |status: Status| Failure::from(status).code;
        assert_eq!(code(Status::unavailable("gone")), exit::UNREACHABLE);
        assert_eq!(code(Status::not_found("x")), exit::UNKNOWN_NAME);
        assert_eq!(code(Status::permission_denied("x")), exit::DENIED);
        assert_eq!(code(Status::deadline_exceeded("x")), exit::TIMED_OUT);
        assert_eq!(code(Status::internal("x")), exit::ERROR);
        assert!(
            Failure::from(Status::aborted(""))
                .message
                .contains("Aborted")
        );
    }

    #[test]
    fn a_nonsensical_trailer_is_not_believed() {
        for text in ["0", "-1", "4096", "six"] {
            let mut status = Status::internal("x");
            status
                .metadata_mut()
                .insert(srt_proto::EXIT_CODE, text.parse().unwrap());
            assert_eq!(Failure::from(status).code, exit::ERROR, "{text}");
        }
    }

    #[test]
    fn a_broken_pipe_ends_quietly() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure, Failure::quiet(0));
    }
}
