//! Which hosts a server may reach.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::address::{classify, faces};
use crate::decision::Ground;
use crate::domains::{DomainRule, Domains};
use crate::host::LOCALHOST;
use crate::pattern::{HostPattern, Pattern};
use crate::upstream::Upstreams;
use crate::{
    Decision, Denial, Grant, Host, Origin, Permit, Question, RequestRules, RuleRef, Target,
};

pub(crate) const ALLOWED: &str = "network.allowedDomains";
pub(crate) const ALLOWED_UDP: &str = "network.allowedUdp";
pub(crate) const DENIED: &str = "network.deniedDomains";
pub(crate) const DENIED_ADDRESSES: &str = "network.deniedResolvedAddresses";

/// How long a person has for an answer, unless `network.askTimeoutSeconds` says otherwise.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(60);

/// The network half of a policy.
#[derive(Clone, Debug, Default)]
pub struct NetworkPolicy {
    pub(crate) allowed: Domains,
    pub(crate) allowed_udp: Domains,
    pub(crate) denied: Domains,
    pub(crate) denied_ranges: Vec<RangeRule>,
    pub(crate) upstreams: Upstreams,
    pub(crate) unlisted: Unlisted,
    /// `network.strictAllowlist`: neither questions nor grants.
    pub(crate) strict: bool,
    pub(crate) ask_timeout: Option<Duration>,
    pub(crate) drops_unrecorded: bool,
    pub(crate) require_sni: Option<bool>,
    pub(crate) refuse_ech: bool,
    pub(crate) requests: RequestRules,
    /// Keys of one value that the document sets: key, value, and where.
    pub(crate) settings: Vec<(&'static str, String, Origin)>,
    /// What decisions cite.
    pub(crate) generation: Option<u64>,
}

/// What becomes of a host that no rule speaks of.
#[derive(Clone, Debug, Default)]
pub(crate) enum Unlisted {
    #[default]
    Refused,
    /// `network.ask`.
    Asked,
    /// `network.enforceAllowlist: false`, with that line.
    Allowed(Arc<RuleRef>),
}

#[derive(Clone, Debug)]
pub(crate) struct RangeRule {
    pub(crate) range: IpNet,
    pub(crate) rule: RuleRef,
}

impl RangeRule {
    pub(crate) fn covers(&self, ip: IpAddr) -> bool {
        faces(ip).any(|face| self.range.contains(&face))
    }

    /// What it says of an address; `remedy` is what would open it.
    pub(crate) fn refusal(&self, subject: &Target, ip: IpAddr, remedy: Option<String>) -> Denial {
        Denial {
            generation: None,
            subject: subject.to_string(),
            reason: format!(
                "it leads to {ip}, and {DENIED_ADDRESSES} has {:?}",
                self.rule.pattern
            ),
            rule: Some(self.rule.clone()),
            remedy,
        }
    }
}

impl NetworkPolicy {
    /// Decides on a connection: denied domains first, then allowed ones, then what `network.ask` and
    /// `network.enforceAllowlist` make of the rest: no, unless they say otherwise.
    pub fn decide(&self, target: &Target) -> Decision {
        match self.judge(target) {
            Decision::Deny(denial) => Decision::Deny(self.cited(denial)),
            Decision::Ask(mut question) => {
                question.denial.generation = self.generation;
                Decision::Ask(question)
            }
            allowed @ Decision::Allow(_) => allowed,
        }
    }

    /// The number that permits and refusals name ([`Policy::numbered`](crate::Policy::numbered)).
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// A refusal that names this policy's number.
    pub(crate) fn cited(&self, denial: Denial) -> Denial {
        Denial {
            generation: self.generation,
            ..denial
        }
    }

    fn judge(&self, target: &Target) -> Decision {
        if let Some(denied) = self.denied.find(target) {
            return Decision::Deny(refused(target.to_string(), denied));
        }
        if let Some(allowed) = self.allowed.allowing(target) {
            return Decision::Allow(self.permit(target, allowed, Ground::Rule));
        }
        let denial = nothing_allows(&self.allowed, ALLOWED, &target.host, Some(target.port));
        match &self.unlisted {
            Unlisted::Refused => Decision::Deny(denial),
            Unlisted::Asked => self.question(target, denial),
            Unlisted::Allowed(rule) => Decision::Allow(Permit {
                target: target.clone(),
                rule: Arc::clone(rule),
                ground: Ground::Observed(Box::new(denial)),
                requires_sni: self.require_sni.unwrap_or(false) && is_name(&target.host),
                refuses_ech: self.refuse_ech,
                generation: self.generation,
            }),
        }
    }

