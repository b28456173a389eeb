//! What is drawn: a small tree, a document about it, and what is then tried.

use std::fmt;

use srt_tests::Random;

/// One thing in a tree. Paths are relative to the tree's top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) path: String,
    pub(crate) what: What,
}

/// What an item is. `TOP` at the beginning of a link's text stands for the tree's top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Folder,
    File,
    Link(String),
    /// Another name of the file at this path.
    Hard(String),
}

/// How a path is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    Absolute,
    /// From the working directory.
    Relative,
    /// Through `/proc/self/root`.
    Root,
    /// Through `/proc/self/cwd`.
    Cwd,
}

/// A path to be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) path: String,
    pub(crate) spelling: Spelling,
}

/// What is tried, by the server but where it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Read(Name),
    Append(Name),
    /// Only what is not there yet.
    Create(Name),
    /// What is there, or else something new.
    Open(Name),
    MakeFolder(Name),
    Unlink(Name),
    RemoveFolder(Name),
    Rename(Name, Name),
    Exchange(Name, Name),
    Symlink(String, Name),
    HardLink(Name, Name),
    /// The host makes something.
    HostMakes(Item),
    /// The host puts a new file in the place of what is there, as editors do.
    HostReplaces(String),
}

/// A whole case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) minimal: bool,
    /// Key and entry; `TOP` at the beginning stands for the tree's top.
    pub(crate) rules: Vec<(&'static str, String)>,
    pub(crate) tree: Vec<Item>,
    /// What the host makes between the sandbox and the server in it.
    pub(crate) later: Vec<Item>,
    pub(crate) steps: Vec<Step>,
}

/// Home folder and working directory.
pub(crate) const HOME: &str = "home";
pub(crate) const CWD: &str = "home/p";

const NAMES: &[&str] = &[
    "a",
    "b",
    "c.c",
    "d.c",
    ".git",
    "hooks",
    "config",
    ".env",
    ".mcp.json",
    ".bashrc",
    "secret",
    ".ssh",
];
const KEYS: &[&str] = &["denyRead", "allowRead", "allowWrite", "denyWrite"];

struct Draw(Random);

impl Draw {
    fn one_in(&mut self, bound: u64) -> bool {
        self.0.below(bound) == 0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.below(bound.max(1) as u64)).unwrap_or(0)
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    fn name(&mut self) -> &'static str {
        // The first few come more often, so that rules meet what is there.
        let most = if self.one_in(2) { 4 } else { NAMES.len() };
        NAMES[self.below(most)]
    }

    /// One to three names.
    fn names(&mut self) -> String {
        let count = 1 + self.below(3);
        let names: Vec<&str> = (0..count).map(|_| self.name()).collect();
        names.join("/")
    }

    fn folder(&mut self) -> &'static str {
        match self.below(8) {
            0 => HOME,
            1 | 2 => "out",
            _ => CWD,
        }
    }

    fn link(&mut self) -> String {
        match self.below(8) {
            0 => format!("TOP/{}/{}", self.folder(), self.names()),
            1 => format!("../{}", self.names()),
            2 => "..".to_owned(),
            3 => format!("TOP/{}", self.folder()),
            4 => format!("../../{}", self.names()),
            _ => self.names(),
        }
    }

    fn items(&mut self, count: usize, old: &[Item]) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        for _ in 0..count {
            let inside: Vec<String> = old
                .iter()
                .chain(&items)
                .filter(|item| item.what == What::Folder)
                .map(|item| item.path.clone())
                .collect();
            let folder = match inside.is_empty() || self.one_in(3) {
                true => self.folder().to_owned(),
                false => self.of(&inside),
            };
            let path = format!("{folder}/{}", self.name());
            if old.iter().chain(&items).any(|item| item.path == path) {
                continue;
            }
            let files: Vec<String> = old
                .iter()
                .chain(&items)
                .filter(|item| item.what == What::File)
                .map(|item| item.path.clone())
                .collect();
            let what = match self.below(10) {
                0..=3 => What::Folder,
                4..=6 => What::File,
                7 if !files.is_empty() => What::Hard(self.of(&files)),
                _ => What::Link(self.link()),
            };
            items.push(Item { path, what });
        }
        items
    }

    fn rule(&mut self, key: &'static str, tree: &[Item]) -> String {
        let name = self.name();
        let other = self.name();
        let known = tree.len();
        match self.below(16) {
            0 | 1 => format!("**/{name}"),
            2 => format!("{other}/*"),
            3 => format!("*/{name}"),
            4 => "**/*.c".to_owned(),
            5 => format!("{{{name},{other}}}/{}", self.name()),
            6 => format!("{name}/**"),
            7 => format!("~/**/{name}"),
            8 => format!("TOP/out/**/{name}"),
            9 => format!("**/{name}/{other}"),
            10 => format!("[a-b]/{name}"),
            // To write somewhere, or to hide all.
            11 if key == "allowWrite" || key == "allowRead" => ".".to_owned(),
            11 => self.of(&["~", "TOP", "..", "TOP/out"]).to_owned(),
            12 => format!("~/{name}"),
            13 => format!("TOP/out/{name}"),
            _ if known > 0 => {
                let item = self.of(tree);
                match item.path.strip_prefix("home/p/") {
                    Some(inside) => inside.to_owned(),
                    None => format!("TOP/{}", item.path),
                }
            }
            _ => self.names(),
        }
    }

    fn at(&mut self, path: String) -> Name {
        let inside = path.starts_with("home/p/");
        let spelling = match self.below(8) {
            0..=2 if inside => Spelling::Relative,
            3 if inside => Spelling::Cwd,
            4 => Spelling::Root,
            _ => Spelling::Absolute,
        };
        Name { path, spelling }
    }

    /// Something that may be there.
    fn there(&mut self, tree: &[Item]) -> Name {
        let path = match tree.is_empty() || self.one_in(6) {
            true => format!("{}/{}", self.folder(), self.names()),
            false => self.of(tree).path,
        };
        let path = match self.below(9) {
            0..=2 => format!("{path}/{}", self.name()),
            // After a link, not where the letters say.
            3 => format!("{path}/../{}", self.name()),
            4 => format!("{path}/.././{}", self.names()),
            _ => path,
        };
        self.at(path)
    }

    fn step(&mut self, tree: &[Item]) -> Step {
        let name = self.there(tree);
        match self.below(20) {
            0..=3 => Step::Read(name),
            4 => Step::Append(name),
            5 | 6 => Step::Create(name),
            7 => Step::Open(name),
            8..=10 => Step::MakeFolder(name),
            11 => Step::Unlink(name),
            12 => Step::RemoveFolder(name),
            13 | 14 => Step::Rename(name, self.there(tree)),
            15 => Step::Exchange(name, self.there(tree)),
            16 => Step::Symlink(self.link(), name),
            17 => Step::HardLink(name, self.there(tree)),
            18 => Step::HostReplaces(name.path),
            _ => self
                .items(1, tree)
                .pop()
                .map_or(Step::Read(name), Step::HostMakes),
        }
    }
}

