//! Real forms of tokens with made-up contents, put together here so that no text of this file looks like a secret.

use super::*;
use crate::audit::Kind;
use jiff::Timestamp;

const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const WORD: &str = "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5zA7bC9dE1fG3hI5jK7lM9nO1pQ3r";
const UPPER: &str = "QWERTYUIOPASDFGHJKLZXCVBNM234567QWERTYUIOPASDFGHJKLZXCVBNM234567";

/// A token of each service in its full form.
fn tokens() -> Vec<(&'static str, String)> {
    let word = |prefix: &str, length: usize| format!("{prefix}{}", &WORD[..length]);
    let hex = |prefix: &str, length: usize| format!("{prefix}{}", &HEX[..length]);
    let upper = |prefix: &str, length: usize| format!("{prefix}{}", &UPPER[..length]);
    let part = |text: &str| format!("eyJ{text}");
    vec![
        ("GitHub", word("ghp_", 36)),
        ("GitHub app", word("ghs_", 36)),
        ("GitHub user to server", word("ghu_", 36)),
        ("GitHub OAuth", word("gho_", 36)),
        ("GitHub refresh", word("ghr_", 60)),
        (
            "GitHub fine",
            format!("github_pat_{}_{}", &WORD[..22], &WORD[..59]),
        ),
        ("GitLab", word("glpat-", 20)),
        (
            "GitLab routable",
            format!("glpat-{}.01.{}", &WORD[..27], &HEX[..9]),
        ),
        ("GitLab deploy", word("gldt-", 20)),
        ("GitLab runner", word("glrt-", 20)),
        ("GitLab registration", word("GR1348941", 20)),
        ("AWS key id", upper("AKIA", 16)),
        ("AWS session id", upper("ASIA", 16)),
        (
            "Slack bot",
            format!(
                "xoxb-{}-{}-{}",
                "123456789012",
                "1234567890123",
                &WORD[..24]
            ),
        ),
        (
            "Slack user",
            format!("xoxp-{}-{}", "123456789012", &HEX[..32]),
        ),
        ("Slack rotated", format!("xoxe.xoxb-1-{}", &WORD[..60])),
        (
            "Slack app",
            format!("xapp-1-A{}-{}-{HEX}", "012345678", "1234567890123"),
        ),
        ("Stripe", word("sk_live_", 24)),
        ("Stripe restricted", word("rk_test_", 24)),
        ("Stripe webhook", word("whsec_", 32)),
        ("Google API", word("AIza", 35)),
        ("Google access", word("ya29.", 60)),
        ("Google client", word("GOCSPX-", 28)),
        ("Google refresh", word("1//0", 60)),
        ("OpenAI project", word("sk-proj-", 60)),
        ("OpenAI service", word("sk-svcacct-", 60)),
        ("OpenAI old", word("sk-", 48)),
        ("Anthropic", word("sk-ant-api03-", 60)),
        ("Anthropic OAuth", word("sk-ant-oat01-", 60)),
        ("OpenRouter", hex("sk-or-v1-", 64)),
        ("Hugging Face", word("hf_", 34)),
        ("Groq", word("gsk_", 52)),
        ("npm", word("npm_", 36)),
        ("PyPI", word("pypi-AgEIcHlwaS5vcmcC", 60)),
        ("RubyGems", hex("rubygems_", 48)),
        ("Docker", word("dckr_pat_", 27)),
        ("SendGrid", format!("SG.{}.{}", &WORD[..22], &WORD[..43])),
        ("DigitalOcean", hex("dop_v1_", 64)),
        ("Shopify", hex("shpat_", 32)),
        ("Databricks", hex("dapi", 32)),
        ("Doppler", word("dp.pt.", 43)),
        ("Linear", word("lin_api_", 40)),
        ("Notion", word("ntn_", 46)),
        ("Supabase", hex("sbp_", 40)),
        ("Vault", word("hvs.", 60)),
        ("Atlassian", word("ATATT3", 60)),
        ("Figma", word("figd_", 40)),
        ("Postman", format!("PMAK-{}-{}", &HEX[..24], &HEX[..34])),
        ("New Relic", upper("NRAK-", 27)),
        ("Grafana", word("glsa_", 41)),
        (
            "Tailscale",
            format!("tskey-auth-{}-{}", &WORD[..16], &WORD[..32]),
        ),
        ("Terraform", format!("{}.atlasv1.{WORD}", &WORD[..14])),
        ("age", upper("AGE-SECRET-KEY-1", 58)),
        ("Telegram", format!("1234567890:AA{}", &WORD[..33])),
        ("Azure", format!("aB~7Q~{}", &WORD[..34])),
        (
            "JWT",
            format!(
                "{}.{}.{}",
                part("hbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"),
                part(&WORD[..40]),
                &WORD[..43]
            ),
        ),
        (
            "PEM",
            format!(
                "-----BEGIN {0} PRIVATE KEY-----\nMIIEow{WORD}\n{WORD}\n-----END {0} PRIVATE KEY-----",
                "RSA"
            ),
        ),
        (
            "OpenSSH on one line",
            format!(
                "-----BEGIN {0} PRIVATE KEY-----\\nb3BlbnNz{WORD}\\n-----END {0} PRIVATE KEY-----",
                "OPENSSH"
            ),
        ),
        (
            "PGP, cut",
            format!(
                "-----BEGIN PGP {0} BLOCK-----\n\nlQdGB{WORD}",
                "PRIVATE KEY"
            ),
        ),
    ]
}

