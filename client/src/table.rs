//! Aligned columns, and the escaping that keeps a hostile server's text from driving the reader's terminal.

use crate::terminal;
use anstyle::Style;

/// A cell: its text and, on a terminal, its style.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Option<Style>,
}

impl Cell {
    /// A cell that is coloured on a terminal.
    pub fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self {
            text: clean(text.as_ref()),
            style: Some(style),
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: clean(text.as_ref()),
            style: None,
        }
    }
}

/// Rows under a heading, each column as wide as its widest cell but for the last, which is not padded.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
    spare: &'static [&'static str],
}

impl Table {
    /// A table with this heading.
    pub fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self {
            rows: vec![
                heading
                    .map(|text| Cell::styled(text, terminal::STRONG))
                    .into(),
            ],
            spare: &[],
        }
    }

    /// The columns that are left out, the first of them first, where a terminal is too narrow for all; a line below
    /// says so.
    #[must_use]
    pub fn sparing(mut self, headings: &'static [&'static str]) -> Self {
        self.spare = headings;
        self
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// The finished text for stdout. Lines are cut to the terminal's width, and on a terminal only.
    pub fn render(&self) -> String {
        self.lines(terminal::Stream::Stdout.width(), |style, text| {
            terminal::Stream::Stdout.paint(style, text)
        })
    }

    fn lines(&self, width: Option<usize>, paint: impl Fn(Style, &str) -> String) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            let lengths = self.rows.iter().filter_map(|row| row.get(column));
            lengths.map(|cell| length(&cell.text)).max().unwrap_or(0)
        };
        let mut widths: Vec<_> = (0..columns).map(widest).collect();
        let mut rows = self.rows.clone();
        let left_out = spared(&mut rows, &mut widths, self.spare, width);
        let mut out = String::new();
        for row in &rows {
            out.push_str(&line(row, &widths, width, &paint));
            out.push('\n');
        }
        if !left_out.is_empty() {
            out.push_str(&format!(
                "(no room for {}: a wider terminal shows it)\n",
                left_out.join(", ")
            ));
        }
        out
    }
}

/// Takes out columns until a line fits, and says which.
fn spared(
    rows: &mut [Vec<Cell>],
    widths: &mut Vec<usize>,
    spare: &[&'static str],
    limit: Option<usize>,
) -> Vec<&'static str> {
    let mut left_out = Vec::new();
    for heading in spare {
        let whole = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        if limit.is_none_or(|limit| whole <= limit) {
            break;
        }
        let place = rows.first().and_then(|first| {
            let mut headings = first.iter();
            headings.position(|cell| cell.text == *heading)
        });
        if let Some(place) = place {
            for row in rows.iter_mut() {
                row.remove(place);
            }
            widths.remove(place);
            left_out.push(*heading);
        }
    }
    left_out
}

fn line(
    row: &[Cell],
    widths: &[usize],
    limit: Option<usize>,
    paint: impl Fn(Style, &str) -> String,
) -> String {
    let mut out = String::new();
    let mut used = 0;
    for (index, cell) in row.iter().enumerate() {
        let room = limit.map_or(usize::MAX, |limit| limit.saturating_sub(used));
        let text = cut(&cell.text, room);
        match cell.style {
            Some(style) if !text.is_empty() => out.push_str(&paint(style, &text)),
            _ => out.push_str(&text),
        }
        used += length(&text);
        if index + 1 < row.len() {
            let padding = widths[index].saturating_sub(length(&text)) + 2;
            let padding = padding.min(limit.map_or(padding, |limit| limit.saturating_sub(used)));
            out.extend(std::iter::repeat_n(' ', padding));
            used += padding;
        }
    }
    out.trim_end_matches(' ').to_owned()
}

