//! `srtctl flows`.

use super::output;
use super::screen::Screen;
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::Table;
use crate::{table, terminal, time};
use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use srt_proto::v1::flows_client::FlowsClient;
use srt_proto::v1::{FlowsRequest, LiveFlow};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Between two looks of --follow.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between the two looks that a rate takes without it.
const SAMPLE: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this server's
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    name: Option<String>,
    /// Look again every second until interrupted; without a terminal, a line for each flow each time
    #[arg(short, long)]
    follow: bool,
    /// Print a JSON array, with --follow an array a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let mut client = FlowsClient::new(connection.channel.clone());
    let request = FlowsRequest {
        name: args.name.unwrap_or_default(),
    };
    let mut list = async || -> Result<Vec<LiveFlow>, Failure> {
        Ok(client.list(request.clone()).await?.into_inner().flows)
    };
    let mut rates = Rates::default();
    let first = list().await?;
    if !args.follow {
        let flows = match rates.of(first, Instant::now()) {
            none if none.is_empty() => none,
            _ => {
                tokio::time::sleep(SAMPLE).await;
                rates.of(list().await?, Instant::now())
            }
        };
        match args.json {
            true => output::print_json(flows.iter().map(Rated::json).collect())?,
            false => output::print(&render(&flows))?,
        }
        return Ok(0);
    }
    let mut screen = (!args.json).then(Screen::open).flatten();
    let mut next = Some(first);
    let mut headed = false;
    loop {
        let seen = match next.take() {
            Some(first) => first,
            None => list().await?,
        };
        let flows = rates.of(seen, Instant::now());
        match &mut screen {
            Some(screen) => screen.show(&render(&flows))?,
            None if args.json => {
                let all: Value = flows.iter().map(Rated::json).collect();
                output::print(&format!("{all}\n"))?;
            }
            None => {
                let text = lines(&flows, &Timestamp::now().to_string(), !headed);
                headed = true;
                output::print(&text)?;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            // A terminal is given back as it was.
            _ = tokio::signal::ctrl_c() => return Ok(0),
        }
    }
}

/// Remembers how far each flow was, for how fast it is.
#[derive(Default)]
struct Rates {
    last: HashMap<(String, u64), (u64, u64)>,
    at: Option<Instant>,
}

/// A flow, with bytes per second since the last look, or since it began where it is newer.
struct Rated {
    flow: LiveFlow,
    out: f64,
    into: f64,
}

impl Rates {
    fn of(&mut self, flows: Vec<LiveFlow>, now: Instant) -> Vec<Rated> {
        let passed = self
            .at
            .replace(now)
            .map(|last| now.duration_since(last).as_secs_f64());
        let before = std::mem::take(&mut self.last);
        flows
            .into_iter()
            .map(|flow| {
                let key = (flow.launch.clone(), flow.id);
                self.last
                    .insert(key.clone(), (flow.bytes_out, flow.bytes_in));
                let (since, (out, into)) = match (passed, before.get(&key)) {
                    (Some(passed), Some(last)) => (passed, *last),
                    _ => (flow.age_seconds, (0, 0)),
                };
                // Of what began this very moment nothing can be said yet.
                let rate = |now: u64, then: u64| match since {
                    0.001.. => now.saturating_sub(then) as f64 / since,
                    _ => 0.0,
                };
                Rated {
                    out: rate(flow.bytes_out, out),
                    into: rate(flow.bytes_in, into),
                    flow,
                }
            })
            .collect()
    }
}

impl Rated {
    fn json(&self) -> Value {
        let flow = &self.flow;
        let mut value = json!({
            "server": flow.server,
            "launch": flow.launch,
            "id": flow.id,
            "front_end": flow.front_end,
            "target": flow.target,
            "address": flow.address,
            "rule": flow.rule,
            "bytes_out": flow.bytes_out,
            "bytes_in": flow.bytes_in,
            "out_per_second": self.out.round(),
            "in_per_second": self.into.round(),
            "age_seconds": flow.age_seconds,
        });
        value.sort_all_objects();
        value
    }

