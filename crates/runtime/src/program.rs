//! What a command needs in order to run: its program, where that is installed, the interpreter behind a `#!`, the
//! script that an interpreter is given, and the caches of a launcher.
//!
//! In minimal mode nothing else of the home folder is readable, so a guess that is too narrow is a server that does
//! not start, and one that is too wide shows what nobody named. The home folder, what is above it, and the folders
//! in which people keep everything are therefore never part of a guess: there it is the file alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use srt_policy::normalise;

use crate::caches;
use crate::disk::Disk;
use crate::lower::Look;
use crate::lower::Place;

/// How many times a program may lead to another: a script to its interpreter, `env` to what it runs.
const DEPTH: u8 = 4;

/// Where managers of versions keep them below the home folder, with what their shims need beside.
const MANAGERS: &[(&str, &[&str])] = &[
    (".pyenv", &[".pyenv"]),
    (".rbenv", &[".rbenv"]),
    (".nodenv", &[".nodenv"]),
    (".asdf", &[".asdf", ".tool-versions", ".asdfrc"]),
    (
        ".local/share/mise",
        &[".local/share/mise", ".config/mise", ".tool-versions"],
    ),
    (".volta", &[".volta"]),
    (".cargo/bin", &[".cargo/bin", ".rustup"]),
    (".deno", &[".deno"]),
    (".bun", &[".bun"]),
];

/// Folders below the home folder in which a program may stand beside anything.
const MIXED: &[&str] = &[
    "Desktop",
    "Documents",
    "Downloads",
    "Music",
    "Pictures",
    "Public",
    "Templates",
    "Videos",
    "bin",
    ".local",
    ".local/bin",
    ".local/share",
    ".local/lib",
    ".config",
    ".cache",
];

/// Folders of the system that hold more than one program.
const SYSTEM: &[&str] = &[
    "/usr",
    "/usr/local",
    "/etc",
    "/home",
    "/opt",
    "/srv",
    "/mnt",
    "/media",
    "/tmp",
    "/var",
    "/var/tmp",
    "/var/lib",
    "/run",
    "/dev",
    "/proc",
    "/sys",
    "/boot",
    "/root",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
];

/// What makes a folder the top of a package.
const MANIFESTS: &[&str] = &[
    "package.json",
    "pyproject.toml",
    "setup.py",
    "requirements.txt",
    "deno.json",
    "deno.jsonc",
    "Gemfile",
    "composer.json",
];

/// Interpreters, by how their name begins, and their options that take the next argument as a value.
const INTERPRETERS: &[(&str, &[&str])] = &[
    (
        "node",
        &[
            "-r",
            "--require",
            "--import",
            "--loader",
            "--env-file",
            "-C",
            "--conditions",
        ],
    ),
    ("tsx", &[]),
    ("ts-node", &["-P", "--project"]),
    ("deno", &["--config", "-c", "--import-map"]),
    ("bun", &[]),
    ("python", &["-W", "-X"]),
    ("pypy", &["-W", "-X"]),
    ("ruby", &["-r", "-I"]),
    ("perl", &["-I"]),
    ("php", &["-c", "-d"]),
    ("bash", &["-O", "-o"]),
    ("sh", &["-o"]),
    ("dash", &["-o"]),
    ("zsh", &["-o"]),
    ("fish", &[]),
    ("java", &["-cp", "-classpath", "--class-path", "-jar"]),
];

/// Options after which what follows is no path of a script.
const NO_SCRIPT: &[&str] = &["-c", "-e", "-m", "-p", "-s", "--eval", "--print"];

/// Programs that run another one, which they look for beside themselves.
const BESIDE: &[(&str, &str)] = &[("uvx", "uv"), ("bunx", "bun"), ("pnpx", "pnpm")];

/// Words of an interpreter's own before the script.
const SUBCOMMANDS: &[&str] = &["run", "serve", "x"];

/// What a guess asks of the disk.
pub(crate) trait Files: Look {
    /// Whether a file may be executed.
    fn runs(&self, path: &Path) -> bool;
    /// The first line of a file, as much of it as a `#!` may have.
    fn first_line(&self, path: &Path) -> Option<String>;
}

impl Files for Disk {
    fn runs(&self, path: &Path) -> bool {
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    }
    fn first_line(&self, path: &Path) -> Option<String> {
        use std::io::Read as _;
        // BINPRM_BUF_SIZE (linux/binfmts.h): the kernel reads no more.
        let mut head = [0; 256];
        let length = std::fs::File::open(path).ok()?.read(&mut head).ok()?;
        let line = head[..length].split(|byte| *byte == b'\n').next()?;
        String::from_utf8(line.to_vec()).ok()
    }
}