/// Shortens to `room` characters, the last of them an ellipsis where something was lost.
pub fn cut(text: &str, room: usize) -> String {
    if length(text) <= room {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    if room > 0 {
        short.push('…');
    }
    short
}

/// A text on lines of at most `width`, broken at blanks, and inside a word that is longer than a line. Each ends with
/// a line feed and is indented, and what follows the first by no less than four; nothing for an empty text.
pub fn fold(text: &str, indent: usize, width: usize) -> String {
    let mut rest: Vec<char> = text.trim_end().chars().collect();
    let (mut indent, mut out) = (indent, String::new());
    while !rest.is_empty() {
        // A terminal so narrow that nothing would fit gets long lines.
        let room = width.saturating_sub(indent).max(16);
        let mut end = rest.len();
        if end > room {
            let blank = (1..=room).rev().find(|&at| rest[at] == ' ');
            end = blank.unwrap_or(room);
        }
        let line: String = rest.drain(..end).collect();
        out.extend(std::iter::repeat_n(' ', indent));
        out.push_str(line.trim_end());
        out.push('\n');
        let blanks = rest.iter().take_while(|c| **c == ' ').count();
        rest.drain(..blanks);
        indent = indent.max(4);
    }
    out
}

/// Pads with spaces to at least `width` characters.
pub fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(length(text));
    format!("{text}{}", " ".repeat(missing))
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Escapes control characters and the invisible ones that reorder text. Names, subjects and log lines come
/// from servers, which must not be able to move the cursor, recolour or rewrite what a person reads.
pub fn clean(text: &str) -> String {
    let hostile = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(hostile) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if hostile(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(["NAME", "STATE", "LAST-EXIT"]);
        table.row(["a".into(), "running".into(), "-".into()]);
        table.row([
            "server-filesystem".into(),
            Cell::styled("failed", terminal::BAD),
            "exited with status 3".into(),
        ]);
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_spaces() {
        let text = sample().lines(None, |_, text| text.to_owned());
        assert_eq!(
            text,
            "NAME               STATE    LAST-EXIT\n\
             a                  running  -\n\
             server-filesystem  failed   exited with status 3\n"
        );
    }

    #[test]
    fn a_style_does_not_count_as_width() {
        let text = sample().lines(None, |_, text| format!("<{text}>"));
        assert!(
            text.contains("server-filesystem  <failed>   exited"),
            "{text}"
        );
    }

    #[test]
    fn a_terminal_cuts_long_lines() {
        let text = sample().lines(Some(30), |_, text| text.to_owned());
        assert_eq!(text.lines().last(), Some("server-filesystem  failed   e…"));
        for width in 0..40 {
            let text = sample().lines(Some(width), |_, text| text.to_owned());
            assert!(text.lines().all(|line| length(line) <= width), "{width}");
        }
    }

    #[test]
    fn a_narrow_terminal_spares_columns_and_says_which() {
        let sparing = || sample().sparing(&["LAST-EXIT", "STATE"]);
        let at = |width| sparing().lines(Some(width), |_, text| text.to_owned());
        assert_eq!(at(48), sample().lines(None, |_, text| text.to_owned()));
        assert_eq!(
            at(47),
            "NAME               STATE\na                  running\nserver-filesystem  failed\n\
             (no room for LAST-EXIT: a wider terminal shows it)\n"
        );
        assert_eq!(
            at(20),
            "NAME\na\nserver-filesystem\n(no room for LAST-EXIT, STATE: a wider terminal shows it)\n"
        );
    }

    #[test]
    fn a_folded_line_loses_nothing_but_blanks_and_fits() {
        let text = "one two three four five six a-word-that-is-longer-than-a-line-is seven";
        let folded = fold(text, 0, 20);
        assert_eq!(
            folded,
            "one two three four\n    five six\n    a-word-that-is-l\n    onger-than-a-lin\n    e-is seven\n"
        );
        assert_eq!(fold("short ", 4, 20), "    short\n");
        for width in 0..100 {
            let folded = fold(text, 4, width);
            let blanks = |text: &str| text.replace([' ', '\n'], "");
            assert_eq!(blanks(&folded), blanks(text), "{width}");
            assert!(
                folded.lines().all(|line| length(line) <= width.max(20)),
                "{width}"
            );
        }
    }

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(clean("a\u{1b}[2Jb\r\n"), "a\\u{1b}[2Jb\\r\\n");
        assert_eq!(clean("\u{202e}evil"), "\\u{202e}evil");
        assert_eq!(clean("grüße 名前"), "grüße 名前");
    }
}
