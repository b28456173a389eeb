//! Addresses that stand for names, and that nobody means to reach by a stream of bytes.
//!
//! A name keeps its address for the life of the sandbox, so a client may cache it as long as it likes. The first names
//! get addresses of blocks that IANA's special-purpose registry has as globally reachable: a client that guards against
//! names of private networks (mcp-server-fetch does) takes them for what they stand for. The rest get those of
//! 198.18.0.0/15, which RFC 2544 keeps for benchmarks and nobody routes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError, RwLock};

/// A run of addresses: the first, and how many.
type Block = (Ipv4Addr, u32);

/// In the order in which they are given out. The first and the last address of each are left out, which some clients
/// take for a network's own.
const BLOCKS: [Block; 4] = [
    // Answers to reverse lookups of private addresses (RFC 7535, RFC 7534), and relays of multicast (RFC 7450).
    (Ipv4Addr::new(192, 31, 196, 1), 254),
    (Ipv4Addr::new(192, 175, 48, 1), 254),
    (Ipv4Addr::new(192, 52, 193, 1), 254),
    (Ipv4Addr::new(198, 18, 0, 1), (1 << 17) - 2),
];

/// The address with this number.
fn nth(mut number: u32) -> Option<Ipv4Addr> {
    for (first, count) in BLOCKS {
        if number < count {
            return Some(Ipv4Addr::from(u32::from(first) + number));
        }
        number -= count;
    }
    None
}

/// The number of an address.
fn position(address: Ipv4Addr) -> Option<u32> {
    let mut before = 0;
    for (first, count) in BLOCKS {
        if let Some(offset) = u32::from(address).checked_sub(u32::from(first))
            && offset < count
        {
            return Some(before + offset);
        }
        before += count;
    }
    None
}

/// The two-way map between names and synthetic addresses.
#[derive(Debug)]
pub(crate) struct SyntheticNames {
    most: usize,
    maps: RwLock<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    by_name: HashMap<Arc<str>, u32>,
    by_index: Vec<Arc<str>>,
}

impl SyntheticNames {
    /// A map of at most `most` names; no more than there are addresses.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            maps: RwLock::default(),
        }
    }

    /// The address of `name`, given now if it has none; `None` when the map is full.
    pub(crate) fn address(&self, name: &str) -> Option<Ipv4Addr> {
        // A panic while the lock is held leaves at worst a name without a number, so poison is ignored.
        let known = |maps: &Maps| maps.by_name.get(name).copied();
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known(&maps) {
            return nth(number);
        }
        drop(maps);
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known(&maps) {
            return nth(number);
        }
        if maps.by_index.len() >= self.most {
            return None;
        }
        let number = u32::try_from(maps.by_index.len()).ok()?;
        let address = nth(number)?;
        let name: Arc<str> = name.into();
        maps.by_index.push(Arc::clone(&name));
        maps.by_name.insert(name, number);
        Some(address)
    }

    /// The name that `address` stands for.
    pub(crate) fn name(&self, address: IpAddr) -> Option<Arc<str>> {
        let IpAddr::V4(v4) = address.to_canonical() else {
            return None;
        };
        let index = usize::try_from(position(v4)?).ok()?;
        let maps = self.maps.read().unwrap_or_else(PoisonError::into_inner);
        maps.by_index.get(index).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_address_and_an_address_its_name() {
        let names = SyntheticNames::new(2);
        let a = names.address("a.test").unwrap();
        let b = names.address("b.test").unwrap();
        assert_ne!(a, b);
        assert_eq!(names.address("a.test"), Some(a));
        assert_eq!(names.name(a.into()).as_deref(), Some("a.test"));
        assert_eq!(
            names.name(b.to_ipv6_mapped().into()).as_deref(),
            Some("b.test")
        );
    }

    #[test]
    fn a_full_map_gives_no_more_and_forgets_none() {
        let names = SyntheticNames::new(1);
        let a = names.address("a.test").unwrap();
        assert_eq!(names.address("b.test"), None);
        assert_eq!(names.address("a.test"), Some(a));
    }

    #[test]
    fn every_number_has_an_address_of_its_own_until_there_are_no_more() {
        let all: u32 = BLOCKS.iter().map(|(_, count)| count).sum();
        for number in (0..2000).chain(all - 3..all) {
            assert_eq!(position(nth(number).unwrap()), Some(number));
        }
        assert_eq!(nth(all), None);
        assert_eq!(nth(762), Some(Ipv4Addr::new(198, 18, 0, 1)));
        let names = SyntheticNames::new(usize::MAX);
        for number in 0..all {
            assert!(names.address(&number.to_string()).is_some());
        }
        assert_eq!(names.address("one more"), None);
    }

    #[test]
    fn other_addresses_have_no_name() {
        let names = SyntheticNames::new(9);
        let _ = names.address("a.test");
        for text in [
            "198.18.0.0",
            "198.18.0.2",
            "198.17.255.255",
            "198.20.0.1",
            "127.0.0.1",
            "::1",
        ] {
            assert_eq!(names.name(text.parse().unwrap()), None, "{text}");
        }
    }
}
