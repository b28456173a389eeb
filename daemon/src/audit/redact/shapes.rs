//! Secrets that are known by their own form: the tokens of services, signed tokens, private keys.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// Whose tokens look how. Lengths are less than those of real ones, because a text may be cut within a token: most of it
/// is as good as all of it. Each begins with letters that nothing else begins with, which is also what makes looking
/// for all of them at once quick.
pub(super) const SHAPES: [(&str, &str); 43] = [
    ("GitHub", r"gh[pousr]_[A-Za-z0-9_]{16,}"),
    ("GitHub, fine-grained", r"github_pat_[A-Za-z0-9_]{16,}"),
    (
        "GitLab",
        r"gl(?:pat|oas|dt|rtr|rt|cbt|ptt|ft|imt|agent|soat|ffct|wt)-[A-Za-z0-9_.-]{16,}",
    ),
    (
        "GitLab, runner registration",
        r"GR1348941[A-Za-z0-9_-]{16,}",
    ),
    ("AWS, access key id", r"A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{12,}"),
    ("Slack", r"xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10,}"),
    ("Slack, app", r"xapp-[0-9]-[A-Za-z0-9-]{10,}"),
    ("Stripe", r"[srp]k_(?:live|test)_[A-Za-z0-9]{10,}"),
    ("Stripe, webhook", r"whsec_[A-Za-z0-9+/=]{16,}"),
    ("Google, API key", r"AIza[A-Za-z0-9_-]{24,}"),
    ("Google, access token", r"ya29\.[A-Za-z0-9_.-]{16,}"),
    ("Google, client secret", r"GOCSPX-[A-Za-z0-9_-]{16,}"),
    ("Google, refresh token", r"1//0[A-Za-z0-9_-]{24,}"),
    (
        "OpenAI, Anthropic, OpenRouter",
        r"sk-(?:proj|svcacct|admin|ant|or|lf)-[A-Za-z0-9_-]{16,}",
    ),
    ("Hugging Face", r"hf_[A-Za-z0-9]{24,}"),
    ("Groq", r"gsk_[A-Za-z0-9]{24,}"),
    ("xAI", r"xai-[A-Za-z0-9]{32,}"),
    ("Perplexity", r"pplx-[A-Za-z0-9]{24,}"),
    ("Replicate", r"r8_[A-Za-z0-9]{24,}"),
    ("npm", r"npm_[A-Za-z0-9]{20,}"),
    ("PyPI", r"pypi-Ag[A-Za-z0-9_-]{24,}"),
    ("RubyGems", r"rubygems_[a-f0-9]{24,}"),
    ("Docker", r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{16,}"),
    ("SendGrid", r"SG\.[A-Za-z0-9_-]{16,}(?:\.[A-Za-z0-9_-]*)?"),
    ("DigitalOcean", r"do[opr]_v1_[a-f0-9]{24,}"),
    ("Shopify", r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{20,}"),
    ("Databricks", r"dapi[a-f0-9]{30,}"),
    (
        "Doppler",
        r"dp\.(?:pt|st|sa|ct|scim|audit)\.[A-Za-z0-9_.-]{24,}",
    ),
    ("Linear", r"lin_(?:api|oauth)_[A-Za-z0-9]{20,}"),
    ("Notion", r"(?:ntn|secret)_[A-Za-z0-9]{30,}"),
    ("Supabase", r"sb(?:p|_secret)_[A-Za-z0-9_-]{20,}"),
    ("HashiCorp Vault", r"hv[sbr]\.[A-Za-z0-9_-]{20,}"),
    ("Atlassian", r"ATATT3[A-Za-z0-9_=-]{24,}"),
    ("Figma", r"figd_[A-Za-z0-9_-]{20,}"),
    ("Postman", r"PMAK-[a-f0-9]{20,}-?[a-f0-9]*"),
    ("New Relic", r"NRAK-[A-Z0-9]{20,}"),
    ("Grafana", r"gl(?:c|sa)_[A-Za-z0-9+/=_]{24,}"),
    ("Tailscale", r"tskey-[a-z]+-[A-Za-z0-9-]{16,}"),
    ("Fly.io", r"fm[12][a-z]?_[A-Za-z0-9+/=_,-]{24,}"),
    ("age", r"AGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    (
        "signed or encrypted token (JWT)",
        r"eyJ[A-Za-z0-9_-]{16,}(?:\.[A-Za-z0-9_-]*){0,4}",
    ),
    (
        "private key (PEM)",
        // Up to its end, or to the end of the text where that is cut. What is between may be one line with \n written out.
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\z)",
    ),
    ("PuTTY key", r"Private-Lines: [0-9]+(?s:.*)"),
];

/// Secrets that are known by what stands around them; the group is the secret.
const WITHIN: [&str; 6] = [
    r"(?-u:\b|%[0-9A-Fa-f]{2})(?P<a>sk-[A-Za-z0-9]{32,})",
    r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<b>[A-Za-z0-9/_-]+)",
    r"discord(?:app)?\.com/api/webhooks/[0-9]+/(?P<c>[A-Za-z0-9_-]+)",
    r"[0-9]{8,10}:(?P<d>AA[A-Za-z0-9_-]{20,})",
    r"(?P<e>[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{30,})",
    r"(?P<f>[A-Za-z0-9]{4,}\.atlasv1\.[A-Za-z0-9_=-]{16,})",
];

static ALL: LazyLock<Regex> = LazyLock::new(|| {
    let patterns = SHAPES.map(|(_, pattern)| pattern);
    Regex::new(&patterns.join("|")).expect("the table is constant, and a test compiles it")
});
static PLACED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(&WITHIN.join("|")).expect("the table is constant, and a test compiles it")
});

/// Where such secrets stand in `text`.
pub(super) fn find(text: &str, spans: &mut Vec<Range<usize>>) {
    spans.extend(ALL.find_iter(text).map(|found| found.range()));
    let placed = PLACED.captures_iter(text);
    spans.extend(placed.filter_map(|found| Some(found.iter().skip(1).flatten().next()?.range())));
}