    /// A question, where a yes could be made a rule.
    fn question(&self, target: &Target, denial: Denial) -> Decision {
        if denial.remedy.is_none() {
            return Decision::Deny(denial);
        }
        if let Host::Ip(ip) = target.host
            && let Some(range) = self.denied_ranges.iter().find(|rule| rule.covers(ip))
        {
            return Decision::Deny(range.refusal(target, ip, denial.remedy));
        }
        Decision::Ask(Question {
            target: target.clone(),
            denial: Box::new(denial),
        })
    }

    /// Decides on datagrams: denied domains first, then `network.allowedUdp`, then no. Nobody is asked, and nothing
    /// else is let through under `network.enforceAllowlist: false`: there is a socket for the named ports alone.
    pub fn decide_udp(&self, target: &Target) -> Decision {
        if let Some(denied) = self.denied.find(target) {
            return Decision::Deny(self.cited(refused(target.to_string(), denied)));
        }
        match self.allowed_udp.allowing(target) {
            Some(allowed) => Decision::Allow(self.permit(target, allowed, Ground::Datagrams)),
            None => Decision::Deny(self.cited(nothing_allows(
                &self.allowed_udp,
                ALLOWED_UDP,
                &target.host,
                Some(target.port),
            ))),
        }
    }

    fn permit(&self, target: &Target, rule: &DomainRule, ground: Ground) -> Permit {
        Permit {
            target: target.clone(),
            rule: Arc::clone(&rule.rule),
            ground,
            requires_sni: self.require_sni.unwrap_or(rule.below_wildcard) && is_name(&target.host),
            refuses_ech: self.refuse_ech,
            generation: self.generation,
        }
    }

