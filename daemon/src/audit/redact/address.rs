//! Secrets that stand where an address has room for one: `scheme://user:secret@host`, `?key=secret`.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// A password after a user's name; a long name without a password, which is what a token there looks like; and members
/// of a query that are secrets though their names say less than `named` asks for.
const PATTERN: &str = concat!(
    r#"://[^/\s:@"'<>\\]*:(?P<password>[^/\s"'<>\\]+)@"#,
    r#"|https?://(?P<user>[^/\s:@"'<>\\]{16,})@"#,
    r#"|[?&;](?i:key|sig|sign|code|auth|pass|pw|jwt|sas|sid|x-amz-credential)=(?P<member>[^&\s"'<>\\#]+)"#,
);

static ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(PATTERN).expect("it is constant, and a test compiles it"));

/// Where such secrets stand in `text`.
pub(super) fn find(text: &str, spans: &mut Vec<Range<usize>>) {
    let found = ADDRESS.captures_iter(text);
    spans.extend(found.filter_map(|found| Some(found.iter().skip(1).flatten().next()?.range())));
}
