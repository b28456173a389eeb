//! The anchor: where the log's end was, kept outside the database, so that an end that is cut off is missed.
//!
//! It lags behind the database by what was not yet acknowledged, and is never ahead of it: it is written after the commit
//! and before the answer. Two places are written in turn, so that one that a power cut tears leaves the other.

use uuid::Uuid;

use super::{Chain, Finding, Flaw, Key, Mac, hex, purpose, unhex};

/// The head of a log at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The log's id.
    pub database: Uuid,
    /// The id of the key that it is made with.
    pub key: String,
    /// The number of the newest row; 0 where there was none.
    pub seq: u64,
    /// Its MAC.
    pub mac: Mac,
}

const FORM: &str = "srtd-audit-anchor-1";

impl Anchor {
    /// The length of one place in the file, in bytes: a sector, which disks write as a whole.
    pub const SLOT: usize = 512;

    /// The anchor of a chain whose newest row has this number and MAC.
    pub fn new(chain: &Chain, seq: u64, mac: Mac) -> Self {
        Self {
            database: chain.database(),
            key: chain.key().id().to_owned(),
            seq,
            mac,
        }
    }

    /// One line of text that shows itself to be made with the key.
    pub fn line(&self, key: &Key) -> String {
        format!(
            "{} tag={}",
            self.words(),
            key.mac(purpose::ANCHOR, self.words().as_bytes())
        )
    }

    fn words(&self) -> String {
        format!(
            "{FORM} database={} key={} seq={} mac={}",
            self.database, self.key, self.seq, self.mac
        )
    }

    /// Reads a line, and whether it was made with the key (`None` where there is no key to tell by).
    pub fn parse(line: &str, key: Option<&Key>) -> Option<(Self, bool)> {
        let mut words = line.trim().split(' ');
        if words.next() != Some(FORM) {
            return None;
        }
        let mut value = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
        let anchor = Self {
            database: value("database")?.parse().ok()?,
            key: unhex::<8>(value("key")?).map(|id| hex(&id))?,
            seq: value("seq")?.parse().ok()?,
            mac: Mac(unhex(value("mac")?)?),
        };
        let tag = Mac(unhex(value("tag")?)?);
        let authentic =
            key.is_some_and(|key| key.mac(purpose::ANCHOR, anchor.words().as_bytes()) == tag);
        words.next().is_none().then_some((anchor, authentic))
    }

    /// The bytes of one place in the file.
    pub fn slot(&self, key: &Key) -> [u8; Self::SLOT] {
        let mut slot = [b' '; Self::SLOT];
        let line = self.line(key);
        // Far shorter by its form.
        let length = line.len().min(Self::SLOT - 1);
        slot[..length].copy_from_slice(&line.as_bytes()[..length]);
        slot[Self::SLOT - 1] = b'\n';
        slot
    }
}

/// What the file's two places hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// The newest anchor that is made with the key, and its place (0 or 1).
    pub newest: Option<(Anchor, usize)>,
    /// The newest of those that can be read and are made with another key.
    pub foreign: Option<Anchor>,
    /// Whether a place holds what is no anchor.
    pub damaged: bool,
}

impl Slots {
    /// Reads the file's content.
    pub fn read(content: &[u8], key: Option<&Key>) -> Self {
        let mut slots = Self {
            damaged: content.len() != 2 * Anchor::SLOT,
            ..Self::default()
        };
        for (place, slot) in content.chunks(Anchor::SLOT).take(2).enumerate() {
            let read = std::str::from_utf8(slot).ok();
            match read.and_then(|line| Anchor::parse(line, key)) {
                Some((anchor, true)) => {
                    if slots
                        .newest
                        .as_ref()
                        .is_none_or(|(newest, _)| newest.seq <= anchor.seq)
                    {
                        slots.newest = Some((anchor, place));
                    }
                }
                Some((anchor, false)) => {
                    let ours = key.is_some_and(|key| key.id() == anchor.key);
                    if ours {
                        slots.damaged = true;
                    } else if slots
                        .foreign
                        .as_ref()
                        .is_none_or(|newest| newest.seq <= anchor.seq)
                    {
                        slots.foreign = Some(anchor);
                    }
                }
                None => slots.damaged = true,
            }
        }
        slots
    }
}

