//! What the figures were measured on.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

/// A few lines for the head of the report; `disk` is a path on the disk that is written to.
pub(crate) fn describe(disk: &Path) -> String {
    let cores = available_parallelism().map_or_else(|_| "?".into(), |cores| cores.to_string());
    let cpu = value_of("/proc/cpuinfo", "model name");
    let memory = value_of("/proc/meminfo", "MemTotal");
    let memory = match memory.trim_end_matches(" kB").parse::<u64>() {
        Ok(kib) => format!("{} GiB", kib.div_ceil(1024 * 1024)),
        Err(_) => memory,
    };
    let kernel = first_line("/proc/sys/kernel/osrelease");
    let load = first_line("/proc/loadavg");
    let load: Vec<_> = load.split(' ').take(3).collect();
    let disk = file_system(disk);
    let build = if cfg!(debug_assertions) {
        "\n- **debug build: the figures mean nothing**, use --release"
    } else {
        ""
    };
    format!(
        "Measured on:\n\n\
         - {cores} cores, {cpu}, {memory}\n\
         - {os} {kernel}, database on {disk}\n\
         - load average before the run {load}{build}\n",
        os = std::env::consts::OS,
        load = load.join(" "),
    )
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn value_of(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map_or_else(
            || format!("{name} unknown"),
            |(_, value)| value.trim().to_owned(),
        )
}

/// The type of the file system that holds `path`.
fn file_system(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(place, _)| path.starts_with(place))
        // Of two mounts on one place the later one is seen.
        .max_by_key(|(place, _)| place.len())
        .map_or_else(
            || "an unknown file system".into(),
            |(_, kind)| kind.to_owned(),
        )
}
