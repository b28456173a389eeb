//! Patterns in paths as docs/POLICY.md tells of them, matched in the simplest way: by trying everything.
//!
//! Nothing is shared with `srt_policy`: braces are expanded by recursion, names are bytes, and a table says which
//! beginnings of a path match which beginnings of a pattern.

/// A pattern without braces, below an absolute folder.
#[derive(Clone, Debug)]
pub struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
enum Segment {
    /// `**`
    Deep,
    Name(Vec<Piece>),
}

#[derive(Clone, Debug)]
enum Piece {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Any,
    /// `[…]`: whether it is negated, and ranges.
    Class(bool, Vec<(u8, u8)>),
}

/// What an entry stands for; `None` where it is no entry.
pub fn parse(entry: &str, home: &str, cwd: &str) -> Option<Vec<Pattern>> {
    let is_pattern = entry.contains(['*', '?', '[', '{']);
    let texts = match is_pattern {
        true => alternatives(entry.as_bytes())?,
        false => vec![entry.as_bytes().to_vec()],
    };
    texts
        .iter()
        .map(|text| pattern(text, is_pattern, home, cwd))
        .collect()
}

/// The text with its first pair of braces replaced by each of its alternatives, and so on.
fn alternatives(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut depth = 0_usize;
    let (mut start, mut commas) = (0, Vec::new());
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'[' => at = class_end(text, at).unwrap_or(at),
            b'{' => {
                if depth == 0 {
                    start = at;
                }
                depth += 1;
            }
            b',' if depth == 1 => commas.push(at),
            b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    commas.push(at);
                    let mut from = start + 1;
                    let mut all = Vec::new();
                    for comma in commas {
                        let whole = [&text[..start], &text[from..comma], &text[at + 1..]].concat();
                        all.extend(alternatives(&whole)?);
                        from = comma + 1;
                    }
                    return Some(all);
                }
            }
            _ => {}
        }
        at += 1;
    }
    (depth == 0).then(|| vec![text.to_vec()])
}

/// Where the class at `open` ends: a `]` that comes first in it is a member.
fn class_end(text: &[u8], open: usize) -> Option<usize> {
    let negated = usize::from(matches!(text.get(open + 1), Some(b'!' | b'^')));
    let first = open + 1 + negated;
    let end = (first + 1..text.len()).find(|at| text[*at] == b']')?;
    (!text[first..end].contains(&b'/')).then_some(end)
}

fn pattern(text: &[u8], is_pattern: bool, home: &str, cwd: &str) -> Option<Pattern> {
    let (root, rest) = match text {
        b"~" => (home, &b""[..]),
        [b'~', b'/', rest @ ..] => (home, rest),
        [b'/', rest @ ..] => ("", rest),
        rest => (cwd, rest),
    };
    let plain = |name: &[u8]| Segment::Name(name.iter().map(|byte| Piece::Byte(*byte)).collect());
    let mut segments: Vec<Segment> = names(root.as_bytes()).into_iter().map(plain).collect();
    for name in rest.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            b"**" if is_pattern => segments.push(Segment::Deep),
            name if is_pattern => segments.push(Segment::Name(pieces(name)?)),
            name => segments.push(plain(name)),
        }
    }
    // "`/**` at the end adds nothing": what is matched is the folder.
    while matches!(segments.last(), Some(Segment::Deep)) {
        segments.pop();
    }
    Some(Pattern { segments })
}

fn pieces(name: &[u8]) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < name.len() {
        match name[at] {
            b'\\' => {
                at += 1;
                pieces.push(Piece::Byte(*name.get(at)?));
            }
            b'?' => pieces.push(Piece::One),
            b'*' => pieces.push(Piece::Any),
            b'[' => {
                let end = class_end(name, at)?;
                let negated = matches!(name[at + 1], b'!' | b'^');
                let inside = &name[at + 1 + usize::from(negated)..end];
                let mut ranges = Vec::new();
                let mut place = 0;
                while place < inside.len() {
                    if place + 2 < inside.len() && inside[place + 1] == b'-' {
                        ranges.push((inside[place], inside[place + 2]));
                        place += 3;
                    } else {
                        ranges.push((inside[place], inside[place]));
                        place += 1;
                    }
                }
                pieces.push(Piece::Class(negated, ranges));
                at = end;
            }
            byte => pieces.push(Piece::Byte(byte)),
        }
        at += 1;
    }
    Some(pieces)
}