fn clean(whole: &str) -> String {
    text(whole).unwrap_or_else(|| whole.to_owned())
}

/// No run of twelve characters of a token's secret part may be left.
#[track_caller]
fn gone(token: &str, from: &str, what: &str) {
    let left = token.as_bytes().windows(12).skip(14).find(|run| {
        let run = std::str::from_utf8(run).unwrap();
        from.contains(run)
    });
    let tail: String = token.chars().rev().take(8).collect();
    let tail: String = tail.chars().rev().collect();
    assert!(
        left.is_none() && !from.contains(&tail),
        "{what}: {token} in {from}"
    );
}

#[test]
fn tokens_are_known_by_their_form_wherever_they_stand() {
    for (whose, token) in tokens() {
        let texts = [
            token.clone(),
            format!("before {token} after"),
            format!("https://x.example/a?b={token}&c=d"),
            format!("{{\"a\":\"{token}\",\"b\":1}}"),
            format!("{{\\\"a\\\":\\\"{token}\\\"}}"),
            format!("x%3D{token}"),
            format!("{token}.exfiltrated.example:443"),
        ];
        for whole in texts {
            let clean = clean(&whole);
            gone(&token, &clean, whose);
            assert!(clean.contains(MARK), "{whose}: {clean}");
        }
        // A text that was cut within the token.
        if token.len() > 45 {
            let cut: String = token.chars().take(40).collect();
            let clean = clean(&cut);
            assert!(!clean.contains(&cut), "{whose}: {clean}");
        }
    }
}

#[test]
fn what_stands_around_a_token_stays() {
    let token = format!("ghp_{}", &WORD[..36]);
    assert_eq!(
        clean(&format!(
            "git clone https://x:{token}@github.com/a/b.git into /srv/b"
        )),
        "git clone https://x:[redacted]@github.com/a/b.git into /srv/b"
    );
    assert_eq!(
        clean(&format!("{token}, {token}")),
        "[redacted], [redacted]"
    );
}

