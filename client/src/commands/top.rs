//! `srtctl top`: what servers use, live.

use super::keys::Keys;
use super::output;
use super::screen::Screen;
use crate::connect::Connection;
use crate::errors::Failure;
use crate::table::{Cell, Table};
use crate::{terminal, time};
use serde_json::{Value, json};
use srt_proto::v1::operations_client::OperationsClient;
use srt_proto::v1::{LaunchUsage, ServerUsage, UsageRequest};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Between two looks at a terminal.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between the two looks that rates take without one.
const SAMPLE: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these servers
    names: Vec<String>,
    /// What comes first; the letter is the key that chooses it
    #[arg(long, value_enum, default_value_t = Order::Cpu, value_name = "COLUMN")]
    sort: Order,
    /// Print a JSON array once and end, as without a terminal
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Order {
    /// Share of a CPU (c)
    Cpu,
    /// Memory (m)
    Memory,
    /// Messages a second (s)
    Messages,
    /// Open connections (f)
    Flows,
    /// Name (n)
    Name,
}

impl Order {
    fn of_key(key: u8) -> Option<Self> {
        match key {
            b'c' => Some(Self::Cpu),
            b'm' => Some(Self::Memory),
            b's' => Some(Self::Messages),
            b'f' => Some(Self::Flows),
            b'n' => Some(Self::Name),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::Messages => "messages",
            Self::Flows => "flows",
            Self::Name => "name",
        }
    }
}

pub(super) async fn run(connection: &Connection, args: Args) -> Result<i32, Failure> {
    let mut client = OperationsClient::new(connection.channel.clone());
    let request = UsageRequest { names: args.names };
    let mut look = async || -> Result<Vec<ServerUsage>, Failure> {
        Ok(client.usage(request.clone()).await?.into_inner().servers)
    };
    let mut rates = Rates::default();
    let mut order = args.sort;
    let mut rows = rates.of(look().await?, Instant::now());
    // The terminal's keys first: what is typed while the screen opens counts.
    let mut keys = (!args.json).then(Keys::open).flatten();
    let screen = (!args.json).then(Screen::open).flatten();
    let Some(mut screen) = screen else {
        drop(keys);
        tokio::time::sleep(SAMPLE).await;
        rows = rates.of(look().await?, Instant::now());
        sort(&mut rows, order);
        match args.json {
            true => output::print_json(rows.iter().map(Row::json).collect())?,
            false => output::print(&table(&rows))?,
        }
        return Ok(0);
    };
    let mut next = tokio::time::Instant::now() + SAMPLE;
    let mut interrupted = std::pin::pin!(super::keys::interrupted());
    loop {
        sort(&mut rows, order);
        screen.show(&live(&rows, order, keys.is_some()))?;
        let key = async {
            match &mut keys {
                Some(keys) => keys.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                next = tokio::time::Instant::now() + INTERVAL;
                rows = rates.of(look().await?, Instant::now());
            }
            key = key => match key {
                Some(b'q' | b'Q') => return Ok(0),
                Some(key) => order = Order::of_key(key.to_ascii_lowercase()).unwrap_or(order),
                // Nobody types any more.
                None => keys = None,
            },
            // A terminal is given back as it was.
            () = &mut interrupted => return Ok(0),
        }
    }
}

/// Remembers how far each launch was.
#[derive(Default)]
struct Rates {
    last: HashMap<String, (f64, u64)>,
    at: Option<Instant>,
}

/// A server's line.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    state: String,
    /// Of one CPU: 200 is two of them.
    cpu_percent: f64,
    memory: u64,
    processes: u32,
    sessions: u32,
    flows: u32,
    /// A second, both ways.
    messages: f64,
    restarts: u32,
}

