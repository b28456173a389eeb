//! Whose names a wildcard covers, by the Public Suffix List (publicsuffix.org), which the `psl` crate carries.

/// How a base is one below which names belong to many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    /// Names are registered below it, as below `co.uk`.
    Registry,
    /// A company gives out names below it, as below `github.io`.
    Company,
}

/// Whether names right below `base`, which is in canonical form, belong to many. So they do where it is a public
/// suffix itself, and where each name below it is one (`*.compute.amazonaws.com` in the list).
pub(crate) fn shared(base: &str) -> Option<Shared> {
    // No rule of the list names this label, so that it stands for any.
    let any = format!("any-name-at-all.{base}");
    of_suffix(base).or_else(|| of_suffix(&any))
}

/// A name with the top-level domain that its own, which does not exist, is one letter away from: `api.example.con`
/// is meant to be `api.example.com`. Domains of a network's own (`.internal`, `.corp`) are none of the list either,
/// so a letter more than one is no likeness.
pub(crate) fn corrected(name: &str) -> Option<String> {
    const USUAL: [&str; 10] = [
        "com", "org", "net", "dev", "app", "edu", "gov", "info", "cloud", "online",
    ];
    let (front, last) = name.rsplit_once('.')?;
    if psl::suffix(last.as_bytes()).is_some_and(|suffix| suffix.is_known()) {
        return None;
    }
    let near = USUAL
        .iter()
        .find(|usual| strsim::osa_distance(last, usual) == 1)?;
    Some(format!("{front}.{near}"))
}

fn of_suffix(name: &str) -> Option<Shared> {
    let suffix = psl::suffix(name.as_bytes())?;
    // A name outside of the list has its last label for a suffix; such bases are refused before.
    if !suffix.is_known() || suffix.as_bytes() != name.as_bytes() {
        return None;
    }
    Some(match suffix.typ()? {
        psl::Type::Icann => Shared::Registry,
        psl::Type::Private => Shared::Company,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_beside_a_usual_domain() {
        #[track_caller]
        fn check(name: &str, expected: Option<&str>) {
            assert_eq!(corrected(name).as_deref(), expected, "{name}");
        }
        check("api.github.con", Some("api.github.com"));
        check("api.github.ocm", Some("api.github.com"));
        check("example.ogr", Some("example.org"));
        check("example.nett", Some("example.net"));
        for right in [
            "api.github.com",
            "example.co",
            "example.cm",
            "example.de",
            "printer.local",
            "x.internal",
            "x.corp",
            "x.lan",
            "x.test",
            "x.home",
            "localhost",
        ] {
            check(right, None);
        }
    }

    #[test]
    fn suffixes_of_registries_and_of_companies() {
        #[track_caller]
        fn check(base: &str, expected: Option<Shared>) {
            assert_eq!(shared(base), expected, "{base}");
        }
        check("co.uk", Some(Shared::Registry));
        check("com.au", Some(Shared::Registry));
        check("ck", Some(Shared::Registry));
        // `*.ck` is in the list, and so is its exception `!www.ck`.
        check("co.ck", Some(Shared::Registry));
        check("www.ck", None);
        check("xn--55qx5d.cn", Some(Shared::Registry));
        check("github.io", Some(Shared::Company));
        check("s3.amazonaws.com", Some(Shared::Company));
        // `*.compute.amazonaws.com` is in the list: the wildcard covers everybody's.
        check("compute.amazonaws.com", Some(Shared::Company));
        check("example.com", None);
        check("bbc.co.uk", None);
        check("ada.github.io", None);
        check("corp.internal", None);
        check("printer.local", None);
    }
}