#[test]
fn a_name_gives_its_value_away() {
    let table = [
        ("--password hunter2", "--password [redacted]"),
        (
            "mysql --password=hunter2 -h db",
            "mysql --password=[redacted] -h db",
        ),
        (
            "--db-password 'two words' x",
            "--db-password '[redacted]' x",
        ),
        ("PGPASSWORD=x psql", "PGPASSWORD=[redacted] psql"),
        (
            "--api-key abcdef --verbose",
            "--api-key [redacted] --verbose",
        ),
        ("--token 123456789012", "--token [redacted]"),
        (
            "AWS_SECRET_ACCESS_KEY=wJalr/K7+x",
            "AWS_SECRET_ACCESS_KEY=[redacted]",
        ),
        (
            "aws_session_token = FwoGZX",
            "aws_session_token = [redacted]",
        ),
        (
            "{\"password\":\"a\\\"b\",\"c\":1}",
            "{\"password\":\"[redacted]\",\"c\":1}",
        ),
        (
            "{\"client_secret\": \"x\"}",
            "{\"client_secret\": \"[redacted]\"}",
        ),
        (
            "{\\\"token\\\":\\\"q\\\\\\\"w\\\",\\\"c\\\":1}",
            "{\\\"token\\\":\\\"[redacted]\\\",\\\"c\\\":1}",
        ),
        ("{\"password\":\"cut he", "{\"password\":\"[redacted]"),
        ("{\"auth\": \"dXNlcjpwYXNz\"}", "{\"auth\": \"[redacted]\"}"),
        (
            "//registry.example/:_authToken=abc",
            "//registry.example/:_authToken=[redacted]",
        ),
        ("password: hunter2", "password: [redacted]"),
        ("apiKey: a1b2c3d4", "apiKey: [redacted]"),
        ("password%3Dhunter2", "password%3D[redacted]"),
        ("Authorization: Bearer abc", "Authorization: [redacted]"),
        (
            "Authorization: Basic dTpw and more",
            "Authorization: [redacted] and more",
        ),
        (
            "authorization: AWS4-HMAC-SHA256 Credential=A/b, Signature=c",
            "authorization: [redacted]",
        ),
        (
            "{\"Authorization\":\"Bearer x\"}",
            "{\"Authorization\":\"[redacted]\"}",
        ),
        (
            "Cookie: a=b; c=d\nAccept: */*",
            "Cookie: [redacted]\nAccept: */*",
        ),
        ("sent Bearer 0123456789abcdef-x", "sent Bearer [redacted]"),
        (
            "curl -u ada:pw https://x.example",
            "curl -u ada:[redacted] https://x.example",
        ),
        (
            "https://ada:pw@x.example/p",
            "https://ada:[redacted]@x.example/p",
        ),
        (
            "postgres://ada:p@ss#w?@db:5432/x",
            "postgres://ada:[redacted]@db:5432/x",
        ),
        ("redis://:pw@cache:6379", "redis://:[redacted]@cache:6379"),
        (
            "https://0123456789abcdef0123@x.example",
            "https://[redacted]@x.example",
        ),
        ("/v1?key=abc&q=cats", "/v1?key=[redacted]&q=cats"),
        (
            "/b?X-Amz-Credential=A&X-Amz-Signature=f00&x=1",
            "/b?X-Amz-Credential=[redacted]&X-Amz-Signature=[redacted]&x=1",
        ),
        (
            "POST hooks.slack.com/services/T0/B0/xyz",
            "POST hooks.slack.com/services/[redacted]",
        ),
    ];
    for (whole, expected) in table {
        assert_eq!(clean(whole), expected, "{whole}");
        assert_eq!(clean(expected), expected, "a second time");
    }
}

#[test]
fn what_the_log_is_asked_about_stays() {
    let uuid = "0198c0de-4c1e-7f2a-9b7c-3a5d1e2f4b6c";
    let kept = [
        HEX,
        &HEX[..40],
        &HEX[..32],
        uuid,
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "/home/ada/.aws/credentials",
        "/home/ada/.aws/credentials: it is closed",
        "/home/ada/project/node_modules/@scope/password-prompt/token.js",
        "/nix/store/9f86d081884c7d659a2feaa0c55ad015-python3-3.12",
        "api.github.com:443",
        "task-0123456789abcdef0123456789abcdef",
        "git@github.com:ada/x.git",
        "ssh://git@github.com/ada/x.git",
        "npx -y @modelcontextprotocol/server-filesystem /srv",
        "add \"GITHUB_TOKEN\" to environment.pass",
        "{\"names\":[\"API_TOKEN\",\"DB_PASSWORD\"]}",
        "max_tokens=4096",
        "\"max_token\": 4096",
        "unexpected token: comma",
        "the tool's token is wrong",
        "no password was asked for",
        "password=$PASSWORD",
        "--password ${PASSWORD} --x",
        "--token-file /run/secrets/token",
        "docker run -u 1000:1000 x",
        "no network.allowedDomains rule allows it",
        "\"password\": null, \"token\": false, \"secret\": \"\"",
        "id=ENG-1234 key=network.deniedDomains line=3",
        "author: ada, authority: none",
        "Bearer authentication",
        "2026-11-20T12:00:00.123Z",
        "100% ä → 日本語 \u{1f600}",
        "",
    ];
    for whole in kept {
        assert_eq!(text(whole), None, "{whole}");
    }
}

