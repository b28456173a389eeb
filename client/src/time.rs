//! Times and sizes as people write and read them.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// Reads `--since`: an RFC 3339 time, or how long ago (`2h`, `15m`, `3d`, `1h30m`). The answer is RFC 3339 in UTC.
///
/// # Errors
/// A sentence for the usage message.
pub fn since(text: &str, now: Timestamp) -> Result<String, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.to_string());
    }
    ago(text)
        .and_then(|ago| now.checked_sub(ago).ok())
        .map(|time| time.to_string())
        .ok_or_else(|| {
            "expected a time like 2026-11-20T08:00:00Z, or how long ago: 90s, 15m, 2h, 3d"
                .to_owned()
        })
}

/// Reads a length of time: `90s`, `10m`, `1h30m`, `2d`. In seconds.
pub fn seconds(text: &str) -> Option<u64> {
    let length = ago(text)?;
    u64::try_from(length.as_secs()).ok()
}

/// A sum of whole numbers with units. Days are 24 hours: the question is "how far back", not "which date".
fn ago(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut seconds: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let factor = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(factor)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then(|| SignedDuration::from_secs(seconds))
}

/// An RFC 3339 time in the reader's zone, to the second; anything else as it came.
pub fn local(text: &str, zone: &TimeZone) -> String {
    match text.parse::<Timestamp>() {
        Ok(time) => time
            .to_zoned(zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        Err(_) => text.to_owned(),
    }
}

/// `47s`, `3m12s`, `2h4m`, `5d3h`: the two largest units.
pub fn span(seconds: f64) -> String {
    // Saturates, and takes NaN for 0.
    let total = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (total / 86_400, total / 3600 % 24, total / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{total}s"),
        (0, 0, minutes) => format!("{minutes}m{}s", total % 60),
        (0, hours, minutes) => format!("{hours}h{minutes}m"),
        (days, hours, _) => format!("{days}d{hours}h"),
    }
}

/// `512 B`, `12.3 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be printed as "1024.0".
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_a_time_or_an_age() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let good = [
            ("2026-11-20T08:00:00Z", "2026-11-20T08:00:00Z"),
            ("2026-11-20T09:00:00+01:00", "2026-11-20T08:00:00Z"),
            ("2h", "2026-11-20T10:00:00Z"),
            ("15m", "2026-11-20T11:45:00Z"),
            ("3d", "2026-11-17T12:00:00Z"),
            ("1h30m", "2026-11-20T10:30:00Z"),
            ("0s", "2026-11-20T12:00:00Z"),
        ];
        for (text, expected) in good {
            assert_eq!(since(text, now).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "2",
            "h",
            "2y",
            "yesterday",
            "-2h",
            "99999999999999999999d",
            "9999999999999d",
            "2hé",
        ] {
            assert!(since(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_show_two_units() {
        let table = [
            (0.0, "0s"),
            (f64::NAN, "0s"),
            (-5.0, "0s"),
            (47.9, "47s"),
            (192.0, "3m12s"),
            (7440.0, "2h4m"),
            (442_800.0, "5d3h"),
        ];
        for (seconds, expected) in table {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn sizes_are_binary() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (12_897_485, "12.3 MiB"),
            (1_048_575, "1.0 MiB"),
            (u64::MAX, "16384.0 PiB"),
        ];
        for (bytes, expected) in table {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn times_are_shown_in_the_readers_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(
            local("2026-11-20T22:30:05.123Z", &zone),
            "2026-11-21 00:30:05"
        );
        assert_eq!(local("soon", &zone), "soon");
    }
}
