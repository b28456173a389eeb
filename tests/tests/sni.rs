//! One address serves two names, and the policy lets through only one: what a client says inside its tunnel must be
//! the name that was permitted. Each way around is first shown to work without a sandbox, then refused in it, then
//! found in the audit log with the name that was said.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use srt_tests::Site;

fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    let both = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The hosts; scripts that are run against them see `CA`.
struct Fronting {
    site: Site,
}

impl Fronting {
    /// The hosts, under rules about the network.
    fn under(network: &Value, tls: &Value) -> Self {
        let site = Site::with_web();
        site.world.policy(&json!({
            "filesystem": { "allowWrite": ["."] },
            "network": network,
            "tls": tls,
        }));
        Self { site }
    }

    fn run(&self, boxed: bool, script: &str) -> (bool, String) {
        let script = format!("CA='{}'; {script}", self.site.ca());
        let words = ["sh", "-c", &script].map(str::to_owned);
        let output = if boxed {
            output(&mut self.site.boxed(&words))
        } else {
            output(self.site.world.bare("sh").args(&words[1..]))
        };
        (output.status.success(), said(&output))
    }

    #[track_caller]
    fn works(&self, script: &str) {
        let (worked, said) = self.run(true, script);
        assert!(worked, "must pass: {script}: {said}");
    }

    /// Works without a sandbox; is refused in it, and the record has `reason`.
    #[track_caller]
    fn refused(&self, script: &str, reason: &str) {
        let (worked, said) = self.run(false, script);
        assert!(worked, "must work without a sandbox: {script}: {said}");
        let before = self.site.world.audit().len();
        let (worked, said) = self.run(true, script);
        assert!(!worked, "must be refused: {script}: {said}");
        let found = || {
            let entries = self.site.world.audit();
            let mut entries = entries.into_iter().skip(before);
            entries.find(|entry| {
                entry.kind == "deny"
                    && entry.subject.contains("allowed.test")
                    && entry.json["detail"]["reason"]
                        .as_str()
                        .is_some_and(|text| text.contains(reason))
            })
        };
        srt_tests::until(
            &format!("{reason:?} to be recorded"),
            srt_tests::SOON,
            found,
        );
    }
}

/// curl takes the address of one name and says another: by the proxy and without it.
#[test]
fn curl_to_another_name_at_an_allowed_host() {
    let fronting = Fronting::under(&json!({ "allowedDomains": ["allowed.test"] }), &json!({}));
    for straight in ["", "--noproxy '*'"] {
        let curl = |more: &str| {
            format!("curl --silent --show-error --fail --cacert $CA {straight} {more}")
        };
        fronting.works(&curl("https://allowed.test:8443/"));
        let other = "--connect-to denied.test:8443:allowed.test:8443 https://denied.test:8443/";
        fronting.refused(&curl(other), "denied.test");
    }
}

/// openssl says whatever name it is told, or none.
#[test]
fn openssl_with_another_name() {
    let rules = json!({ "allowedDomains": ["allowed.test"] });
    let fronting = Fronting::under(&rules, &json!({}));
    let openssl =
        "openssl s_client -CAfile $CA -verify_return_error -brief -connect allowed.test:8443";
    let by_proxy = "openssl s_client -CAfile $CA -verify_return_error -brief ${HTTP_PROXY:+-proxy \
                    \"${HTTP_PROXY#http://}\"} -connect allowed.test:8443";
    for openssl in [openssl, by_proxy] {
        fronting.works(&format!("{openssl} -servername allowed.test"));
        // A name that is written otherwise is the same.
        fronting.works(&format!("{openssl} -servername ALLOWED.test"));
        fronting.works(&format!("{openssl} -noservername"));
        fronting.refused(&format!("{openssl} -servername denied.test"), "denied.test");
        fronting.refused(
            &format!("{openssl} -servername x.allowed.test"),
            "x.allowed.test",
        );
    }
}

#[test]
fn no_name_at_all() {
    for (host, network, tls) in [
        (
            "allowed.test",
            json!({ "allowedDomains": ["allowed.test"] }),
            json!({ "requireSni": true }),
        ),
        // What a wildcard lets through must say which it is.
        (
            "www.allowed.test",
            json!({ "allowedDomains": ["*.allowed.test"] }),
            json!({}),
        ),
    ] {
        let fronting = Fronting::under(&network, &tls);
        let openssl = format!(
            "openssl s_client -CAfile $CA -verify_return_error -brief -connect {host}:8443"
        );
        fronting.works(&format!("{openssl} -servername {host}"));
        fronting.refused(&format!("{openssl} -noservername"), "SNI");
    }
}

#[test]
fn another_host_in_plain_http() {
    let rules = json!({ "allowedDomains": ["allowed.test"], "requireHostMatch": true });
    let fronting = Fronting::under(&rules, &json!({}));
    // Through a tunnel of the proxy, and captured.
    for how in ["--proxytunnel", "--noproxy '*'"] {
        let curl = format!("curl --silent --show-error --fail {how} http://allowed.test:8080/");
        fronting.works(&curl);
        fronting.refused(
            &format!("{curl} --header 'Host: denied.test:8080'"),
            "denied.test",
        );
        // A name of no port is that of port 80.
        fronting.refused(
            &format!("{curl} --header 'Host: allowed.test'"),
            "allowed.test",
        );
    }
}

#[test]
fn a_later_request_for_another_host() {
    let rules = json!({ "allowedDomains": ["allowed.test"], "requireHostMatch": true });
    let fronting = Fronting::under(&rules, &json!({}));
    let page = "http://allowed.test:8080/";
    for how in ["--proxytunnel", "--noproxy '*'"] {
        let curl = format!("curl --silent --show-error --fail {how}");
        // By one connection, with a body on the way, which a server that has no such file need not like.
        let first = format!(
            "{curl} {page} --next {how} --silent --request GET --data-binary @big {page} --next"
        );
        let script = |more: &str| {
            format!("head -c 3000000 /dev/zero >big; {first} {how} --silent --fail {more} {page}")
        };
        fronting.works(&script(""));
        fronting.refused(&script("--header 'Host: denied.test:8080'"), "denied.test");
    }
    // What is no longer HTTP passes: a WebSocket, by Node, which knows of no proxy.
    let node = format!(
        "node '{}' '{}' ws ws://allowed.test:8080/talk",
        srt_tests::clients().join("client.mjs").display(),
        srt_tests::servers().join("node/node_modules").display(),
    );
    fronting.works(&node);
}
