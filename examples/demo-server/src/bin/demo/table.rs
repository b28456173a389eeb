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

/// Rows of cells, each as wide as its column needs, up to a bound.
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<(bool, Vec<String>)>,
}

/// No column grows wider than this: longer cells are wrapped.
const WIDEST: usize = 46;

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

    pub(crate) fn render(&self, paint: Paint) -> String {
        let widths: Vec<_> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().map(|(_, cells)| &cells[column]);
                cells
                    .chain([&self.head[column]])
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
                    .min(WIDEST)
            })
            .collect();
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
    fn a_table_without_a_terminal_has_no_colour() {
        let mut table = Table::new(&["", "what"]);
        table.row(true, &["ok", "one"]);
        table.row(false, &["!!", "two"]);
        assert_eq!(table.render(Paint(false)), "    what\nok  one\n!!  two\n");
        assert!(table.render(Paint(true)).contains("\x1b[31m!!"));
    }
}