/// What an anchor tells of a log that ends with the entry `head` (0: has none), where it does not fit. `slots` is what its
/// file holds, if there is one, and `at_anchor` the MAC of the row that the newest anchor names, as it stands.
pub fn missed(
    chain: &Chain,
    slots: Option<&Slots>,
    head: u64,
    at_anchor: Option<Mac>,
) -> Option<Finding> {
    let found = |flaw, seq, message: String| Some(Finding::new(flaw, seq, message));
    let Some(slots) = slots else {
        let message = "the anchor is missing: whether the end is cut off cannot be told";
        return found(Flaw::Anchor, None, message.to_owned());
    };
    let Some((anchor, _)) = &slots.newest else {
        return match &slots.foreign {
            Some(foreign) => found(
                Flaw::OtherKey,
                None,
                format!(
                    "the anchor was made with the key {}, not with {}",
                    foreign.key,
                    chain.key().id()
                ),
            ),
            None => found(
                Flaw::Anchor,
                None,
                "the anchor was changed: whether the end is cut off cannot be told".to_owned(),
            ),
        };
    };
    let here = chain.database();
    let (seq, there) = (anchor.seq, anchor.database);
    if there != here {
        let message = format!(
            "the anchor is of the log {there} with {seq} entries, and this is the log {here}"
        );
        return found(Flaw::OtherDatabase, None, message);
    }
    if seq > head {
        let message = format!("the log ends with entry {head}, and entry {seq} was written");
        return found(Flaw::Truncated, Some(head + 1), message);
    }
    if seq > 0 && at_anchor != Some(anchor.mac) {
        let message = format!("entry {seq} is not the one that was anchored");
        return found(Flaw::Spliced, Some(seq), message);
    }
    if slots.damaged && seq == head {
        // What a power cut tears was being written after a commit: the log would be ahead of what is left.
        let message =
            "one of the anchor's two places was changed: entries at the end may be missing";
        return found(Flaw::Anchor, Some(head + 1), message.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(seq: u64) -> (Anchor, Key) {
        let key = Key::new(&[3; 32]);
        let chain = Chain::new(key.clone(), Uuid::from_u128(9));
        (Anchor::new(&chain, seq, Mac([seq as u8; 32])), key)
    }

    #[test]
    fn a_line_reads_back_and_no_character_of_it_can_be_changed() {
        let (anchor, key) = anchor(u64::MAX);
        let line = anchor.line(&key);
        assert!(line.len() < Anchor::SLOT, "{}", line.len());
        assert_eq!(
            Anchor::parse(&line, Some(&key)),
            Some((anchor.clone(), true))
        );
        assert_eq!(Anchor::parse(&line, None), Some((anchor.clone(), false)));
        let other = Key::new(&[4; 32]);
        assert_eq!(Anchor::parse(&line, Some(&other)), Some((anchor, false)));
        for place in 0..line.len() {
            for instead in [b'0', b'1', b' ', b'x'] {
                let mut changed = line.clone().into_bytes();
                if changed[place] == instead {
                    continue;
                }
                changed[place] = instead;
                let changed = String::from_utf8(changed).unwrap();
                let read = Anchor::parse(&changed, Some(&key));
                assert!(read.is_none_or(|(_, authentic)| !authentic), "{changed}");
            }
        }
    }

    #[test]
    fn the_newer_of_two_places_counts_and_a_torn_one_is_noticed() {
        let ((old, key), (new, _)) = (anchor(4), anchor(5));
        let file = [old.slot(&key), new.slot(&key)].concat();
        let read = Slots::read(&file, Some(&key));
        assert_eq!((read.newest, read.damaged), (Some((new.clone(), 1)), false));
        let mut torn = file.clone();
        torn[Anchor::SLOT + 60..Anchor::SLOT + 70].fill(b'?');
        let read = Slots::read(&torn, Some(&key));
        assert_eq!((read.newest, read.damaged), (Some((old, 0)), true));
        let mut forged = file.clone();
        let tag = file.len() - Anchor::SLOT + new.line(&key).len() - 1;
        forged[tag] = if forged[tag] == b'0' { b'1' } else { b'0' };
        assert!(Slots::read(&forged, Some(&key)).damaged);
        for wrong in [&b""[..], &file[..Anchor::SLOT], b"x"] {
            assert!(Slots::read(wrong, Some(&key)).damaged);
        }
        let read = Slots::read(&file, Some(&Key::new(&[4; 32])));
        assert_eq!((read.newest, read.foreign), (None, Some(new)));
    }
}