    fn cells(&self) -> [String; 10] {
        let flow = &self.flow;
        [
            flow.server.clone(),
            flow.front_end.clone(),
            flow.target.clone(),
            flow.address.clone(),
            time::size(flow.bytes_out),
            time::size(flow.bytes_in),
            rate(self.out),
            rate(self.into),
            time::span(flow.age_seconds),
            flow.rule.clone(),
        ]
    }
}

const HEADING: [&str; 10] = [
    "SERVER", "VIA", "TARGET", "ADDRESS", "OUT", "IN", "OUT/S", "IN/S", "AGE", "RULE",
];

fn rate(bytes: f64) -> String {
    match bytes.round() {
        0.0 => "-".to_owned(),
        bytes => time::size(bytes as u64),
    }
}

fn render(flows: &[Rated]) -> String {
    if flows.is_empty() {
        return "no connection is open\n".to_owned();
    }
    let mut table = Table::new(HEADING);
    for flow in flows {
        table.row(flow.cells().map(Into::into));
    }
    table.render()
}

/// Lines of fixed columns, since they are printed as they come, each with its time.
fn lines(flows: &[Rated], at: &str, heading: bool) -> String {
    let at = time::local(at, &TimeZone::system());
    let line = |at: &str, cells: [String; 10]| {
        let [
            server,
            via,
            target,
            address,
            out,
            into,
            out_rate,
            in_rate,
            age,
            rule,
        ] = cells;
        let padded = [
            table::pad(at, 19),
            table::pad(&server, 17),
            table::pad(&via, 7),
            table::pad(&target, 28),
            table::pad(&address, 21),
            table::pad(&out, 9),
            table::pad(&into, 9),
            table::pad(&out_rate, 9),
            table::pad(&in_rate, 9),
            table::pad(&age, 6),
            rule,
        ];
        table::clean(&padded.join("  ")) + "\n"
    };
    let mut text = String::new();
    if heading {
        let heading = line("TIME", HEADING.map(str::to_owned));
        let style = terminal::STRONG;
        text += &terminal::Stream::Stdout.paint(style, heading.trim_end());
        text.push('\n');
    }
    for flow in flows {
        text += &line(&at, flow.cells());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(id: u64, out: u64, into: u64, age: f64) -> LiveFlow {
        LiveFlow {
            id,
            launch: "l".into(),
            server: "git".into(),
            front_end: "connect".into(),
            target: "x.example:443".into(),
            address: "192.0.2.1:443".into(),
            rule: "network.allowedDomains: x.example (/s.json:2)".into(),
            bytes_out: out,
            bytes_in: into,
            age_seconds: age,
        }
    }

    #[test]
    fn rates_are_those_since_the_last_look() {
        let mut rates = Rates::default();
        let start = Instant::now();
        let first = rates.of(vec![flow(1, 1000, 0, 10.0)], start);
        assert_eq!((first[0].out, first[0].into), (100.0, 0.0));
        let later = start + Duration::from_secs(2);
        let flows = vec![
            flow(1, 3000, 4096, 12.0),
            flow(2, 50, 0, 0.5),
            flow(3, 9, 9, 0.0),
        ];
        let second = rates.of(flows, later);
        let of = |index: usize| (second[index].out, second[index].into);
        assert_eq!(of(0), (1000.0, 2048.0));
        assert_eq!(of(1), (100.0, 0.0), "it began in between");
        assert_eq!(of(2), (0.0, 0.0), "it began just now");
        assert_eq!(second[0].json()["in_per_second"], 2048.0);
        assert_eq!(
            render(&second).lines().nth(1).unwrap(),
            "git     connect  x.example:443  192.0.2.1:443  2.9 KiB  4.0 KiB  1000 B  2.0 KiB  12s  network.allowedDomains: x.example (/s.json:2)"
        );
        assert_eq!(render(&[]), "no connection is open\n");
    }
}