/// The names of a path, `..` taken by its letters.
pub fn names(path: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                found.pop();
            }
            name => found.push(name),
        }
    }
    found
}

impl Pattern {
    /// `table[p][n]`: whether the first `p` segments match the first `n` names.
    fn table(&self, names: &[&[u8]]) -> Vec<Vec<bool>> {
        let mut table = vec![vec![false; names.len() + 1]; self.segments.len() + 1];
        table[0][0] = true;
        for (p, segment) in self.segments.iter().enumerate() {
            for n in 0..=names.len() {
                table[p + 1][n] = match segment {
                    Segment::Deep => (0..=n).any(|before| table[p][before]),
                    Segment::Name(pieces) => {
                        n > 0 && table[p][n - 1] && name_matches(pieces, names[n - 1])
                    }
                };
            }
        }
        table
    }

    /// How many names the longest beginning has that matches; `None` where the path is not covered.
    pub fn depth(&self, names: &[&[u8]]) -> Option<usize> {
        let table = self.table(names);
        (0..=names.len())
            .rev()
            .find(|n| table[self.segments.len()][*n])
    }

    /// Whether something below could be covered: part of the pattern matches all of the path, or it is covered.
    pub fn may_cover_below(&self, names: &[&[u8]]) -> bool {
        self.depth(names).is_some() || self.table(names).iter().any(|row| row[names.len()])
    }

    /// Names that make something of the pattern's rest, whatever part of it is behind.
    pub fn tails(&self) -> Vec<Vec<Vec<u8>>> {
        let all: Vec<Vec<u8>> = self
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Deep => b"x".to_vec(),
                Segment::Name(pieces) => pieces.iter().filter_map(Piece::example).collect(),
            })
            .collect();
        (0..all.len()).map(|from| all[from..].to_vec()).collect()
    }
}

impl Piece {
    fn matches(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::One => true,
            Self::Any => false,
            Self::Class(negated, ranges) => {
                *negated
                    != ranges
                        .iter()
                        .any(|(from, to)| (*from..=*to).contains(&byte))
            }
        }
    }

    fn example(&self) -> Option<u8> {
        match self {
            Self::Any => None,
            piece => (1..=255).find(|byte| *byte != b'/' && piece.matches(*byte)),
        }
    }
}

fn name_matches(pieces: &[Piece], name: &[u8]) -> bool {
    let mut ends = vec![false; name.len() + 1];
    ends[0] = true;
    for piece in pieces {
        let mut next = vec![false; name.len() + 1];
        for at in 0..=name.len() {
            if matches!(piece, Piece::Any) {
                next[at] = ends[at] || at > 0 && next[at - 1];
            } else if at > 0 {
                next[at] = ends[at - 1] && piece.matches(name[at - 1]);
            }
        }
        ends = next;
    }
    ends[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_matches_what_the_reference_says() {
        let check = |entry: &str, path: &str, expected: Option<usize>| {
            let patterns = parse(entry, "/h", "/w").expect(entry);
            let names = names(path.as_bytes());
            let found = patterns.iter().filter_map(|own| own.depth(&names)).max();
            assert_eq!(found, expected, "{entry} {path}");
        };
        check("**/.env", "/w/.env", Some(2));
        check("**/.env", "/w/a/.env/b", Some(3));
        check("src/**/*.gen.ts", "/w/src/a/b/x.gen.ts", Some(5));
        check("a/*", "/w/a", None);
        check("{a,b/c}", "/w/b/c/d", Some(3));
        check("~/[!a-c]x", "/h/dx", Some(2));
        check("~/[!a-c]x", "/h/bx", None);
        check("**", "/w", Some(1));
        check("a\\*b?", "/w/a*bc", Some(2));
    }
}
