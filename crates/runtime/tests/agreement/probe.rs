//! What runs inside: tries what it is told, one thing a line, and says what came of it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Answers until nothing more is asked.
///
/// # Errors
/// When its own input or output breaks.
pub(crate) fn serve() -> io::Result<()> {
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split('\t').collect();
        match try_out(&words) {
            Ok(said) => writeln!(output, "ok {said}")?,
            Err(error) => writeln!(output, "no {error}")?,
        }
        output.flush()?;
    }
    Ok(())
}

/// `DEVICE:INODE` of what was opened, else nothing.
fn try_out(words: &[&str]) -> io::Result<String> {
    let nothing = |()| String::new();
    match words {
        ["read", path] => {
            let mut file = File::open(path)?;
            let meta = file.metadata()?;
            if meta.is_dir() {
                std::fs::read_dir(path)?.try_for_each(|entry| entry.map(drop))?;
            } else {
                file.read_to_end(&mut Vec::new())?;
            }
            Ok(format!("{}:{}", meta.dev(), meta.ino()))
        }
        ["append", path] => add(OpenOptions::new().append(true), path),
        ["create", path] => add(OpenOptions::new().append(true).create_new(true), path),
        ["open", path] => add(OpenOptions::new().append(true).create(true), path),
        ["mkdir", path] => std::fs::create_dir(path).map(nothing),
        ["unlink", path] => std::fs::remove_file(path).map(nothing),
        ["rmdir", path] => std::fs::remove_dir(path).map(nothing),
        ["rename", from, to] => std::fs::rename(from, to).map(nothing),
        ["link", from, to] => std::fs::hard_link(from, to).map(nothing),
        ["symlink", text, path] => symlink(Path::new(text), path).map(nothing),
        ["exchange", one, other] => {
            renameat_with(CWD, *one, CWD, *other, RenameFlags::EXCHANGE)?;
            Ok(String::new())
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn add(how: &OpenOptions, path: &str) -> io::Result<String> {
    how.open(path)?.write_all(b"+")?;
    Ok(String::new())
}
