//! What one word of a command says about the server: a package, a path, and the alphabet of names. Pure.

/// The longest name.
pub const LONGEST: usize = 64;

/// File and folder names that say nothing about a server; the folder above does.
const GENERIC: [&str; 14] = [
    "index", "main", "server", "cli", "app", "run", "start", "mcp", "__main__", "dist", "build",
    "src", "lib", "bin",
];
const GENERIC_FOLDERS: [&str; 9] = [
    "dist", "build", "src", "lib", "bin", "out", "target", "release", "debug",
];

/// Package names that every vendor uses: their scope says whose they are.
const SCOPED: [&str; 6] = ["mcp", "server", "mcp-server", "cli", "app", "main"];

/// A package or image without registry, version, tag, extras and, where the rest says enough, scope.
pub(super) fn package(word: &str) -> String {
    let word = word.split_once("://").map_or(word, |(_, rest)| rest);
    let word = word.split('#').next().unwrap_or(word);
    let mut parts = word.trim_end_matches('/').rsplit('/');
    let last = parts.next().unwrap_or(word);
    let end = last
        .char_indices()
        .find(|(index, c)| *index > 0 && matches!(c, '@' | ':' | '[' | '=' | '<' | '>' | '~' | '!'))
        .map_or(last.len(), |(index, _)| index);
    let bare = last[..end].trim_start_matches('@');
    let bare = bare.strip_suffix(".git").unwrap_or(bare);
    // `@playwright/mcp` is playwright's; a registry's address (with a dot or a port) is nobody's name.
    match parts.next().map(|scope| scope.trim_start_matches('@')) {
        Some(scope)
            if SCOPED.contains(&bare) && !scope.is_empty() && !scope.contains(['.', ':']) =>
        {
            format!("{scope}-{bare}")
        }
        _ => bare.to_owned(),
    }
}

/// A file's name without its extension; where that is generic and a folder is named, the folder's.
pub(super) fn path_name(path: &str) -> String {
    let path = match path.split_once(':') {
        Some(("npm" | "jsr", name)) => return package(name),
        Some((_, rest)) if rest.starts_with("//") => rest,
        _ => path,
    };
    let mut parts = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "." | ".."))
        .rev();
    let Some(file) = parts.next() else {
        return String::new();
    };
    let own = stem(file);
    // `server.py` may well be all that somebody wrote; `dist/server.js` and `index.js` are not.
    let named_by_folder =
        |folder: &&str| !GENERIC_FOLDERS.contains(folder) && !folder.starts_with('@');
    let folders: Vec<_> = parts.collect();
    let built = folders
        .first()
        .is_some_and(|folder| GENERIC_FOLDERS.contains(folder));
    let says_nothing =
        matches!(own, "index" | "main" | "__main__" | "Cargo") || (built && GENERIC.contains(&own));
    if !says_nothing {
        return own.to_owned();
    }
    match folders.iter().position(named_by_folder) {
        Some(at)
            if folders
                .get(at + 1)
                .is_some_and(|scope| scope.starts_with('@')) =>
        {
            package(&format!("{}/{}", folders[at + 1], folders[at]))
        }
        Some(at) => package(folders[at]),
        None => own.to_owned(),
    }
}

/// The last path component without a known script extension.
pub(super) fn stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    let known = [
        ".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx", ".py", ".pyz", ".sh", ".rb", ".pl", ".php",
        ".jar", ".toml", ".exe", ".go",
    ];
    known
        .iter()
        .find_map(|extension| file.strip_suffix(extension).filter(|stem| !stem.is_empty()))
        .unwrap_or(file)
}

/// Keeps `[A-Za-z0-9._-]`, joins the rest with single dashes; starts with a letter, digit or underscore, so
/// that a name is neither an option nor a hidden file.
pub(super) fn sanitise(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    let out = out.trim_start_matches(['-', '.']);
    let out = &out[..out.len().min(LONGEST)];
    let out = if out == name {
        out
    } else {
        out.trim_end_matches(['-', '.'])
    };
    if out.is_empty() {
        "server".to_owned()
    } else {
        out.to_owned()
    }
}