    /// Decides on a name lookup: `Ok` if some port of the name could be allowed, by a rule, by a person, or because
    /// the list is only observed.
    ///
    /// # Errors
    /// The denial, when no port of the name could be.
    #[expect(
        clippy::result_large_err,
        reason = "a refusal is read by people: its words cost more than its size"
    )]
    pub fn decide_lookup(&self, host: &Host) -> Result<(), Denial> {
        let denies = |port: Option<u16>| {
            self.denied.speaking_of(host).find(|rule| {
                rule.pattern.port.is_none() || (port.is_some() && rule.pattern.port == port)
            })
        };
        let mut taken_back = None;
        let lists = self.allowed.speaking_of(host);
        for allowed in lists.chain(self.allowed_udp.speaking_of(host)) {
            match denies(allowed.pattern.port) {
                None => return Ok(()),
                Some(denied) => taken_back = Some(denied),
            }
        }
        // A denied name is reported as denied even where nothing would have allowed it: the line that one could
        // add would not help.
        if let Some(denied) = denies(None) {
            return Err(self.cited(refused(host.to_string(), denied)));
        }
        let nothing = nothing_allows(&self.allowed, ALLOWED, host, None);
        match &self.unlisted {
            Unlisted::Allowed(_) => Ok(()),
            Unlisted::Asked if nothing.remedy.is_some() => Ok(()),
            Unlisted::Asked | Unlisted::Refused => Err(self.cited(match taken_back {
                Some(denied) => refused(host.to_string(), denied),
                None => nothing,
            })),
        }
    }

    /// The same policy with approvals added as rules that allow; `deniedDomains` and `deniedResolvedAddresses` still
    /// win. Under `network.strictAllowlist` there are none beside the file's.
    pub fn with_grants(&self, grants: &[Grant]) -> Self {
        let mut policy = self.clone();
        if self.strict {
            return policy;
        }
        for grant in grants {
            policy.allowed.push(DomainRule {
                pattern: Pattern {
                    host: HostPattern::Exact(grant.host.clone()),
                    port: grant.port,
                },
                rule: Arc::new(grant_rule(&grant.id, &grant.host, grant.port)),
                reason: None,
                below_wildcard: false,
            });
        }
        policy
    }

    /// Holds a project's rules to how `outer` allows them: a name that a wildcard allows there stays one that must be told.
    pub(crate) fn narrow(&mut self, outer: &Self, is_project: impl Fn(&Origin) -> bool) {
        for rule in self.allowed.iter_mut() {
            if is_project(&rule.rule.origin) {
                let mut covering = outer
                    .allowed
                    .iter()
                    .filter(|own| own.pattern.covers(&rule.pattern));
                rule.below_wildcard |= covering.any(|own| own.below_wildcard);
            }
        }
    }

    /// A permit for one connection, after a person's yes, if this policy would still ask about it (or allows it by
    /// now).
    ///
    /// # Errors
    /// The denial, where policy has come to refuse it.
    #[expect(
        clippy::result_large_err,
        reason = "a refusal is read by people: its words cost more than its size"
    )]
    pub fn permit_once(&self, question: &Question, grant: &str) -> Result<Permit, Denial> {
        let target = &question.target;
        match self.decide(target) {
            Decision::Allow(permit) => Ok(permit),
            Decision::Deny(denial) => Err(denial),
            Decision::Ask(_) => Ok(Permit {
                target: target.clone(),
                rule: Arc::new(grant_rule(grant, &target.host, Some(target.port))),
                ground: Ground::Once,
                requires_sni: self.require_sni.unwrap_or(false) && is_name(&target.host),
                refuses_ech: self.refuse_ech,
                generation: self.generation,
            }),
        }
    }

    /// Whether an established flow may go on under this policy, whichever policy permitted it: by its target and,
    /// unless it goes through a proxy of the user's, the address that it was dialled at. `own` holds this host's
    /// addresses. A person's yes to one connection holds until `deniedDomains` or an address rule refuses it.
    ///
    /// # Errors
    /// Why it may not.
    #[expect(
        clippy::result_large_err,
        reason = "a refusal is read by people: its words cost more than its size"
    )]
    pub fn keeps(
        &self,
        permit: &Permit,
        address: Option<IpAddr>,
        own: &[IpAddr],
    ) -> Result<(), Denial> {
        let target = &permit.target;
        let decision = match permit.ground {
            Ground::Datagrams => self.decide_udp(target),
            Ground::Rule | Ground::Observed(_) | Ground::Once => self.decide(target),
        };
        let renewed = match (decision, &permit.ground) {
            (Decision::Allow(renewed), _) => renewed,
            (_, Ground::Once) if self.denied.find(target).is_none() => permit.clone(),
            (Decision::Deny(denial), _) => return Err(denial),
            (Decision::Ask(question), _) => return Err(*question.denial),
        };
        let literal = match target.host {
            Host::Ip(ip) => Some(ip),
            Host::Name(_) => None,
        };
        let dialled = address.or(literal);
        let refusal = dialled.and_then(|ip| self.refuses_address(&renewed, ip.to_canonical(), own));
        refusal.map_or(Ok(()), Err)
    }

    /// What holds for the requests that can be read.
    pub fn requests(&self) -> &RequestRules {
        &self.requests
    }

    /// The ports of `network.allowedUdp`, sorted: the sandbox needs a socket at each.
    pub fn udp_ports(&self) -> Vec<u16> {
        let ports = self.allowed_udp.iter().filter_map(|rule| rule.pattern.port);
        ports.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether a person may be asked about a host that no rule speaks of.
    pub fn asks(&self) -> bool {
        matches!(self.unlisted, Unlisted::Asked)
    }

    /// How long a held connection waits for an answer: `network.askTimeoutSeconds`.
    pub fn ask_timeout(&self) -> Duration {
        self.ask_timeout.unwrap_or(ASK_TIMEOUT)
    }

    /// Whether the allow-list is observed and not enforced.
    pub fn observes(&self) -> bool {
        matches!(self.unlisted, Unlisted::Allowed(_))
    }

    /// Whether refused connections are recorded: `network.logDroppedConnections`.
    pub fn records_denials(&self) -> bool {
        !self.drops_unrecorded
    }

    /// Loopback addresses with a port in `allowedDomains` (`127.0.0.1:3000`, `[::1]:3000`, and both of them for
    /// `localhost:3000`): a sandbox has a loopback of its own, so the transparent front end must listen at
    /// exactly these. Sorted; without those that `deniedDomains` refuses.
    pub fn loopback_listeners(&self) -> Vec<SocketAddr> {
        let mut listeners = BTreeSet::new();
        for rule in self.allowed.iter() {
            let (HostPattern::Exact(host), Some(port)) = (&rule.pattern.host, rule.pattern.port)
            else {
                continue;
            };
            let addresses = match host {
                Host::Ip(ip) if ip.is_loopback() => std::slice::from_ref(ip),
                name if name.is_localhost() => &LOCALHOST,
                Host::Ip(_) | Host::Name(_) => continue,
            };
            for &ip in addresses {
                let host = Host::Ip(ip);
                if self.denied.find(&Target { host, port }).is_none() {
                    listeners.insert(SocketAddr::new(ip, port));
                }
            }
        }
        listeners.into_iter().collect()
    }

    /// Whether any host at all can be allowed.
    pub fn allows_anything(&self) -> bool {
        let everything_denied = self
            .denied
            .iter()
            .any(|rule| rule.pattern.host == HostPattern::Any && rule.pattern.port.is_none());
        let something = !matches!(self.unlisted, Unlisted::Refused)
            || !self.allowed.is_empty()
            || !self.allowed_udp.is_empty();
        something && !everything_denied
    }
}

