//! `srtctl audit export`: entries as they come from the daemon, so that a log of any length needs no more memory.

use super::filters::Filters;
use super::shown;
use crate::connect::Connection;
use crate::errors::Failure;
use srt_proto::v1::AuditEntry;
use srt_proto::v1::audit_client::AuditClient;
use std::io::{self, BufWriter, Write};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The form
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    #[command(flatten)]
    filters: Filters,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// A JSON object a line
    Jsonl,
    /// Comma-separated values with a heading (RFC 4180); the detail is one column of JSON
    Csv,
    /// OpenTelemetry's OTLP/JSON, as its collector's file exporter writes it: a line is an export of logs
    Otlp,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let mut client = AuditClient::new(connection.channel.clone());
    if matches!(args.format, Format::Otlp) {
        let mut lines = client
            .export_otlp(args.filters.request()?)
            .await?
            .into_inner();
        let mut out = BufWriter::new(io::stdout());
        while let Some(line) = lines.message().await? {
            writeln!(out, "{}", line.json)?;
        }
        out.flush()?;
        return Ok(0);
    }
    let mut log = client.query(args.filters.request()?).await?.into_inner();
    let mut out = Out::new(args.format, BufWriter::new(io::stdout()))?;
    while let Some(entry) = log.message().await? {
        out.entry(&entry)?;
    }
    out.end()?;
    Ok(0)
}

/// Where entries go, in one form.
enum Out<W: Write> {
    Jsonl(W),
    Csv(Box<csv::Writer<W>>),
}

impl<W: Write> Out<W> {
    fn new(format: Format, writer: W) -> io::Result<Self> {
        match format {
            // Of OTLP the daemon makes the lines.
            Format::Jsonl | Format::Otlp => Ok(Self::Jsonl(writer)),
            Format::Csv => {
                let mut rows = csv::Writer::from_writer(writer);
                rows.write_record(["seq", "at", "kind", "server", "launch", "subject", "detail"])?;
                Ok(Self::Csv(Box::new(rows)))
            }
        }
    }

    fn entry(&mut self, entry: &AuditEntry) -> io::Result<()> {
        match self {
            Self::Jsonl(writer) => {
                let mut value = shown::json(entry);
                value.sort_all_objects();
                writeln!(writer, "{value}")
            }
            Self::Csv(rows) => {
                let seq = entry.seq.to_string();
                let [kind, server, launch, subject, detail] = [
                    &entry.kind,
                    &entry.server,
                    &entry.launch,
                    &entry.subject,
                    &entry.detail,
                ]
                .map(|text| no_formula(text));
                rows.write_record([&seq, &entry.at, &kind, &server, &launch, &subject, &detail])?;
                Ok(())
            }
        }
    }

    fn end(self) -> io::Result<()> {
        match self {
            Self::Jsonl(mut writer) => writer.flush(),
            Self::Csv(mut rows) => rows.flush(),
        }
    }
}

/// A spreadsheet takes a cell that begins like this for a formula, and a server chooses the names that it asks for. With
/// an apostrophe in front it is text; programs that need the very text use the other forms.
fn no_formula(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, entries: &[AuditEntry]) -> String {
        let mut text = Vec::new();
        let mut out = Out::new(format, &mut text).unwrap();
        for entry in entries {
            out.entry(entry).unwrap();
        }
        out.end().unwrap();
        String::from_utf8(text).unwrap()
    }

    fn entry(subject: &str) -> AuditEntry {
        AuditEntry {
            seq: 7,
            at: "2026-11-20T12:00:00.123Z".into(),
            kind: "deny".into(),
            server: "files".into(),
            subject: subject.into(),
            detail: "{\"rule\":\"a, \\\"b\\\"\"}".into(),
            ..AuditEntry::default()
        }
    }

    #[test]
    fn a_line_of_json_is_an_entry() {
        let text = written(Format::Jsonl, &[entry("x\ny"), entry("z")]);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], shown::json(&entry("x\ny")));
        assert_eq!(written(Format::Jsonl, &[]), "");
    }

    #[test]
    fn what_a_server_chose_can_neither_break_a_row_nor_become_a_formula() {
        let subjects = [
            "plain.example:443",
            "a,\"b\"\r\nc",
            "=HYPERLINK(\"http://x.example\")",
            "@SUM(1)",
            "+1",
            "-1",
            "\t=1",
            "\r=1",
            "'quoted",
        ];
        let entries = subjects.map(entry);
        let text = written(Format::Csv, &entries);
        let mut rows = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(rows.headers().unwrap().get(5), Some("subject"));
        let rows: Vec<_> = rows.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), subjects.len());
        for (row, subject) in rows.iter().zip(subjects) {
            assert_eq!(&row[6], entry("").detail);
            let begins = subject.starts_with(['=', '@', '+', '-', '\t', '\r']);
            match begins {
                true => assert_eq!(&row[5], format!("'{subject}")),
                false => assert_eq!(&row[5], subject),
            }
        }
    }
}
