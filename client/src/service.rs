//! The files by which a service manager runs the daemon: where they belong, what is in them, and whether one that is there
//! may be replaced. They are those of `systemd/` and `launchd/`, with the place of the programs put in.

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Who runs services for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    Systemd,
    Launchd,
}

/// A file that an installation puts in place.
#[derive(Clone, Debug)]
pub(crate) struct ServiceFile {
    pub(crate) path: PathBuf,
    /// The whole text, with the line by which we know it again.
    pub(crate) text: String,
}

/// What stands where a file belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// What we would write.
    Same,
    /// What an installation wrote and nobody changed.
    Ours,
    /// Somebody else's, or changed since.
    Changed,
}

/// How the last line of a file begins that an installation wrote; the SHA-256 of what is before it follows.
const MARK: &str = "written by \"srtctl daemon install\", sha256 ";
/// Where the texts have the programs.
const USUAL: &str = ".local/bin";

impl Manager {
    /// That of this machine.
    pub(crate) const fn here() -> Self {
        match cfg!(target_os = "macos") {
            true => Self::Launchd,
            false => Self::Systemd,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Launchd => "launchd",
        }
    }

    /// The files, for a user whose home and configuration folder these are, and programs in `programs`.
    pub(crate) fn files(self, home: &Path, config: &Path, programs: &Path) -> Vec<ServiceFile> {
        let usual = programs == home.join(USUAL);
        let put = |text: &str| match (self, usual) {
            (_, true) => text.to_owned(),
            (Self::Systemd, _) => in_unit(text, programs),
            (Self::Launchd, _) => in_plist(text, programs),
        };
        let file = |path: PathBuf, text: &str| ServiceFile {
            path,
            text: self.marked(&put(text)),
        };
        match self {
            Self::Systemd => {
                let units = config.join("systemd/user");
                vec![
                    file(
                        units.join("srtd.socket"),
                        include_str!("../../systemd/srtd.socket"),
                    ),
                    file(
                        units.join("srtd.service"),
                        include_str!("../../systemd/srtd.service"),
                    ),
                ]
            }
            Self::Launchd => vec![file(
                home.join("Library/LaunchAgents/dev.srtd.srtd.plist"),
                include_str!("../../launchd/dev.srtd.srtd.plist"),
            )],
        }
    }

    fn marked(self, text: &str) -> String {
        let digest = digest(text);
        match self {
            Self::Systemd => format!("{text}# {MARK}{digest}\n"),
            Self::Launchd => format!("{text}<!-- {MARK}{digest} -->\n"),
        }
    }
}

impl ServiceFile {
    /// What stands in its place: `text`, or nothing.
    pub(crate) fn compare(&self, text: Option<&str>) -> Found {
        let Some(text) = text else {
            return Found::Nothing;
        };
        if text == self.text {
            return Found::Same;
        }
        // Copied by hand from the sources, as they are now.
        if last_line(&self.text).is_some_and(|(plain, _)| plain == text) {
            return Found::Ours;
        }
        match last_line(text) {
            Some((before, last)) if last.contains(&format!("{MARK}{}", digest(before))) => {
                Found::Ours
            }
            _ => Found::Changed,
        }
    }
}

/// A text without its last line, and that line.
fn last_line(text: &str) -> Option<(&str, &str)> {
    let whole = text.strip_suffix('\n')?;
    let start = whole.rfind('\n')? + 1;
    Some((&text[..start], &whole[start..]))
}

fn digest(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// systemd.unit(5): "%" begins a specifier; systemd.syntax(7): a word in quotes may hold blanks.
fn in_unit(text: &str, programs: &Path) -> String {
    let folder = programs
        .display()
        .to_string()
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%");
    ["srtd", "srtctl"]
        .iter()
        .fold(text.to_owned(), |text, program| {
            let usual = format!("=%h/{USUAL}/{program}");
            text.replace(&format!("{usual} "), &format!("=\"{folder}/{program}\" "))
                .replace(&format!("{usual}\n"), &format!("=\"{folder}/{program}\"\n"))
        })
}

/// A shell's word in an XML text.
fn in_plist(text: &str, programs: &Path) -> String {
    let word = programs
        .join("srtd")
        .display()
        .to_string()
        .replace('\'', "'\\''");
    let word = format!("'{word}'")
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace(&format!("\"$HOME/{USUAL}/srtd\""), &word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(manager: Manager, programs: &str) -> Vec<ServiceFile> {
        manager.files(
            Path::new("/home/u"),
            Path::new("/home/u/.config"),
            Path::new(programs),
        )
    }

    #[test]
    fn the_programs_place_is_put_in_where_it_is_another() {
        let usual = files(Manager::Systemd, "/home/u/.local/bin");
        assert!(usual[1].text.contains("\nExecStart=%h/.local/bin/srtd\n"));
        let other = files(Manager::Systemd, "/opt/a b/100%");
        assert!(other.iter().all(|file| !file.text.contains("=%h")));
        assert!(
            other[1]
                .text
                .contains("\nExecStart=\"/opt/a b/100%%/srtd\"\n")
        );
        assert!(
            other[1]
                .text
                .contains("\nExecReload=\"/opt/a b/100%%/srtctl\" daemon upgrade\n")
        );
        assert!(
            other[0]
                .text
                .contains("\nExecStartPre=\"/opt/a b/100%%/srtctl\" daemon vacant\n")
        );
    }

    #[test]
    fn a_launch_agent_is_a_property_list_that_says_what_is_meant() {
        for (programs, command) in [
            ("/home/u/.local/bin", "exec \"$HOME/.local/bin/srtd\""),
            ("/o'b & <c>", "exec '/o'\\''b & <c>/srtd'"),
        ] {
            let text = &files(Manager::Launchd, programs)[0].text;
            let list = plist::Value::from_reader_xml(text.as_bytes()).unwrap();
            let list = list.as_dictionary().unwrap();
            let text = |key: &str| list.get(key).and_then(plist::Value::as_string);
            assert_eq!(text("Label"), Some("dev.srtd.srtd"));
            let words: Vec<_> = list["ProgramArguments"]
                .as_array()
                .unwrap()
                .iter()
                .map(|word| word.as_string().unwrap())
                .collect();
            assert_eq!(words, ["/bin/sh", "-c", command]);
            let again = list["KeepAlive"].as_dictionary().unwrap();
            assert_eq!(again["SuccessfulExit"].as_boolean(), Some(false));
            assert_eq!(list["RunAtLoad"].as_boolean(), Some(true));
            assert_eq!(list["Umask"].as_signed_integer(), Some(0o077));
        }
    }

    #[test]
    fn what_a_person_changed_is_told_from_what_we_wrote() {
        for manager in [Manager::Systemd, Manager::Launchd] {
            let here = &files(manager, "/home/u/.local/bin")[0];
            let older = &files(manager, "/opt/bin")[0].text;
            let (plain, _) = last_line(&here.text).unwrap();
            for (text, found) in [
                (None, Found::Nothing),
                (Some(here.text.clone()), Found::Same),
                (Some(older.clone()), Found::Ours),
                (Some(plain.to_owned()), Found::Ours),
                (Some(older.replace("srtd", "srtd2")), Found::Changed),
                (Some(format!("{older}# more\n")), Found::Changed),
                (Some("[Service]\nExecStart=x\n".into()), Found::Changed),
                (Some(String::new()), Found::Changed),
            ] {
                assert_eq!(here.compare(text.as_deref()), found, "{text:?}");
            }
        }
    }
}