#[test]
fn a_command_is_read_word_by_word() {
    let check = |words: &[&str], expected: &[&str]| {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(command(&words), expected, "{words:?}");
    };
    check(
        &["s", "--password", "two words", "x"],
        &["s", "--password", "[redacted]", "x"],
    );
    check(
        &["s", "--password=two words & more"],
        &["s", "--password=[redacted]"],
    );
    check(
        &["s", "--password", "--verbose"],
        &["s", "--password", "--verbose"],
    );
    check(&["s", "--token", "$TOKEN"], &["s", "--token", "$TOKEN"]);
    check(&["s", "--max-token", "4096"], &["s", "--max-token", "4096"]);
    check(
        &["s", "--password", "4096"],
        &["s", "--password", "[redacted]"],
    );
    check(
        &["env", "DB_PASSWORD=a b", "s"],
        &["env", "DB_PASSWORD=[redacted]", "s"],
    );
    check(
        &["curl", "-H", "X-Api-Key: a b"],
        &["curl", "-H", "X-Api-Key: [redacted]"],
    );
    check(
        &["curl", "-u", "ada:p w"],
        &["curl", "-u", "ada:[redacted]"],
    );
    check(
        &["docker", "-u", "1000:1000"],
        &["docker", "-u", "1000:1000"],
    );
    check(
        &["s", "--dsn", "pg://a:b@h/d"],
        &["s", "--dsn", "pg://a:[redacted]@h/d"],
    );
    check(&["s", "[redacted]"], &["s", "[redacted]"]);
}

fn entry(subject: &str, detail: Value) -> Entry {
    let mut entry = Entry::new(Timestamp::UNIX_EPOCH, Kind::Start, subject).server("s");
    entry.detail = detail.as_object().cloned().unwrap();
    entry
}

#[test]
fn an_entry_is_clean_throughout() {
    let command = serde_json::json!(["s", "--password", "two words", "/x"]);
    let clean = Redacted::of(entry(
        "s --password two words /x",
        serde_json::json!({
            "command": command,
            "nested": { "api_key": "k", "list": [{ "password": 12, "left": 12, "on": true }] },
            "params": "{\"arguments\":{\"token\":\"abc\"}}",
        }),
    ));
    assert_eq!(clean.subject, "s --password [redacted] /x");
    assert_eq!(
        Value::Object(clean.detail.clone()),
        serde_json::json!({
            "command": ["s", "--password", "[redacted]", "/x"],
            "nested": { "api_key": "[redacted]", "list": [{ "password": "[redacted]", "left": 12, "on": true }] },
            "params": "{\"arguments\":{\"token\":\"[redacted]\"}}",
        })
    );
    assert_eq!(Redacted::of((*clean).clone()), clean);
    assert_eq!(clean.server.as_deref(), Some("s"));
}

/// Numbers without a pattern, the same ones each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }
}

/// Texts put together of everything that the rules look at, with a token somewhere: the token goes, a second time
/// changes nothing, and no text is taken apart within a character.
#[test]
fn no_surrounding_keeps_a_token_in() {
    const BITS: [&str; 34] = [
        "password",
        "token",
        "secret",
        "api_key",
        "Authorization",
        "Cookie",
        "Bearer ",
        "auth",
        "-u ",
        "--user=",
        "://",
        "@",
        ":",
        "=",
        " ",
        "\n",
        "\"",
        "\\\"",
        "\\\\\\\"",
        "'",
        "\\",
        "&",
        "?key=",
        ";",
        "{",
        "}",
        "%3D",
        "$",
        "--",
        "ä",
        "日",
        "a",
        "7",
        MARK,
    ];
    let tokens: Vec<_> = tokens()
        .into_iter()
        // Those that a letter before them turns into something else have their place in the table above.
        .filter(|(whose, _)| !["OpenAI old", "Telegram", "Azure", "Terraform"].contains(whose))
        .collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..20_000 {
        let (whose, token) = &tokens[dice.below(tokens.len())];
        let mut whole = String::new();
        for _ in 0..dice.below(12) {
            whole += BITS[dice.below(BITS.len())];
        }
        whole += token;
        // What a token's own characters follow is more token.
        whole += " ";
        for _ in 0..dice.below(12) {
            whole += BITS[dice.below(BITS.len())];
        }
        let once = clean(&whole);
        gone(token, &once, &format!("{whose}, round {round}: {whole:?}"));
        let twice = clean(&once);
        gone(token, &twice, whose);
        for word in [&whole, &once] {
            command(&["--password".to_owned(), word.clone(), word.clone()]);
        }
    }
}
