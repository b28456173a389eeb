//! A table that fits a terminal, coloured only on one.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

/// Whether and how to colour.
#[derive(Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Colour on a terminal, and never with `NO_COLOR`.
    pub(crate) fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(!refused && std::io::stdout().is_terminal())
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A heading.
    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
}

/// How wide a text may be: as the terminal is, and where there is none, enough for a log.
pub(crate) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    match size.map(|size| usize::from(size.ws_col)) {
        Ok(columns @ 1..) => columns.max(NARROWEST),
        _ => WIDEST,
    }
}

const NARROWEST: usize = 60;
const WIDEST: usize = 140;

/// The table of `srtctl audit` as it shows it on a terminal: the detail of an entry that is too long is beneath it.
pub(crate) fn fold(text: &str, width: usize) -> String {
    let mut folded = String::new();
    let subject = text.find("SUBJECT").unwrap_or(0);
    for line in text.lines() {
        let detail = line.get(subject..).and_then(|rest| rest.find("  "));
        let (head, detail) = match detail {
            Some(at) if line.chars().count() > width => line.split_at(subject + at),
            _ => (line, ""),
        };
        let (detail, hint) = match detail.find("hint: ") {
            Some(at) => detail.split_at(at),
            None => (detail, ""),
        };
        folded.push_str(head);
        folded.push('\n');
        for line in [detail, hint]
            .into_iter()
            .flat_map(|part| wrap(part, width - 4))
        {
            if !line.is_empty() {
                folded.push_str(&format!("    {line}\n"));
            }
        }
    }
    folded
}

/// Rows of cells, each as wide as its column needs, up to a bound.
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<(bool, Vec<String>)>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|&cell| cell.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; one that is not `good` stands out.
    pub(crate) fn row(&mut self, good: bool, cells: &[&str]) {
        let cells = cells.iter().map(|&cell| cell.to_owned()).collect();
        self.rows.push((good, cells));
    }

    /// The finished text, no line wider than `width`: longer cells are wrapped.
    pub(crate) fn render(&self, paint: Paint, width: usize) -> String {
        let mut widths: Vec<_> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().map(|(_, cells)| &cells[column]);
                cells
                    .chain([&self.head[column]])
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        // The widest gives way, until all fit.
        let room = width.saturating_sub(2 * widths.len().saturating_sub(1));
        while widths.iter().sum::<usize>() > room.max(8 * widths.len()) {
            if let Some(widest) = widths.iter_mut().max() {
                *widest -= 1;
            }
        }
        let mut text = String::new();
        lines(&mut text, &self.head, &widths, |cell| paint.bold(cell));
        for (good, cells) in &self.rows {
            let code = if *good { "32" } else { "31" };
            let mut column = 0;
            lines(&mut text, cells, &widths, |cell| {
                column += 1;
                if (column - 1) % widths.len() == 0 {
                    paint.with(code, cell)
                } else {
                    cell.to_owned()
                }
            });
        }
        text
    }
}

/// Writes one row, on as many lines as its longest cell needs.
fn lines(
    text: &mut String,
    cells: &[String],
    widths: &[usize],
    mut paint: impl FnMut(&str) -> String,
) {
    let wrapped: Vec<_> = cells
        .iter()
        .zip(widths)
        .map(|(cell, &width)| wrap(cell, width))
        .collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
    for line in 0..height {
        let mut written = String::new();
        for (cell, &width) in wrapped.iter().zip(widths) {
            let cell = cell.get(line).map_or("", String::as_str);
            let padding = width.saturating_sub(cell.chars().count());
            let _ = write!(written, "{}{}  ", paint(cell), " ".repeat(padding));
        }
        text.push_str(written.trim_end());
        text.push('\n');
    }
}

/// Breaks at blanks, and inside a word that is longer than a line.
fn wrap(cell: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in cell.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        while !word.is_empty() {
            let Some(line) = lines.last_mut() else { break };
            let used = line.chars().count();
            let room = width.saturating_sub(used + usize::from(used > 0));
            if word.len() <= room || (used == 0 && room > 0) {
                let taken: String = word.drain(..word.len().min(room)).collect();
                if used > 0 {
                    line.push(' ');
                }
                line.push_str(&taken);
            } else {
                lines.push(String::new());
            }
            if width == 0 {
                break;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_cells_wrap_and_nothing_is_lost() {
        assert_eq!(wrap("a bb ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(wrap("xx abcdefgh", 4), ["xx", "abcd", "efgh"]);
    }

    #[test]
    fn a_table_and_a_folded_text_are_as_wide_as_they_may_be() {
        let long = "some words ".repeat(20);
        let mut table = Table::new(&["", "one", "two", "three"]);
        table.row(true, &["ok", &long, "short", &long]);
        for width in [60, 80, 120] {
            let folded = fold(
                &format!("A  SUBJECT  X\na  b  {long} hint: {long}\n"),
                width,
            );
            let table = table.render(Paint(false), width);
            assert_eq!(table.matches("words").count(), 40);
            assert_eq!(folded.matches("words").count(), 40);
            assert!(
                folded.starts_with("A  SUBJECT  X\na  b\n    some words"),
                "{folded}"
            );
            assert!(folded.contains("\n    hint: some"), "{folded}");
            for line in folded.lines().chain(table.lines()) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_table_without_a_terminal_has_no_colour() {
        let mut table = Table::new(&["", "what"]);
        table.row(true, &["ok", "one"]);
        table.row(false, &["!!", "two"]);
        assert_eq!(
            table.render(Paint(false), 80),
            "    what\nok  one\n!!  two\n"
        );
        assert!(table.render(Paint(true), 80).contains("\x1b[31m!!"));
    }
}