fn is_name(host: &Host) -> bool {
    matches!(host, Host::Name(_))
}

fn grant_rule(id: &str, host: &Host, port: Option<u16>) -> RuleRef {
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    RuleRef {
        key: "grant".to_owned(),
        pattern: format!("{host}{port}"),
        origin: Origin::Grant { id: id.to_owned() },
    }
}

fn refused(subject: String, denied: &DomainRule) -> Denial {
    Denial {
        generation: None,
        subject,
        reason: denied.refusal(),
        rule: Some(RuleRef::clone(&denied.rule)),
        remedy: None,
    }
}

/// The default refusal, with the nearest miss: what one would otherwise hunt for.
fn nothing_allows(allowed: &Domains, key: &str, host: &Host, port: Option<u16>) -> Denial {
    let subject = match port {
        Some(port) => Target {
            host: host.clone(),
            port,
        }
        .to_string(),
        None => host.to_string(),
    };
    let mut reason = if allowed.is_empty() {
        format!("{key} is empty, so no host can be reached")
    } else {
        format!("no rule in {key} matches")
    };
    let parent = match host {
        Host::Name(name) => allowed.just_below(name),
        Host::Ip(_) => None,
    };
    if let Some(rule) = allowed.speaking_of(host).next() {
        reason.push_str(&format!("; {:?} is for another port", rule.rule.pattern));
    } else if let Some(rule) = parent {
        reason.push_str(&format!(
            "; {:?} covers subdomains, not the domain itself",
            rule.rule.pattern
        ));
    }
    let mut nameable = true;
    match host {
        Host::Ip(ip) => {
            if let Some(class) = classify(*ip, &[]) {
                reason.push_str(&format!(
                    "; the address is {}: {}",
                    class.name, class.reason
                ));
            } else {
                reason
                    .push_str("; an address is allowed only by naming it, never through a domain");
            }
        }
        Host::Name(name) if !name.contains('.') && !host.is_localhost() => {
            nameable = false;
            reason.push_str(
                "; a name of a single label cannot be allowed, its full name or its address can",
            );
        }
        Host::Name(_) => {}
    }
    Denial {
        generation: None,
        remedy: nameable.then(|| allow_line(key, &subject)),
        subject,
        reason,
        rule: None,
    }
}

/// The settings line that puts `entry` into the list `key`.
pub(crate) fn allow_line(key: &str, entry: &str) -> String {
    let name = key.strip_prefix("network.").unwrap_or(key);
    format!("\"network\": {{ \"{name}\": [\"{entry}\"] }}")
}
