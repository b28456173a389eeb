//! Medians, and tables of them.

use std::time::Duration;

/// Measurements of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn time(&mut self, value: Duration) {
        self.push(value.as_secs_f64());
    }

    /// The value that `percent` of the samples do not exceed; not a number where there are none.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.percentile(50.0)
    }
}

/// A Markdown table, printed with its columns aligned; the first column to the left, the others to the right.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self {
            rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()],
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn print(&self, title: &str) {
        println!("\n## {title}\n\n{}", self.text());
    }

    fn text(&self) -> String {
        let columns = self.rows[0].len();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
                    .max(3)
            })
            .collect();
        let mut lines = Vec::new();
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            lines.push(format!("| {} |", cells.join(" | ")));
            if index == 0 {
                let rules: Vec<String> = widths
                    .iter()
                    .enumerate()
                    .map(|(column, width)| match column {
                        0 => "-".repeat(width + 2),
                        _ => format!("{}:", "-".repeat(width + 1)),
                    })
                    .collect();
                lines.push(format!("|{}|", rules.join("|")));
            }
        }
        lines.join("\n")
    }
}

/// Seconds as milliseconds.
pub(crate) fn ms(seconds: f64) -> String {
    shown(seconds * 1e3, "ms", 2)
}

/// Seconds as microseconds.
pub(crate) fn us(seconds: f64) -> String {
    shown(seconds * 1e6, "µs", 1)
}

/// Bytes as MiB.
pub(crate) fn mib(bytes: f64) -> String {
    shown(bytes / (1024.0 * 1024.0), "MiB", 1)
}

/// How many times.
pub(crate) fn times(ratio: f64) -> String {
    shown(ratio, "×", 2)
}

/// So many a second, with the thousands apart.
pub(crate) fn rate(per_second: f64) -> String {
    if !per_second.is_finite() {
        return "—".into();
    }
    let digits = format!("{per_second:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped}/s")
}

/// Bytes a second as MiB a second.
pub(crate) fn throughput(bytes_per_second: f64) -> String {
    shown(bytes_per_second / (1024.0 * 1024.0), "MiB/s", 0)
}

fn shown(value: f64, unit: &str, decimals: usize) -> String {
    if value.is_finite() {
        format!("{value:.decimals$} {unit}")
    } else {
        "—".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_themselves() {
        let mut samples = Samples::default();
        assert!(samples.median().is_nan());
        for value in [5.0, 1.0, 4.0, 2.0, 3.0] {
            samples.push(value);
        }
        assert_eq!(samples.median(), 3.0);
        assert_eq!(samples.percentile(99.0), 5.0);
        assert_eq!(samples.percentile(20.0), 1.0);
        samples.push(6.0);
        assert_eq!(samples.median(), 3.0);
    }

    #[test]
    fn figures_read_well() {
        assert_eq!(rate(1_234_567.4), "1,234,567/s");
        assert_eq!(rate(999.0), "999/s");
        assert_eq!(us(0.000_012_34), "12.3 µs");
        assert_eq!(times(f64::NAN), "—");
    }

    #[test]
    fn a_table_is_markdown_with_aligned_columns() {
        let mut table = Table::new(&["what", "a"]);
        table.row(["x".into(), "10 ms".into()]);
        assert_eq!(
            table.text(),
            "| what |     a |\n|------|------:|\n| x    | 10 ms |"
        );
    }
}
