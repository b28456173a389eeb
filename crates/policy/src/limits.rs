//! Limits on a launch, what follows its end, and how documents write amounts.

use std::collections::BTreeMap;
use std::fmt;

use crate::Origin;

/// Limits on a launch, and how it is supervised. What is `None` is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `runtime.maxFileDescriptors`: RLIMIT_NOFILE, at least 1.
    pub max_file_descriptors: Option<u64>,
    /// `runtime.maxProcesses`: processes and threads at one time, at least 1.
    pub max_processes: Option<u64>,
    /// `runtime.memoryMax`, in bytes, at least 1.
    pub memory_max: Option<u64>,
    /// `runtime.cpuQuota`.
    pub cpu_quota: Option<CpuQuota>,
    /// `runtime.maxFileSize`: RLIMIT_FSIZE, in bytes, at least 1.
    pub max_file_size: Option<u64>,
    /// `runtime.timeoutSeconds`: how long a server may take until it is ready, in seconds, at least 1. It may be
    /// larger than any clock can add: use a checked addition.
    pub timeout_seconds: Option<u64>,
    /// `runtime.restart`: whether another launch follows one that ended.
    pub restart: Restart,
    /// `runtime.healthTimeoutSeconds`: how long a server may take to answer when it is asked whether it is still there, in
    /// seconds; none or 0: it is not asked.
    pub health_timeout: Option<u64>,
    /// `runtime.warm`: so many launches that nobody has spoken to are kept ready, at most [`Limits::MOST_WARM`].
    pub warm: Option<u64>,
    /// Whether a limit that this host cannot enforce is left out with a note, in place of an error
    /// (`"limits": "best-effort"`).
    pub best_effort: bool,
    /// Where each limit that is set is written, by its dotted key (`runtime.memoryMax`).
    pub origins: BTreeMap<&'static str, Origin>,
}

/// Whether another launch follows one that ended by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// None does.
    Never,
    /// One does after a failure: another status than 0, a signal, no answer, or an end with requests under way.
    #[default]
    OnFailure,
    /// One does after every end.
    Always,
}

impl Restart {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::Never, Self::OnFailure, Self::Always];

    /// As a document writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        }
    }

    /// Reads it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|restart| restart.as_str() == text)
    }
}

impl Limits {
    /// The most that `runtime.warm` may be: each of them is a process that does nothing yet.
    pub const MOST_WARM: u64 = 8;

    /// Each limit that is set: dotted key, value as a document would write it, place.
    pub fn lines(&self) -> Vec<(&'static str, String, &Origin)> {
        let number = |amount: Option<u64>| amount.map(|amount| amount.to_string());
        let all = [
            (
                "runtime.maxFileDescriptors",
                number(self.max_file_descriptors),
            ),
            ("runtime.maxProcesses", number(self.max_processes)),
            ("runtime.memoryMax", number(self.memory_max)),
            (
                "runtime.cpuQuota",
                self.cpu_quota.map(|quota| quota.to_string()),
            ),
            ("runtime.maxFileSize", number(self.max_file_size)),
            ("runtime.timeoutSeconds", number(self.timeout_seconds)),
            ("runtime.restart", Some(self.restart.as_str().to_owned())),
            ("runtime.healthTimeoutSeconds", number(self.health_timeout)),
            ("runtime.warm", number(self.warm)),
            (
                "runtime.limits",
                self.best_effort.then(|| "best-effort".to_owned()),
            ),
        ];
        all.into_iter()
            .filter_map(|(key, value)| Some((key, value?, self.origins.get(key)?)))
            .collect()
    }
}

/// A share of the machine's CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuQuota {
    /// In percent of one CPU, from 1: 200 is two CPUs.
    pub percent: u32,
}

impl fmt::Display for CpuQuota {
    /// As a document writes it: `50%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent)
    }
}

/// No machine has more: 4096 CPUs, in percent of one.
const MOST_PERCENT: u32 = 409_600;

impl CpuQuota {
    /// Reads `50%`.
    ///
    /// # Errors
    /// What would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const HINT: &str =
            "write whole percents of one CPU, such as \"50%\", or \"200%\" for two CPUs";
        text.strip_suffix('%')
            .filter(|digits| is_number(digits))
            .and_then(|digits| digits.parse().ok())
            .filter(|percent| (1..=MOST_PERCENT).contains(percent))
            .map(|percent| Self { percent })
            .ok_or(HINT)
    }
}

/// Reads an amount of bytes: `1048576`, `512K`, `512M`, `2G`, `1T`, with or without `iB`. The letters stand for powers
/// of 1024, as in systemd.resource-control(5).
///
/// # Errors
/// What would be right.
pub(crate) fn bytes(text: &str) -> Result<u64, &'static str> {
    const HINT: &str = "write bytes, from 1, such as 536870912, or \"512M\", \"2G\", \"512MiB\" (K, M, G and T are powers of 1024)";
    let lower = text.to_ascii_lowercase();
    let short = lower.strip_suffix("ib").unwrap_or(&lower);
    let (digits, power) = match short.as_bytes().last() {
        Some(b'k') => (&short[..short.len() - 1], 10),
        Some(b'm') => (&short[..short.len() - 1], 20),
        Some(b'g') => (&short[..short.len() - 1], 30),
        Some(b't') => (&short[..short.len() - 1], 40),
        // "5ib" is no amount.
        _ if short.len() != lower.len() => return Err(HINT),
        _ => (short, 0),
    };
    if !is_number(digits) {
        return Err(HINT);
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << power))
        .filter(|amount| *amount > 0)
        .ok_or(HINT)
}

/// Whether text is decimal digits and nothing else: `parse` would take a sign, too.
pub(crate) fn is_number(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_bytes() {
        #[track_caller]
        fn check(text: &str, expected: Option<u64>) {
            assert_eq!(bytes(text).ok(), expected, "{text}");
        }
        check("1", Some(1));
        check("4096", Some(4096));
        check("512K", Some(512 << 10));
        check("512m", Some(512 << 20));
        check("512MiB", Some(512 << 20));
        check("2G", Some(2 << 30));
        check("1T", Some(1 << 40));
        check("0", None);
        check("0G", None);
        check("", None);
        check("M", None);
        check("iB", None);
        check("5iB", None);
        check("5MB", None);
        check("-1", None);
        check("+1", None);
        check("1.5G", None);
        check(" 1G", None);
        check("1 G", None);
        check("99999999999G", None);
        check("18446744073709551616", None);
        check("é", None);
        check("1é", None);
    }

    #[test]
    fn shares_of_a_cpu() {
        #[track_caller]
        fn check(text: &str, expected: Option<u32>) {
            let parsed = CpuQuota::parse(text);
            assert_eq!(parsed.ok().map(|quota| quota.percent), expected, "{text}");
            if let Ok(quota) = parsed {
                assert_eq!(quota.to_string(), text);
            }
        }
        check("50%", Some(50));
        check("200%", Some(200));
        check("1%", Some(1));
        check("409600%", Some(409_600));
        check("409601%", None);
        check("0%", None);
        check("50", None);
        check("%", None);
        check("12.5%", None);
        check("-5%", None);
        check("+5%", None);
        check("50 %", None);
        check("99999999999%", None);
    }
}