/// The case of a seed.
pub(crate) fn case(seed: u64) -> Case {
    let mut draw = Draw(Random::new(seed));
    let minimal = draw.one_in(3);
    let count = 4 + draw.below(10);
    let tree = draw.items(count, &[]);
    let mut rules = Vec::new();
    if !draw.one_in(6) {
        rules.push((
            "allowWrite",
            draw.of(&[".", "~", "TOP/out", "**/a", "TOP"]).to_owned(),
        ));
    }
    for _ in 0..1 + draw.below(5) {
        let key = draw.of(KEYS);
        rules.push((key, draw.rule(key, &tree)));
    }
    let count = draw.below(4);
    let later = draw.items(count, &tree);
    let all = [tree.clone(), later.clone()].concat();
    // Each by its own name, before anything changes.
    let mut steps = Vec::new();
    for item in &all {
        let path = item.path.clone();
        steps.push(Step::Read(draw.at(path.clone())));
        if item.what != What::Folder {
            steps.push(Step::Append(draw.at(path.clone())));
        } else {
            let fresh = format!("{path}/{}", draw.name());
            steps.push(Step::Read(draw.at(fresh)));
        }
    }
    steps.extend((0..40).map(|_| draw.step(&all)));
    Case {
        minimal,
        rules,
        tree,
        later,
        steps,
    }
}

impl Case {
    /// The cases that lack one thing of this one.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let half = self.steps.len() / 2;
        if half > 0 {
            for steps in [&self.steps[..half], &self.steps[half..]] {
                all.push(Self {
                    steps: steps.to_vec(),
                    ..self.clone()
                });
            }
        }
        fn without<T: Clone>(list: &[T]) -> impl Iterator<Item = Vec<T>> + '_ {
            (0..list.len()).map(|left| {
                let mut list = list.to_vec();
                list.remove(left);
                list
            })
        }
        all.extend(without(&self.rules).map(|rules| Self {
            rules,
            ..self.clone()
        }));
        all.extend(without(&self.steps).map(|steps| Self {
            steps,
            ..self.clone()
        }));
        all.extend(without(&self.later).map(|later| Self {
            later,
            ..self.clone()
        }));
        all.extend(without(&self.tree).map(|tree| Self {
            tree,
            ..self.clone()
        }));
        all
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  mode: {}",
            if self.minimal { "minimal" } else { "shared" }
        )?;
        for (key, entry) in &self.rules {
            writeln!(f, "  {key}: {entry:?}")?;
        }
        for item in &self.tree {
            writeln!(f, "  before: {} {:?}", item.path, item.what)?;
        }
        for item in &self.later {
            writeln!(f, "  later: {} {:?}", item.path, item.what)?;
        }
        for step in &self.steps {
            writeln!(f, "  {step:?}")?;
        }
        Ok(())
    }
}
