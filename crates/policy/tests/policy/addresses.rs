//! Which resolved addresses pass, class by class.

use std::net::IpAddr;

use crate::support::{network, permit, policy};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn names_do_not_lead_to_denied_classes() {
    #[track_caller]
    fn check(address: &str, class: Option<&str>) {
        let network = network(r#""example.com""#, "");
        let own = [
            ip("203.0.113.9"),
            ip("2001:db8::9"),
            ip("::ffff:203.0.113.10"),
        ];
        let answer = network.check(permit(&network, "example.com:443"), &[ip(address)], &own);
        match (answer, class) {
            (Ok(_), None) => {}
            (Ok(_), Some(class)) => panic!("{address} is {class}"),
            (Err(denial), None) => panic!("{address} is of no class: {denial:?}"),
            (Err(denial), Some(class)) => {
                let rule = denial.rule.expect("a rule");
                assert_eq!(
                    (rule.key.as_str(), rule.pattern.as_str()),
                    ("built-in", class),
                    "{address}"
                );
                assert!(
                    denial.reason.starts_with("it leads to ") && denial.reason.contains(class),
                    "{}",
                    denial.reason
                );
            }
        }
    }
    check("127.0.0.1", Some("loopback"));
    check("127.255.255.254", Some("loopback"));
    check("::1", Some("loopback"));
    check("::ffff:127.0.0.1", Some("loopback"));
    check("::127.0.0.1", Some("loopback"));
    check("::ffff:0:127.0.0.1", Some("loopback"));
    check("64:ff9b::127.0.0.1", Some("loopback"));
    check("2002:7f00:1::1", Some("loopback"));
    check("0.0.0.0", Some("unspecified"));
    check("0.1.2.3", Some("unspecified"));
    check("::", Some("unspecified"));
    check("169.254.1.1", Some("link-local"));
    check("fe80::1", Some("link-local"));
    check("febf::1", Some("link-local"));
    check("224.0.0.1", Some("multicast"));
    check("239.255.255.255", Some("multicast"));
    check("ff02::1", Some("multicast"));
    check("255.255.255.255", Some("broadcast"));
    for metadata in [
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2:1::1",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fd00:42::42",
        "fd00:a9fe:a9fe::1",
        "fd00:100::100:200",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
    ] {
        check(metadata, Some("cloud metadata"));
    }
    check("203.0.113.9", Some("this host's own address"));
    check("203.0.113.10", Some("this host's own address"));
    check("2001:db8::9", Some("this host's own address"));
    check("64:ff9b::203.0.113.9", Some("this host's own address"));
    // Private and neighbouring addresses are not denied.
    for fine in [
        "93.184.215.14",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.201",
        "168.63.129.17",
        "1.0.0.0",
        "128.0.0.1",
        "169.253.0.1",
        "223.255.255.255",
        "2606:4700::1",
        "fd00::1",
        "fd00:ec3::1",
        "fd20:ce::255",
        "64:ff9b::5db8:d70e",
        "2002:5db8:d70e::1",
        "::2:0:0:1",
        "::ffff:10.0.0.1",
    ] {
        check(fine, None);
    }
}

#[test]
fn what_passes_is_dialled_and_nothing_else() {
    let network = network(r#""example.com""#, "");
    let resolved = [
        ip("127.0.0.1"),
        ip("192.0.2.1"),
        ip("::ffff:192.0.2.1"),
        ip("2001:db8::1"),
    ];
    let checked = network
        .check(permit(&network, "example.com:443"), &resolved, &[])
        .expect("two are fine");
    let addresses: Vec<String> = checked
        .addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(addresses, ["192.0.2.1:443", "[2001:db8::1]:443"]);
    let denial = network
        .check(permit(&network, "example.com:443"), &[], &[])
        .expect_err("none");
    assert_eq!(denial.reason, "the name has no address");
}

#[test]
fn literals_open_and_close_exactly_themselves() {
    #[track_caller]
    fn check(allowed: &str, denied: &str, asked: &str, address: &str, expected: Result<(), &str>) {
        let network = network(allowed, denied);
        let own = [ip("203.0.113.9")];
        let answer = network.check(permit(&network, asked), &[ip(address)], &own);
        match (answer, expected) {
            (Ok(_), Ok(())) => {}
            (Err(denial), Err(key)) => assert_eq!(denial.rule.expect("a rule").key, key),
            (answer, expected) => panic!(
                "{allowed} less {denied}, {asked} at {address}: {answer:?}, not {expected:?}"
            ),
        }
    }
    // An allowed literal.
    check(
        r#""127.0.0.1:3000""#,
        "",
        "127.0.0.1:3000",
        "127.0.0.1",
        Ok(()),
    );
    check(
        r#""203.0.113.9""#,
        "",
        "203.0.113.9:80",
        "203.0.113.9",
        Ok(()),
    );
    check(
        r#""169.254.169.254""#,
        "",
        "169.254.169.254:80",
        "169.254.169.254",
        Ok(()),
    );
    check(r#""[::1]:80""#, "", "[::1]:80", "::1", Ok(()));
    check(
        r#""127.0.0.1", "example.com""#,
        "",
        "example.com:80",
        "127.0.0.1",
        Ok(()),
    );
    check(
        r#""127.0.0.1:81", "example.com""#,
        "",
        "example.com:80",
        "127.0.0.1",
        Err("built-in"),
    );
    check(
        r#""127.0.0.1", "example.com""#,
        "",
        "example.com:80",
        "127.0.0.2",
        Err("built-in"),
    );
    check(
        r#""127.0.0.1", "example.com""#,
        "",
        "example.com:80",
        "64:ff9b::127.0.0.1",
        Err("built-in"),
    );
    // A literal target is itself, whatever a resolver is said to have answered.
    check(r#""192.0.2.1""#, "", "192.0.2.1:80", "127.0.0.1", Ok(()));
    // localhost.
    check(r#""localhost""#, "", "localhost:80", "127.0.0.1", Ok(()));
    check(r#""localhost:80""#, "", "localhost:80", "::1", Ok(()));
    check(
        r#""localhost""#,
        "",
        "localhost:80",
        "203.0.113.9",
        Err("built-in"),
    );
    check(
        r#""localhost", "example.com""#,
        "",
        "example.com:80",
        "127.0.0.1",
        Err("built-in"),
    );
    // Whatever a resolver says of it, it leads nowhere else.
    check(
        r#""localhost""#,
        "",
        "localhost:80",
        "198.51.100.77",
        Err("built-in"),
    );
    // Its addresses are the same by number, at the rule's port.
    for address in ["127.0.0.1", "::1"] {
        let target = if address == "::1" {
            "[::1]:80"
        } else {
            "127.0.0.1:80"
        };
        check(r#""localhost:80""#, "", target, address, Ok(()));
        check(r#""localhost""#, "", target, address, Ok(()));
    }
    // An address opens the name for itself alone.
    check(r#""127.0.0.1:80""#, "", "localhost:80", "127.0.0.1", Ok(()));
    check(r#""[::1]:80""#, "", "localhost:80", "::1", Ok(()));
    for (rule, other) in [
        (r#""127.0.0.1:80""#, "::1"),
        (r#""[::1]:80""#, "127.0.0.1"),
        (r#""127.0.0.1:80""#, "198.51.100.77"),
    ] {
        check(rule, "", "localhost:80", other, Err("built-in"));
    }
    // A denied literal.
    check(
        r#""example.com""#,
        r#""192.0.2.1""#,
        "example.com:80",
        "192.0.2.1",
        Err("network.deniedDomains"),
    );
    check(
        r#""example.com""#,
        r#""192.0.2.1""#,
        "example.com:80",
        "64:ff9b::192.0.2.1",
        Err("network.deniedDomains"),
    );
    check(
        r#""example.com""#,
        r#""192.0.2.1:22""#,
        "example.com:80",
        "192.0.2.1",
        Ok(()),
    );
    check(
        r#""example.com""#,
        r#""192.0.2.1:22""#,
        "example.com:22",
        "192.0.2.1",
        Err("network.deniedDomains"),
    );
    check(
        r#""localhost""#,
        r#""127.0.0.1""#,
        "localhost:80",
        "127.0.0.1",
        Err("network.deniedDomains"),
    );
}

/// Either address of `localhost` is both, in the order of who asks, where the rule is that name and nowhere else.
#[test]
fn a_service_of_localhost_is_found_at_whichever_address_it_listens() {
    for (allowed, denied, asked, expected) in [
        (
            r#""localhost:80""#,
            "",
            "[::1]:80",
            &["[::1]:80", "127.0.0.1:80"][..],
        ),
        (
            r#""localhost""#,
            "",
            "127.0.0.1:80",
            &["127.0.0.1:80", "[::1]:80"],
        ),
        (
            r#""127.0.0.1:80", "[::1]:80""#,
            "",
            "127.0.0.1:80",
            &["127.0.0.1:80"],
        ),
        (
            r#""127.0.0.1:80", "localhost:81""#,
            "",
            "127.0.0.1:80",
            &["127.0.0.1:80"],
        ),
        (
            r#""127.0.0.2", "localhost""#,
            "",
            "127.0.0.2:80",
            &["127.0.0.2:80"],
        ),
        (
            r#""localhost""#,
            r#""127.0.0.1:80""#,
            "[::1]:80",
            &["[::1]:80"],
        ),
    ] {
        let network = network(allowed, denied);
        let checked = network
            .check(permit(&network, asked), &[], &[])
            .expect("loopback is named");
        let dialled: Vec<String> = checked
            .addresses()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(dialled, expected, "{allowed} less {denied}: {asked}");
        for address in checked.addresses() {
            network
                .keeps(checked.permit(), Some(address.ip()), &[])
                .expect("what may be dialled may stay");
        }
    }
}

#[test]
fn ranges_of_the_users_own_are_denied_too() {
    #[track_caller]
    fn check(range: &str, address: &str, passes: bool) {
        let policy = policy(&format!(
            r#"{{"network": {{"allowedDomains": ["example.com", "10.0.0.5"], "deniedResolvedAddresses": ["{range}"]}}}}"#
        ));
        let network = policy.network;
        let answer = network.check(permit(&network, "example.com:443"), &[ip(address)], &[]);
        assert_eq!(answer.is_ok(), passes, "{range} {address}: {answer:?}");
        if let Err(denial) = answer {
            assert!(
                denial
                    .reason
                    .contains("network.deniedResolvedAddresses has"),
                "{}",
                denial.reason
            );
        }
    }
    check("10.0.0.0/8", "10.1.2.3", false);
    check("10.0.0.0/8", "64:ff9b::10.1.2.3", false);
    check("10.0.0.0/8", "10.0.0.5", true); // named in allowedDomains
    check("10.0.0.0/8", "11.0.0.1", true);
    check("10.9.9.9/8", "10.1.2.3", false);
    check("192.0.2.1", "192.0.2.1", false);
    check("fd00::/8", "fd12::1", false);
    check("[2001:db8::1]", "2001:db8::1", false);
    check("::ffff:10.0.0.0/104", "10.1.2.3", false);
}
