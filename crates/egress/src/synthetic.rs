//! Addresses that stand for names: 198.18.0.0/15, which RFC 2544 keeps for benchmarks and nobody routes.
//!
//! A name keeps its address for the life of the sandbox, so a client may cache it as long as it likes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError, RwLock};

const FIRST: u32 = u32::from_be_bytes([198, 18, 0, 0]);
const SIZE: u32 = 1 << 17;

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
    /// A map of at most `most` names.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            // Index 0 is 198.18.0.0, which some clients take for a network's own address.
            most: most.min(SIZE as usize - 1),
            maps: RwLock::default(),
        }
    }

    /// The address of `name`, given now if it has none; `None` when the map is full.
    pub(crate) fn address(&self, name: &str) -> Option<Ipv4Addr> {
        // A panic while the lock is held leaves at worst a name without an index, so poison is ignored.
        if let Some(&offset) = self
            .maps
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .by_name
            .get(name)
        {
            return Some(Ipv4Addr::from(FIRST + offset));
        }
        let mut maps = self.maps.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(&offset) = maps.by_name.get(name) {
            return Some(Ipv4Addr::from(FIRST + offset));
        }
        if maps.by_index.len() >= self.most {
            return None;
        }
        let name: Arc<str> = name.into();
        maps.by_index.push(Arc::clone(&name));
        let offset = u32::try_from(maps.by_index.len()).ok()?;
        maps.by_name.insert(name, offset);
        Some(Ipv4Addr::from(FIRST + offset))
    }

    /// The name that `address` stands for.
    pub(crate) fn name(&self, address: IpAddr) -> Option<Arc<str>> {
        let IpAddr::V4(v4) = address.to_canonical() else {
            return None;
        };
        let offset = u32::from(v4)
            .checked_sub(FIRST)
            .filter(|offset| *offset < SIZE)?;
        let index = usize::try_from(offset.checked_sub(1)?).ok()?;
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
