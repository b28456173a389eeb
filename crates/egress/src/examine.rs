//! Where a permitted target would lead, asked without connecting to it.

use std::net::IpAddr;

use srt_policy::{Denial, FlowKind, Host, NetworkPolicy, Permit};
use tokio::time::timeout;

use crate::own;
use crate::{Bounds, Resolve as _, SystemResolver};

/// What the second half of a decision would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Examined {
    /// A proxy of the user's own resolves the name; this one, as `host:port`.
    Upstream(String),
    /// The name has no address at this moment; why.
    Unresolved(String),
    /// Each address, with the refusal of those that would not be connected to.
    Addresses(Vec<(IpAddr, Option<Denial>)>),
}

/// Resolves a permitted target on the host and holds its addresses against the policy, as a connection would.
pub async fn examine(policy: &NetworkPolicy, permit: &Permit) -> Examined {
    if let Some(upstream) = policy.upstream(permit, FlowKind::Tunnel) {
        return Examined::Upstream(upstream.proxy().to_string());
    }
    let addresses = match &permit.target().host {
        Host::Ip(ip) => vec![*ip],
        Host::Name(name) => {
            let limit = Bounds::default().dial_timeout;
            match timeout(limit, SystemResolver.resolve(name)).await {
                Ok(Ok(addresses)) => addresses,
                Ok(Err(error)) => {
                    return Examined::Unresolved(format!("cannot resolve {name}: {error}"));
                }
                Err(_) => return Examined::Unresolved(format!("cannot resolve {name}: no answer")),
            }
        }
    };
    if addresses.is_empty() {
        return Examined::Unresolved(format!("{} has no address", permit.target().host));
    }
    let own = match own::addresses() {
        Ok(own) => own,
        Err(error) => {
            return Examined::Unresolved(format!("cannot read this host's own addresses: {error}"));
        }
    };
    // An address may stand for another, too: those that would be dialled are the answer.
    if matches!(permit.target().host, Host::Ip(_))
        && let Ok(checked) = policy.check(permit.clone(), &[], &own)
    {
        let dialled = checked.addresses().iter();
        return Examined::Addresses(dialled.map(|address| (address.ip(), None)).collect());
    }
    let held = |ip: IpAddr| {
        let refused = policy.check(permit.clone(), &[ip], &own).err();
        (ip.to_canonical(), refused)
    };
    Examined::Addresses(addresses.into_iter().map(held).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use srt_policy::{Decision, Facts, Source, Target, compile};

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused_by_its_address() {
        let facts = Facts {
            home: "/home/u".into(),
            cwd: "/home/u".into(),
            protected: Vec::new(),
            program: Vec::new(),
            macos: false,
        };
        let source = Source {
            path: "/s.json".into(),
            text: r#"{"network": {"allowedDomains": ["localhost", "no-such-name.invalid", "127.0.0.2:80"]}}"#.into(),
        };
        let policy = compile(Some(&source), &facts).unwrap().policy.network;
        let ask = async |host: &str, port: u16| {
            let target = Target {
                host: Host::parse(host).unwrap(),
                port,
            };
            match policy.decide(&target) {
                Decision::Allow(permit) => examine(&policy, &permit).await,
                other => panic!("{host}: {other:?}"),
            }
        };
        match ask("localhost", 80).await {
            Examined::Addresses(found) => assert!(
                !found.is_empty() && found.iter().all(|(_, refused)| refused.is_none()),
                "localhost names loopback: {found:?}"
            ),
            other => panic!("{other:?}"),
        }
        // By the rule `localhost`.
        assert!(matches!(ask("::1", 80).await, Examined::Addresses(found) if found.len() == 2));
        assert!(
            matches!(ask("127.0.0.2", 80).await, Examined::Addresses(found) if found[0].1.is_none())
        );
        assert!(matches!(
            ask("no-such-name.invalid", 443).await,
            Examined::Unresolved(why) if why.contains("no-such-name.invalid")
        ));
    }
}
