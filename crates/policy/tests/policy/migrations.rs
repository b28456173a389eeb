//! Versions of the format: each is read, and an older one can be rewritten as the newest without a loss.

use srt_policy::{NEWEST_VERSION, Source, migrate};

use crate::support::{SETTINGS, show, try_compile};

fn source(text: &str) -> Source {
    Source {
        path: SETTINGS.into(),
        text: text.to_owned(),
    }
}

fn migrated(text: &str) -> String {
    migrate(&source(text)).expect(text).text
}

/// What a document comes to, without where it is written.
fn meaning(text: &str) -> Vec<(&'static str, String)> {
    let compiled = try_compile(text).unwrap_or_else(|invalid| panic!("{invalid}: {text}"));
    let lines = compiled.policy.lines().into_iter();
    lines.map(|line| (line.key, line.value)).collect()
}

#[test]
fn each_version_has_its_keys_and_says_what_another_calls_them() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let shown = match try_compile(text) {
            Ok(compiled) => show(&compiled.warnings),
            Err(invalid) => show(&invalid.diagnostics),
        };
        assert_eq!(shown, expected, "{text}");
    }
    check(
        r#"{"runtime": {"healthTimeout": 5}, "limits": "best-effort"}"#,
        &[],
    );
    check(r#"{"version": 1, "runtime": {"healthTimeout": 5}}"#, &[]);
    check(
        r#"{"version": 2, "runtime": {"healthTimeoutSeconds": 5}}"#,
        &[],
    );
    check(
        r#"{"runtime": {"healthTimeoutSeconds": 5}}"#,
        &[
            "1:14 error: unknown key runtime.healthTimeoutSeconds | it is of version 2: write \"version\": 2 at the top of the file, or call it \"healthTimeout\"",
        ],
    );
    check(
        r#"{"version": 2, "runtime": {"healthTimeout": 5}, "limits": "best-effort", "ripgrep": {}}"#,
        &[
            "1:28 error: unknown key runtime.healthTimeout | since version 2 it is called \"healthTimeoutSeconds\"",
            "1:49 error: unknown key limits | since version 2 it belongs in \"runtime\"",
            "1:74 error: unknown key ripgrep | version 2 does not have it, since it means nothing here: remove it",
        ],
    );
    check(
        r#"{"version": 3, "nonsense": 1}"#,
        &[
            "1:13 error: this file is of version 3, and this program knows versions up to 2 | upgrade srtd, or write the file for an older version; docs/POLICY.md says what each version has",
        ],
    );
    for none in [
        "0",
        "-1",
        "1.5",
        "\"2\"",
        "true",
        "null",
        "{}",
        "99999999999999999999",
    ] {
        let invalid = try_compile(&format!(r#"{{"version": {none}}}"#)).expect_err(none);
        assert_eq!(
            show(&invalid.diagnostics),
            [
                "1:13 error: version must be 1 or 2 | write \"version\": 2, or remove the key for version 1"
            ],
            "{none}"
        );
    }
}

#[test]
fn an_old_file_is_rewritten_with_its_comments() {
    let old = include_str!("../../../../tests/fixtures/settings/version-1.json");
    let done = migrate(&source(old)).expect("an old file");
    assert_eq!(done.from, 1);
    assert_eq!(
        done.text,
        r#"// Every key that version 2 names otherwise, or has no more.
{
  "version": 2,
  // Found on the PATH anyway.
  // ours
  "network": { "allowedDomains": ["api.github.com:443"], "deniedDomains": [] },
  "filesystem": { "denyRead": ["~/.ssh"], "allowWrite": ["."], "denyWrite": [] },
  "runtime": {
    // Asked every so often.
    "healthTimeoutSeconds": 20,
    "memoryMax": "512M", /* enough */
    // This machine has no cgroups.
    "limits": "best-effort"
  }
}
"#
    );
    assert_eq!(
        done.changes,
        [
            "runtime.healthTimeout is called runtime.healthTimeoutSeconds",
            "limits is runtime.limits",
            "enableWeakerNestedSandbox is gone: it meant nothing here",
            "enableWeakerNetworkIsolation is gone: it meant nothing here",
            "mandatoryDenySearchDepth is gone: it meant nothing here",
            "bwrapPath is gone: it meant nothing here",
            "socatPath is gone: it meant nothing here",
            "ripgrep is gone: it meant nothing here",
            "seccomp is gone: it meant nothing here",
            "javaAgentJarPath is gone: it meant nothing here",
            "windows is gone: it meant nothing here",
            "\"version\" is 2",
        ]
    );
    let again = migrate(&source(&done.text)).expect("a new file");
    assert_eq!((again.text, again.from), (done.text, NEWEST_VERSION));
    assert!(again.changes.is_empty());
}

#[test]
fn what_stands_around_it_is_minded() {
    for (old, new) in [
        ("{}", "{ \"version\": 2 }\n"),
        ("{ \"version\": 1 }", "{ \"version\": 2 }\n"),
        (
            "{\n  \"$schema\": \"x\",\n  \"strict\": true\n}",
            "{\n  \"$schema\": \"x\",\n  \"version\": 2,\n  \"strict\": true\n}\n",
        ),
        (
            "{ \"limits\": \"best-effort\" }",
            "{ \"version\": 2, \"runtime\": { \"limits\": \"best-effort\" } }\n",
        ),
        // The key at the top has the last word in version 1.
        (
            "{ \"runtime\": { \"limits\": \"enforced\" }, \"limits\": \"best-effort\" }",
            "{ \"version\": 2, \"runtime\": { \"limits\": \"best-effort\" } }\n",
        ),
        // Names with escapes are the same names.
        (
            "{ \"r\\u0075ntime\": { \"healthTimeout\": 1 } }",
            "{ \"version\": 2, \"r\\u0075ntime\": { \"healthTimeoutSeconds\": 1 } }\n",
        ),
        // What has no version yet, and nothing else to change, is left alone but for its version.
        (
            "{ \"version\": 2,\n\"strict\":true }",
            "{ \"version\": 2,\n\"strict\":true }",
        ),
    ] {
        assert_eq!(migrated(old), new, "{old}");
        assert_eq!(meaning(old), meaning(new), "{old}");
    }
}

/// Documents drawn from members of version 1: rewritten they mean the same, in every order.
#[test]
fn a_rewritten_document_means_the_same() {
    const TOP: &[&str] = &[
        "\"limits\": \"best-effort\"",
        "\"bwrapPath\": \"/x\"",
        "\"windows\": {}",
        "\"mandatoryDenySearchDepth\": 4",
        "\"enableWeakerNestedSandbox\": true",
        "\"strict\": true",
        "\"network\": { \"allowedDomains\": [\"a.example.com\"] }",
        "// a comment\n\"filesystem\": { \"allowWrite\": [\".\"] }",
        "\"version\": 1",
    ];
    const RUNTIME: &[&str] = &[
        "\"healthTimeout\": 7",
        "\"limits\": \"enforced\"",
        "\"limits\": \"best-effort\"",
        "\"restart\": \"never\"",
        "\"memoryMax\": \"1G\"",
    ];
    // A linear congruential generator (Knuth's constants): the same documents in every run.
    let mut seed = 13_u64;
    let mut draw = move |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % below
    };
    for _ in 0..500 {
        let mut runtime: Vec<&str> = RUNTIME.iter().copied().filter(|_| draw(2) == 0).collect();
        // Of the two one may be given.
        if runtime
            .iter()
            .filter(|member| member.contains("limits"))
            .count()
            > 1
        {
            runtime.remove(0);
            runtime.retain(|member| !member.contains("enforced"));
        }
        let mut members: Vec<String> = (TOP.iter().filter(|_| draw(2) == 0))
            .map(|member| (*member).to_owned())
            .collect();
        if draw(2) == 0 {
            members.push(format!("\"runtime\": {{ {} }}", runtime.join(", ")));
        }
        for place in (1..members.len()).rev() {
            members.swap(place, draw(place + 1));
        }
        let old = format!("{{ {} }}", members.join(",\n "));
        assert_eq!(meaning(&migrated(&old)), meaning(&old), "{old}");
    }
}

/// Every settings file that users have, of whichever version, says the same in the newest.
#[test]
fn the_fixtures_mean_the_same_in_the_newest_version() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/settings");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("fixtures") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a fixture");
        assert_eq!(
            meaning(&migrated(&text)),
            meaning(&text),
            "{}",
            path.display()
        );
        seen += 1;
    }
    assert!(seen >= 5, "{seen} fixtures");
}
