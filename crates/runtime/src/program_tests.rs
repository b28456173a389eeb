//! A table: command and disk in, what it needs out.

use std::collections::BTreeMap;

use super::*;

/// A disk of files (`path`), folders (`path/`), links (`path -> target`) and scripts (`path #!line`).
struct Toy {
    files: BTreeMap<PathBuf, String>,
    folders: BTreeSet<PathBuf>,
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Toy {
    fn new(entries: &[&str]) -> Self {
        let mut toy = Self {
            files: BTreeMap::new(),
            folders: BTreeSet::from([PathBuf::from("/"), "/h".into(), "/h/p".into()]),
            links: BTreeMap::new(),
        };
        for entry in entries {
            let (path, rest) = entry.split_once(' ').unwrap_or((entry, ""));
            let real = PathBuf::from(path);
            toy.folders
                .extend(real.ancestors().skip(1).map(PathBuf::from));
            if let Some(target) = rest.strip_prefix("-> ") {
                toy.links.insert(real, target.into());
            } else if path.ends_with('/') {
                toy.folders.insert(real);
            } else {
                toy.files.insert(real, rest.to_owned());
            }
        }
        toy
    }
}

impl Look for Toy {
    fn place(&self, path: &Path) -> Place {
        let path = self.resolve(path);
        match (self.files.contains_key(&path), self.folders.contains(&path)) {
            (true, _) => Place::File,
            (_, true) => Place::Folder,
            _ => Place::Absent,
        }
    }
    fn resolve(&self, path: &Path) -> PathBuf {
        let mut here = PathBuf::new();
        for part in path {
            here.push(part);
            if let Some(target) = self.links.get(&here) {
                here = self.resolve(&normalise(&here.parent().unwrap().join(target)));
            }
        }
        here
    }
    fn several_names(&self, _: &Path) -> Vec<(u64, u64)> {
        Vec::new()
    }
}

impl Files for Toy {
    fn runs(&self, path: &Path) -> bool {
        path.extension().is_none_or(|end| end != "txt")
    }
    fn first_line(&self, path: &Path) -> Option<String> {
        self.files.get(path).cloned()
    }
}

#[track_caller]
fn check(command: &str, disk: &[&str], expected: &[&str]) {
    let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let path = "/h/.pyenv/shims:/h/.local/bin:/h/.nvm/versions/node/v22/bin:/h/bin:/usr/bin";
    let got = guess(
        &command,
        path,
        Path::new("/h/p"),
        Path::new("/h"),
        &Toy::new(disk),
    );
    let got: Vec<&str> = got.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(got, expected, "{command:?}");
}

#[test]
fn a_program_of_the_system_is_itself() {
    check("git log", &["/usr/bin/git"], &["/usr/bin/git"]);
    check("nothing", &["/usr/bin/git"], &[]);
    check("notes", &["/usr/bin/notes.txt"], &[]);
}

#[test]
fn the_prefix_of_a_bin_folder_is_the_installation() {
    check(
        "/opt/tool/bin/serve",
        &["/opt/tool/bin/serve", "/opt/tool/lib/x"],
        &["/opt/tool", "/opt/tool/bin/serve"],
    );
    check(
        "node --version",
        &["/h/.nvm/versions/node/v22/bin/node"],
        &[
            "/h/.nvm/versions/node/v22",
            "/h/.nvm/versions/node/v22/bin/node",
        ],
    );
    check("/opt/server", &["/opt/server"], &["/opt/server"]);
    check(
        "/opt/tool/server",
        &["/opt/tool/server"],
        &["/opt/tool", "/opt/tool/server"],
    );
}

#[test]
fn the_home_folder_and_what_people_keep_together_is_never_part_of_it() {
    check("tool", &["/h/bin/tool"], &["/h/bin/tool"]);
    check("tool", &["/h/.local/bin/tool"], &["/h/.local/bin/tool"]);
    check("/h/tool", &["/h/tool"], &["/h/tool"]);
    check(
        "/h/Downloads/tool",
        &["/h/Downloads/tool"],
        &["/h/Downloads/tool"],
    );
    check("/tool", &["/tool"], &["/tool"]);
    check("/bin/tool", &["/bin/tool"], &["/bin/tool"]);
    check("../server.py", &["/h/server.py"], &["/h/server.py"]);
    check(
        "python3 /h/server.py",
        &["/usr/bin/python3", "/h/server.py", "/h/package.json"],
        &["/h/server.py", "/usr/bin/python3"],
    );
    check(
        "python3 ..",
        &["/usr/bin/python3", "/h/__main__.py"],
        &["/usr/bin/python3"],
    );
}

#[test]
fn a_virtual_environment_comes_with_the_python_that_it_stands_on() {
    check(
        "/h/work/.venv/bin/serve",
        &[
            "/h/work/.venv/bin/serve #!/h/work/.venv/bin/python",
            "/h/work/.venv/bin/python -> /h/.local/share/uv/python/cpython-3.12/bin/python3.12",
            "/h/work/.venv/pyvenv.cfg",
            "/h/.local/share/uv/python/cpython-3.12/bin/python3.12",
        ],
        &[
            "/h/.local/share/uv/python/cpython-3.12",
            "/h/.local/share/uv/python/cpython-3.12/bin/python3.12",
            "/h/work/.venv",
            "/h/work/.venv/bin/python",
            "/h/work/.venv/bin/serve",
        ],
    );
}

#[test]
fn a_shim_needs_its_manager() {
    check(
        "python3 -m server",
        &[
            "/h/.pyenv/shims/python3 #!/usr/bin/env bash",
            "/usr/bin/env",
            "/usr/bin/bash",
        ],
        &[
            "/h/.pyenv",
            "/h/.pyenv/shims/python3",
            "/usr/bin/bash",
            "/usr/bin/env",
        ],
    );
    check(
        "/h/.cargo/bin/cargo",
        &[
            "/h/.cargo/bin/cargo",
            "/h/.rustup/toolchains/",
            "/h/.cargo/credentials.toml",
        ],
        &["/h/.cargo/bin", "/h/.cargo/bin/cargo", "/h/.rustup"],
    );
}

#[test]
fn a_tool_behind_a_link_is_found_under_both_names() {
    check(
        "mcp",
        &[
            "/h/.local/bin/mcp -> ../share/uv/tools/mcp/bin/mcp",
            "/h/.local/share/uv/tools/mcp/bin/mcp #!/h/.local/share/uv/tools/mcp/bin/python",
            "/h/.local/share/uv/tools/mcp/bin/python",
        ],
        &[
            "/h/.local/bin/mcp",
            "/h/.local/share/uv/tools/mcp",
            "/h/.local/share/uv/tools/mcp/bin/mcp",
            "/h/.local/share/uv/tools/mcp/bin/python",
        ],
    );
}

#[test]
fn a_script_comes_with_its_package_and_what_it_may_import() {
    let disk = [
        "/usr/bin/node",
        "/h/repo/package.json",
        "/h/repo/node_modules/zod/index.js",
        "/h/repo/packages/server/package.json",
        "/h/repo/packages/server/dist/index.js",
        "/h/repo/secret.txt",
    ];
    let needs = [
        "/h/repo/node_modules",
        "/h/repo/packages/server",
        "/h/repo/packages/server/dist/index.js",
        "/usr/bin/node",
    ];
    check(
        "node /h/repo/packages/server/dist/index.js --port 1",
        &disk,
        &needs,
    );
    check(
        "node --no-warnings -r dotenv ../repo/packages/server/dist/index.js",
        &disk,
        &needs,
    );
    let mut with_env = disk.to_vec();
    with_env.push("/usr/bin/env");
    let mut needs_env = needs.to_vec();
    needs_env.insert(3, "/usr/bin/env");
    check(
        "env -i A=b node /h/repo/packages/server/dist/index.js",
        &with_env,
        &needs_env,
    );
}

#[test]
fn code_on_the_command_line_is_no_script() {
    let disk = [
        "/usr/bin/node",
        "/usr/bin/sh",
        "/usr/bin/python3",
        "/h/other/x.js",
        "/h/p/x",
    ];
    check("node -e /h/other/x.js", &disk, &["/usr/bin/node"]);
    check("sh -c /h/other/x.js", &disk, &["/usr/bin/sh"]);
    check("python3 -m x /h/other/x.js", &disk, &["/usr/bin/python3"]);
    check(
        "python3 /h/other/x.js",
        &disk,
        &["/h/other", "/h/other/x.js", "/usr/bin/python3"],
    );
}

#[test]
fn a_program_in_node_modules_comes_with_all_of_them() {
    check(
        "/h/repo/node_modules/.bin/serve",
        &[
            "/h/repo/node_modules/.bin/serve -> ../serve/node_modules/x/main.js",
            "/h/repo/node_modules/serve/node_modules/x/main.js #!/usr/bin/env node",
            "/usr/bin/env",
            "/usr/bin/node",
            "/h/repo/.env",
        ],
        &[
            "/h/repo/node_modules",
            "/h/repo/node_modules/.bin/serve",
            "/h/repo/node_modules/serve/node_modules/x/main.js",
            "/usr/bin/env",
            "/usr/bin/node",
        ],
    );
}

#[test]
fn a_launcher_comes_with_its_caches_and_its_interpreter() {
    check(
        "npx -y server .",
        &["/usr/bin/npx", "/h/.npm/_cacache/x", "/h/.npmrc"],
        &["/h/.npm", "/usr/bin/npx"],
    );
    check(
        "uvx server",
        &[
            "/h/.local/bin/uvx",
            "/h/.cache/uv/x",
            "/h/.pyenv/shims/python3",
            "/h/.local/bin/uv",
            "/h/.local/bin/private",
            "/usr/bin/uv",
        ],
        &[
            "/h/.cache/uv",
            // uvx runs the uv that is beside it.
            "/h/.local/bin/uv",
            "/h/.local/bin/uvx",
            "/h/.pyenv",
            "/h/.pyenv/shims/python3",
        ],
    );
    check(
        "uv --directory /h/tools/server run server",
        &["/usr/bin/uv", "/h/tools/server/pyproject.toml"],
        &["/h/tools/server", "/usr/bin/uv"],
    );
}

#[test]
fn programs_that_lead_to_each_other_come_to_an_end() {
    check(
        "/x/a/a",
        &["/x/a/a #!/x/b/b", "/x/b/b #!/x/a/a"],
        &["/x/a", "/x/a/a", "/x/b", "/x/b/b"],
    );
}
