//! Which addresses an allowed name must not resolve to: the guard against DNS rebinding.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A class of addresses that names may not lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// As a denial names it.
    pub(crate) name: &'static str,
    /// Why it is refused.
    pub(crate) reason: &'static str,
}

const METADATA: Class = Class {
    name: "cloud metadata",
    reason: "the cloud's metadata service hands out this machine's credentials",
};
const LOOPBACK: Class = Class {
    name: "loopback",
    reason: "services that listen on this machine trust whoever reaches them",
};
const UNSPECIFIED: Class = Class {
    name: "unspecified",
    reason: "connecting to an address of 0.0.0.0/8 or to :: reaches this machine",
};
const LINK_LOCAL: Class = Class {
    name: "link-local",
    reason: "link-local addresses reach routers, neighbours and metadata services that trust them",
};
const MULTICAST: Class = Class {
    name: "multicast",
    reason: "multicast addresses are no single host",
};
const BROADCAST: Class = Class {
    name: "broadcast",
    reason: "the broadcast address is no single host",
};
const OWN: Class = Class {
    name: "this host's own address",
    reason: "services that listen on this machine trust whoever reaches them",
};

/// Ranges and their classes; the first that contains an address names it. Private ranges are not among them: an
/// allowed name may live on a private network.
const RANGES: &[(IpNet, Class)] = &[
    (v4([169, 254, 169, 254], 32), METADATA), // AWS, Azure, Google Cloud, DigitalOcean and most others
    (v4([169, 254, 170, 2], 32), METADATA),   // credentials of AWS ECS tasks
    (v4([100, 100, 100, 200], 32), METADATA), // Alibaba Cloud
    (v4([168, 63, 129, 16], 32), METADATA),   // Azure's host agent
    (v4([192, 0, 0, 192], 32), METADATA),     // Oracle Cloud
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), METADATA), // AWS
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), METADATA), // Google Cloud
    (
        v6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128),
        METADATA,
    ), // Oracle Cloud
    (v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128), METADATA), // Scaleway
    (v6([0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1], 128), METADATA),
    (v6([0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200], 128), METADATA), // Alibaba Cloud
    (v4([127, 0, 0, 0], 8), LOOPBACK),                              // RFC 1122
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), LOOPBACK),                  // RFC 4291
    (v4([0, 0, 0, 0], 8), UNSPECIFIED),                             // RFC 1122, "this network"
    (v6([0; 8], 128), UNSPECIFIED),
    (v4([169, 254, 0, 0], 16), LINK_LOCAL), // RFC 3927
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), LINK_LOCAL),
    (v4([224, 0, 0, 0], 4), MULTICAST), // RFC 5771
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), MULTICAST),
    (v4([255, 255, 255, 255], 32), BROADCAST), // RFC 919
];

const fn v4(octets: [u8; 4], prefix: u8) -> IpNet {
    let [a, b, c, d] = octets;
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix))
}

const fn v6(segments: [u16; 8], prefix: u8) -> IpNet {
    let [a, b, c, d, e, f, g, h] = segments;
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(a, b, c, d, e, f, g, h),
        prefix,
    ))
}

/// The ranges that are refused without being asked to, for `policy show`.
pub(crate) fn ranges() -> impl Iterator<Item = (IpNet, Class)> {
    RANGES.iter().copied()
}

/// The class of an address that is refused, judged by itself and by the IPv4 inside it; `own` holds this host's
/// addresses.
pub(crate) fn classify(ip: IpAddr, own: &[IpAddr]) -> Option<Class> {
    faces(ip).find_map(|face| {
        RANGES
            .iter()
            .find(|(range, _)| range.contains(&face))
            .map(|(_, class)| *class)
            .or_else(|| {
                own.iter()
                    .any(|mine| mine.to_canonical() == face)
                    .then_some(OWN)
            })
    })
}

/// The addresses by which `ip` is judged: itself in canonical form, and the IPv4 that a translator would reach.
pub(crate) fn faces(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    let canonical = ip.to_canonical();
    let inside = match canonical {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => embedded(v6).map(IpAddr::V4),
    };
    std::iter::once(canonical).chain(inside)
}

/// The IPv4 inside an IPv6: mapped (`::ffff:0:0/96`, RFC 4291), compatible (`::/96`, RFC 4291), translated
/// (`::ffff:0:0:0/96`, RFC 2765), NAT64's well-known prefix (`64:ff9b::/96`, RFC 6052), 6to4 (`2002::/16`, RFC 3056).
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = v6.segments();
    let (high, low) = match segments {
        // `::` and `::1` are addresses of their own, not compatible ones.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => return None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, _, _, _, _, _] => (high, low),
        _ => return None,
    };
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Some(Ipv4Addr::new(a, b, c, d))
}

/// Reads an address or a range (`10.0.0.0/8`) of `network.deniedResolvedAddresses`.
pub(crate) fn parse_range(text: &str) -> Option<IpNet> {
    if let Ok(range) = text.parse::<IpNet>() {
        return Some(canonical_range(range.trunc()));
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse::<IpAddr>()
        .ok()
        .map(|ip| IpNet::from(ip.to_canonical()))
}

/// A range inside `::ffff:0:0/96` as the IPv4 range that it is: addresses are compared in canonical form.
fn canonical_range(range: IpNet) -> IpNet {
    match range {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.network().to_ipv4_mapped() {
            Some(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(range, IpNet::V4),
            None => range,
        },
        other => other,
    }
}