/// The files and folders, absolute, that a command needs in order to run.
///
/// `path` is the PATH that it is looked up by.
pub fn program(command: &[String], path: &str, cwd: &Path, home: &Path) -> Vec<PathBuf> {
    guess(command, path, cwd, home, &Disk::default())
}

/// As [`program`], by any disk.
pub(crate) fn guess(
    command: &[String],
    path: &str,
    cwd: &Path,
    home: &Path,
    files: &impl Files,
) -> Vec<PathBuf> {
    let mut guess = Guess {
        path,
        cwd,
        home,
        real_home: files.resolve(home),
        files,
        found: BTreeSet::new(),
    };
    guess.command(command, DEPTH);
    guess.found.into_iter().collect()
}

struct Guess<'a, F> {
    path: &'a str,
    cwd: &'a Path,
    home: &'a Path,
    real_home: PathBuf,
    files: &'a F,
    found: BTreeSet<PathBuf>,
}

impl<F: Files> Guess<'_, F> {
    fn command(&mut self, command: &[String], depth: u8) {
        let Some((name, arguments)) = command.split_first() else {
            return;
        };
        let Some(program) = self.look_up(name) else {
            return;
        };
        self.executable(&program, depth);
        let name = name.rsplit('/').next().unwrap_or(name);
        if let Some((_, other)) = BESIDE.iter().find(|(one, _)| *one == name) {
            for place in [self.files.resolve(&program), program] {
                let other = place.with_file_name(other);
                if self.files.place(&other) == Place::File && self.files.runs(&other) {
                    self.executable(&other, depth);
                }
            }
        }
        for cache in caches::folders(name) {
            self.add(self.home.join(cache));
        }
        match name {
            "env" if depth > 0 => {
                let rest = arguments
                    .iter()
                    .position(|word| !word.starts_with('-') && !word.contains('='));
                if let Some(at) = rest {
                    self.command(&arguments[at..], depth - 1);
                }
            }
            "uv" | "uvx" | "pip" | "pip3" | "pipx" => {
                self.python(depth);
                self.named_folders(arguments);
            }
            _ => self.script(name, arguments, depth),
        }
    }

    /// What these tools build stands on the first Python of PATH.
    fn python(&mut self, depth: u8) {
        for name in ["python3", "python"] {
            if let Some(python) = self.look_up(name) {
                self.executable(&python, depth.saturating_sub(1));
            }
        }
    }

    /// `uv --directory DIR run …`
    fn named_folders(&mut self, arguments: &[String]) {
        for (index, word) in arguments.iter().enumerate() {
            let value = match word.split_once('=') {
                Some(("--directory" | "--project", value)) => Some(value),
                None if word == "--directory" || word == "--project" => {
                    arguments.get(index + 1).map(String::as_str)
                }
                _ => None,
            };
            if let Some(value) = value {
                let folder = self.cwd.join(value);
                if self.files.place(&folder) == Place::Folder && !self.is_too_wide(&folder) {
                    self.add(folder);
                }
            }
        }
    }

    /// As execvp(3) looks a name up.
    fn look_up(&self, name: &str) -> Option<PathBuf> {
        let is_program =
            |path: &PathBuf| self.files.place(path) == Place::File && self.files.runs(path);
        if name.contains('/') {
            return Some(normalise(&self.cwd.join(name))).filter(is_program);
        }
        self.path
            .split(':')
            .map(|folder| normalise(&self.cwd.join(folder).join(name)))
            .find(is_program)
    }

    /// A program: itself, its installation under the name it has and the one it really has, its interpreter.
    fn executable(&mut self, program: &Path, depth: u8) {
        let real = self.files.resolve(program);
        for path in [program, &real] {
            self.add(path.to_owned());
            self.installation(path);
        }
        if depth == 0 {
            return;
        }
        let Some(line) = self.files.first_line(&real) else {
            return;
        };
        let Some(words) = line.strip_prefix("#!") else {
            return;
        };
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        // The script's own name follows the words; its installation is known already.
        self.command(&words, depth - 1);
    }

    /// Where a program is installed.
    fn installation(&mut self, program: &Path) {
        for home in [self.home, &self.real_home.clone()] {
            let manager = MANAGERS
                .iter()
                .find(|(place, _)| program.starts_with(home.join(place)));
            if let Some((_, needs)) = manager {
                needs.iter().for_each(|need| self.add(home.join(need)));
                return;
            }
        }
        let Some(folder) = program.parent() else {
            return;
        };
        if let Some(modules) = topmost_modules(program) {
            self.add(modules);
            return;
        }
        if folder.ends_with("bin")
            && let Some(prefix) = folder.parent()
            && !self.is_too_wide(prefix)
        {
            // A virtual environment is such a prefix too; what it stands on is found by its links.
            self.add(prefix.to_owned());
            return;
        }
        if !self.is_too_wide(folder) && !folder.ends_with("bin") {
            self.add(folder.to_owned());
        }
    }

    /// The script that an interpreter is given.
    fn script(&mut self, interpreter: &str, arguments: &[String], depth: u8) {
        let Some((_, valued)) = INTERPRETERS
            .iter()
            .find(|(name, _)| is_version_of(interpreter, name))
        else {
            return;
        };
        let mut words = arguments.iter();
        let mut subcommands = SUBCOMMANDS
            .iter()
            .filter(|_| is_version_of(interpreter, "deno") || is_version_of(interpreter, "bun"));
        while let Some(word) = words.next() {
            if NO_SCRIPT.contains(&word.as_str()) && !valued.contains(&word.as_str()) {
                return;
            }
            if word == "-jar" {
                if let Some(jar) = words.next() {
                    self.code(jar, depth);
                }
                return;
            }
            if valued.contains(&word.as_str()) {
                // `--require ./hook.js` is code as well.
                if let Some(value) = words.next().filter(|value| value.contains('/')) {
                    self.code(value, depth);
                }
                continue;
            }
            if word.starts_with('-') || subcommands.any(|subcommand| subcommand == word) {
                continue;
            }
            self.code(word, depth);
            return;
        }
    }

    /// A file with code, or a folder of it: its package, and the packages that it may import.
    fn code(&mut self, name: &str, depth: u8) {
        let named = normalise(&self.cwd.join(name));
        if self.files.place(&named) == Place::Absent {
            return;
        }
        let real = self.files.resolve(&named);
        for path in [&named, &real] {
            if !self.is_too_wide(path) {
                self.add(path.clone());
            }
            if let Some(modules) = topmost_modules(path) {
                self.add(modules);
                continue;
            }
            let has =
                |folder: &Path, name: &str| self.files.place(&folder.join(name)) != Place::Absent;
            let above: Vec<&Path> = path
                .ancestors()
                .skip(usize::from(self.files.place(path) == Place::File))
                .take_while(|folder| !self.is_too_wide(folder))
                .collect();
            let package = above
                .iter()
                .find(|folder| MANIFESTS.iter().any(|manifest| has(folder, manifest)))
                .or(above.first())
                .map(|folder| folder.to_path_buf());
            // Node looks for packages in each folder above.
            let modules: Vec<PathBuf> = above
                .iter()
                .filter(|folder| has(folder, "node_modules"))
                .map(|folder| folder.join("node_modules"))
                .collect();
            self.found.extend(package);
            self.found.extend(modules);
        }
        if depth > 0
            && let Some(line) = self.files.first_line(&real)
            && let Some(words) = line.strip_prefix("#!")
        {
            let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            self.command(&words, depth - 1);
        }
    }

    /// Whether a folder holds so much else that it is not for a guess.
    fn is_too_wide(&self, folder: &Path) -> bool {
        [self.home, &self.real_home].into_iter().any(|home| {
            home.starts_with(folder) || MIXED.iter().any(|mixed| folder == home.join(mixed))
        }) || SYSTEM.iter().any(|system| folder == Path::new(system))
            || folder == Path::new("/")
    }

    fn add(&mut self, path: PathBuf) {
        if self.files.place(&path) != Place::Absent {
            self.found.insert(path);
        }
    }
}

/// The outermost `node_modules` that a path is in.
fn topmost_modules(path: &Path) -> Option<PathBuf> {
    let mut above: Vec<&Path> = path.ancestors().collect();
    above.reverse();
    above
        .into_iter()
        .find(|folder| folder.ends_with("node_modules"))
        .map(Path::to_owned)
}

/// `python3.12` is a version of `python`, `nodejs` of `node`; `pythonize` is not.
fn is_version_of(program: &str, name: &str) -> bool {
    program.strip_prefix(name).is_some_and(|rest| {
        rest == "js"
            || rest
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
    })
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
