//! A refusal in words, for the person or the model that meets it.

use std::fmt::Write as _;

use srt_policy::{Denial, HostError, Origin, RuleRef};

/// The body of a 403: what was refused, why, by which rule, and the line that would allow it.
pub fn refusal_text(denial: &Denial) -> String {
    let mut text = String::with_capacity(256);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "srt: blocked connection to {}", denial.subject);
    let _ = writeln!(text, "reason: {}", denial.reason);
    match &denial.rule {
        None => text.push_str("rule: (none)\n"),
        Some(RuleRef {
            key,
            pattern,
            origin: Origin::File { path, line, .. },
        }) => {
            let _ = writeln!(text, "rule: {key} {pattern:?} ({}:{line})", path.display());
        }
        Some(RuleRef {
            key,
            pattern,
            origin: Origin::BuiltIn(why),
        }) => {
            let _ = writeln!(text, "rule: {key} {pattern:?} ({why})");
        }
        Some(RuleRef {
            pattern,
            origin: Origin::Grant { id },
            ..
        }) => {
            let _ = writeln!(text, "rule: grant {id} {pattern:?}");
        }
    }
    match &denial.remedy {
        Some(line) => {
            let _ = writeln!(text, "hint: to allow it, add to the settings file: {line}");
        }
        None => text.push_str("hint: no line in the settings file would allow it\n"),
    }
    text
}

/// The refusal of something that is no host at all.
pub(crate) fn unreadable(error: &HostError) -> Denial {
    let why = format!("not a host name or address: {}", error.why);
    without_rule(error.text.clone(), why)
}

/// A refusal that no line of the settings decided, and none would lift.
pub(crate) fn without_rule(subject: impl Into<String>, why: impl Into<String>) -> Denial {
    Denial {
        generation: None,
        subject: subject.into(),
        reason: why.into(),
        rule: None,
        remedy: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(rule: Option<RuleRef>, remedy: Option<&str>) -> Denial {
        Denial {
            generation: None,
            subject: "api.stripe.com:443".into(),
            reason: "no rule in network.allowedDomains matches".into(),
            rule,
            remedy: remedy.map(Into::into),
        }
    }

    #[test]
    fn reads_as_promised() {
        let remedy = r#""network": { "allowedDomains": ["api.stripe.com:443"] }"#;
        assert_eq!(
            refusal_text(&denial(None, Some(remedy))),
            "srt: blocked connection to api.stripe.com:443\n\
             reason: no rule in network.allowedDomains matches\n\
             rule: (none)\n\
             hint: to allow it, add to the settings file: \"network\": { \"allowedDomains\": [\"api.stripe.com:443\"] }\n"
        );
        let rule = RuleRef {
            key: "network.deniedDomains".into(),
            pattern: "*.stripe.com".into(),
            origin: Origin::File {
                path: "/etc/s.json".into(),
                line: 7,
                column: 3,
            },
        };
        let text = refusal_text(&denial(Some(rule), None));
        assert!(
            text.contains("rule: network.deniedDomains \"*.stripe.com\" (/etc/s.json:7)\n"),
            "{text}"
        );
        assert!(
            text.ends_with("hint: no line in the settings file would allow it\n"),
            "{text}"
        );
    }
}