impl Rates {
    /// Rates are those since the last look, or since the launch where it is newer.
    fn of(&mut self, servers: Vec<ServerUsage>, now: Instant) -> Vec<Row> {
        let passed = self
            .at
            .replace(now)
            .map(|last| now.duration_since(last).as_secs_f64());
        let before = std::mem::take(&mut self.last);
        let mut row = |server: ServerUsage| {
            let launches = &server.launches;
            let rates = launches.iter().map(|launch| {
                let now = (launch.cpu_seconds, launch.messages_in + launch.messages_out);
                self.last.insert(launch.launch.clone(), now);
                let (since, then) = match (passed, before.get(&launch.launch)) {
                    (Some(passed), Some(then)) => (passed, *then),
                    _ => (launch.age_seconds, (0.0, 0)),
                };
                // Of what began this very moment nothing can be said yet.
                match since {
                    0.001.. => (
                        (now.0 - then.0).max(0.0) / since,
                        now.1.saturating_sub(then.1) as f64 / since,
                    ),
                    _ => (0.0, 0.0),
                }
            });
            let (cpu, messages) = rates.fold((0.0, 0.0), |(cpu, messages), launch| {
                (cpu + launch.0, messages + launch.1)
            });
            let sum = |of: fn(&LaunchUsage) -> u32| launches.iter().map(of).sum();
            Row {
                cpu_percent: cpu * 100.0,
                messages,
                memory: launches.iter().map(|launch| launch.memory_bytes).sum(),
                processes: sum(|launch| launch.processes),
                flows: sum(|launch| launch.flows),
                name: server.name,
                state: server.state,
                sessions: server.sessions,
                restarts: server.restarts,
            }
        };
        servers.into_iter().map(&mut row).collect()
    }
}

/// The largest first, and by name where they are equal; by name, those that use nothing included.
fn sort(rows: &mut [Row], order: Order) {
    rows.sort_by(|a, b| {
        let by = match order {
            Order::Cpu => b.cpu_percent.total_cmp(&a.cpu_percent),
            Order::Memory => b.memory.cmp(&a.memory),
            Order::Messages => b.messages.total_cmp(&a.messages),
            Order::Flows => b.flows.cmp(&a.flows),
            Order::Name => std::cmp::Ordering::Equal,
        };
        by.then_with(|| a.name.cmp(&b.name))
    });
}

impl Row {
    fn json(&self) -> Value {
        let tenths = |value: f64| (value * 10.0).round() / 10.0;
        json!({
            "name": self.name,
            "state": self.state,
            "cpu_percent": tenths(self.cpu_percent),
            "memory_bytes": self.memory,
            "processes": self.processes,
            "sessions": self.sessions,
            "flows": self.flows,
            "messages_per_second": tenths(self.messages),
            "restarts": self.restarts,
        })
    }
}

/// Something, or a dash: what is busy is to be seen among what is not.
fn some(value: f64, text: String) -> Cell {
    Cell::from(match value {
        0.05.. => text,
        _ => "-".to_owned(),
    })
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no server is known: srtctl add registers one\n".to_owned();
    }
    let mut table = Table::new([
        "NAME", "STATE", "CPU%", "MEM", "PROCS", "SESSIONS", "FLOWS", "MSG/S", "RESTARTS",
    ])
    .sparing(&["RESTARTS", "PROCS", "STATE"]);
    for row in rows {
        let count = |number: u32| some(number.into(), number.to_string());
        table.row([
            (&row.name).into(),
            super::list::state(&row.state),
            some(row.cpu_percent, format!("{:.1}", row.cpu_percent)),
            some(row.memory as f64, time::size(row.memory)),
            count(row.processes),
            count(row.sessions),
            count(row.flows),
            some(row.messages, format!("{:.1}", row.messages)),
            count(row.restarts),
        ]);
    }
    table.render()
}

/// The table with what it comes to above, and the keys.
fn live(rows: &[Row], order: Order, keys: bool) -> String {
    let running = rows.iter().filter(|row| row.state == "running").count();
    let cpu: f64 = rows.iter().map(|row| row.cpu_percent).sum();
    let memory: u64 = rows.iter().map(|row| row.memory).sum();
    let first = format!(
        "{running} of {} servers running, {cpu:.1} % of a CPU, {}, by {}",
        rows.len(),
        time::size(memory),
        order.name()
    );
    let first = terminal::Stream::Stdout.paint(terminal::STRONG, &first);
    let how = match keys {
        true => "sort by: c CPU, m memory, s messages, f flows, n name; q ends",
        false => "Ctrl-C ends",
    };
    format!("{first}\n{how}\n\n{}", table(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(id: &str, age: f64, cpu: f64, messages: u64) -> LaunchUsage {
        LaunchUsage {
            launch: id.into(),
            age_seconds: age,
            cpu_seconds: cpu,
            memory_bytes: 1 << 20,
            processes: 2,
            flows: 1,
            messages_in: messages,
            messages_out: messages,
        }
    }

    fn server(name: &str, launches: Vec<LaunchUsage>) -> ServerUsage {
        ServerUsage {
            name: name.into(),
            state: match launches.is_empty() {
                true => "stopped".into(),
                false => "running".into(),
            },
            sessions: 1,
            restarts: 3,
            launches,
        }
    }

    #[test]
    fn rates_are_those_since_the_last_look_and_an_end_makes_none_negative() {
        let mut rates = Rates::default();
        let start = Instant::now();
        let both = vec![launch("a", 10.0, 5.0, 50), launch("b", 10.0, 1.0, 0)];
        let first = rates.of(vec![server("git", both)], start);
        assert_eq!((first[0].cpu_percent, first[0].messages), (60.0, 10.0));
        assert_eq!((first[0].processes, first[0].flows), (4, 2));
        let later = vec![launch("a", 12.0, 6.0, 60), launch("c", 0.5, 0.5, 1)];
        let second = rates.of(vec![server("git", later)], start + Duration::from_secs(2));
        // Of "a" half a CPU and 10 messages a second, of "c" a whole one and 4; "b" is gone.
        assert_eq!((second[0].cpu_percent, second[0].messages), (150.0, 14.0));
        let none = rates.of(vec![server("git", vec![])], start + Duration::from_secs(3));
        assert_eq!((none[0].cpu_percent, none[0].memory), (0.0, 0));
    }

    #[test]
    fn the_busiest_come_first_and_a_line_fits_80_columns() {
        let mut rates = Rates::default();
        let mut rows = rates.of(
            vec![
                server("idle", vec![]),
                server(
                    "modelcontextprotocol-server",
                    vec![launch("a", 10.0, 5.0, 6_000)],
                ),
                server("git", vec![launch("b", 10.0, 50.0, 0)]),
            ],
            Instant::now(),
        );
        let names = |rows: &[Row]| rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>();
        sort(&mut rows, Order::Messages);
        assert_eq!(names(&rows)[0], "modelcontextprotocol-server");
        sort(&mut rows, Order::Name);
        assert_eq!(names(&rows)[0], "git");
        sort(&mut rows, Order::Cpu);
        assert_eq!(names(&rows)[0], "git");
        assert_eq!(rows[0].json()["cpu_percent"], 500.0);
        let text = table(&rows);
        assert_eq!(
            text,
            "NAME                         STATE    CPU%   MEM      PROCS  SESSIONS  FLOWS  MSG/S   RESTARTS\n\
             git                          running  500.0  1.0 MiB  2      1         1      -       3\n\
             modelcontextprotocol-server  running  50.0   1.0 MiB  2      1         1      1200.0  3\n\
             idle                         stopped  -      -        -      1         -      -       3\n"
        );
        let text = live(&rows, Order::Cpu, true);
        assert!(
            text.starts_with(
                "2 of 3 servers running, 550.0 % of a CPU, 2.0 MiB, by CPU\nsort by: "
            )
        );
        assert_eq!(table(&[]), "no server is known: srtctl add registers one\n");
    }
}
