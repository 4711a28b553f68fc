//! Slots that a standby copies from its upstream, so that a receiver finds its slot on whoever is promoted.
//!
//! The sender tells a Plimsoll standby that asked for it the permanent slots of its node, with each heartbeat
//! if anything moved. A copy stands where the original stands, or at the end of the log here if that is less,
//! and keeps WAL here. Until the promotion it belongs to the upstream: nobody uses, moves or drops it here; a
//! promotion makes it an ordinary slot.
//!
//! A copy is only made, or moved back, where the WAL that it promises is here: a slot that lacks its WAL is
//! worth nothing.

use super::{Lifetime, ReplicaError, Slot, Slots, validate_name};
use std::collections::BTreeMap;
use wal::Lsn;

/// A slot as its node tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSlot {
    /// slot_name
    pub name: String,
    /// restart_lsn; INVALID if it reserves nothing.
    pub restart: Lsn,
    /// Where it stood when it lost its WAL; INVALID if it has not.
    pub lost_at: Lsn,
}

/// What became of copies, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyNews {
    /// A copy was made.
    Made(UpstreamSlot),
    /// The upstream dropped its slot, and so the copy went.
    Dropped(String),
    /// The upstream's slot lost its WAL, and the copy is worth nothing either.
    Lost(UpstreamSlot),
    /// There is no copy; told once for each reason.
    Refused(String, Refusal),
}

/// Why a slot is not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A slot of that name was made here.
    NameTaken,
    /// max_replication_slots are there.
    Full,
    /// The WAL from there on is not here.
    WalMissing(Lsn),
}

/// Writes slots for the wire: for each the name's length in a byte, the name, restart_lsn and lost_at in 8
/// bytes each, big-endian.
pub(crate) fn encode(slots: &[UpstreamSlot]) -> Vec<u8> {
    let mut out = Vec::with_capacity(slots.len() * 32);
    for slot in slots {
        // Names have 63 bytes at most.
        out.push(u8::try_from(slot.name.len()).unwrap_or(u8::MAX));
        out.extend(slot.name.as_bytes());
        out.extend(slot.restart.get().to_be_bytes());
        out.extend(slot.lost_at.get().to_be_bytes());
    }
    out
}

/// Reads them back. `Err` says what is wrong.
pub(crate) fn decode(mut bytes: &[u8]) -> Result<Vec<UpstreamSlot>, ReplicaError> {
    let short = || ReplicaError::Protocol("the primary's list of slots ends in the middle of one".to_owned());
    let mut slots = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*length)).ok_or_else(short)?;
        let (restart, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let (lost_at, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let name = String::from_utf8_lossy(name).into_owned();
        // It becomes the name of a folder.
        validate_name(&name)?;
        let lsn = |bytes: &[u8; 8]| Lsn::new(u64::from_be_bytes(*bytes));
        slots.push(UpstreamSlot { name, restart: lsn(restart), lost_at: lsn(lost_at) });
        bytes = rest;
    }
    Ok(slots)
}

impl Slots {
    /// What a standby is told that copies slots: the permanent ones but for its own.
    pub(crate) fn to_copy(&self, own: Option<&str>) -> Vec<UpstreamSlot> {
        let table = self.0.table.lock();
        let told = table
            .iter()
            .filter(|(name, slot)| slot.lifetime == Lifetime::Permanent && Some(name.as_str()) != own);
        told.map(|(name, slot)| UpstreamSlot {
            name: name.clone(),
            restart: slot.restart,
            lost_at: slot.invalidated_at,
        })
        .collect()
    }

    /// Makes the copies what the upstream's slots are. `end` is the end of the durable log here, and
    /// `is_there` says whether the log from a position before it on is here. What is new is durable when it
    /// returns; positions that move on are saved with the next checkpoint, as those of other slots are.
    ///
    /// # Errors
    ///
    /// Fails if a slot's file cannot be written or removed.
    pub fn follow(
        &self,
        upstream: &[UpstreamSlot],
        end: Lsn,
        is_there: &dyn Fn(Lsn) -> bool,
    ) -> Result<Vec<CopyNews>, ReplicaError> {
        let mut news = self.drop_copies(|name| !upstream.iter().any(|slot| slot.name == name))?;
        let mut refused = BTreeMap::new();
        for slot in upstream {
            match self.copy_one(slot, end, is_there)? {
                Some(CopyNews::Refused(name, why)) => {
                    refused.insert(name, why);
                }
                Some(other) => news.push(other),
                None => {}
            }
        }
        let mut told = self.0.refused.lock();
        let kind = std::mem::discriminant::<Refusal>;
        for (name, why) in &refused {
            if told.get(name).is_none_or(|before| kind(before) != kind(why)) {
                news.push(CopyNews::Refused(name.clone(), *why));
            }
        }
        *told = refused;
        Ok(news)
    }

    fn copy_one(
        &self,
        upstream: &UpstreamSlot,
        end: Lsn,
        is_there: &dyn Fn(Lsn) -> bool,
    ) -> Result<Option<CopyNews>, ReplicaError> {
        let name = &upstream.name;
        let refused = |why| Ok(Some(CopyNews::Refused(name.clone(), why)));
        let lost = upstream.lost_at.is_valid();
        // Nobody can be shown to hold more than is durable here.
        let mut restart = if upstream.restart.is_valid() { upstream.restart.min(end) } else { Lsn::INVALID };
        if restart.is_valid() && host::planted!("a copied slot keeps no more than what comes from now on") {
            restart = end;
        }
        let mut table = self.0.table.lock();
        let Some(slot) = table.get_mut(name) else {
            if lost {
                return Ok(None);
            }
            if restart.is_valid() && !is_there(restart) {
                return refused(Refusal::WalMissing(restart));
            }
            if table.len() >= self.0.max {
                return refused(Refusal::Full);
            }
            let mut slot = Slot::new(Lifetime::Permanent, restart);
            slot.copied = true;
            self.write_new(name, &slot)?;
            table.insert(name.clone(), slot);
            // A checkpoint that had begun to remove segments did not know the slot yet.
            if restart.is_valid() && !is_there(restart) {
                self.remove(name)?;
                table.remove(name);
                return refused(Refusal::WalMissing(restart));
            }
            return Ok(Some(CopyNews::Made(UpstreamSlot { restart, ..upstream.clone() })));
        };
        if !slot.copied {
            return refused(Refusal::NameTaken);
        }
        if lost {
            if slot.invalidated_at == upstream.lost_at {
                return Ok(None);
            }
            (slot.restart, slot.invalidated_at) = (Lsn::INVALID, upstream.lost_at);
            self.write(name, slot)?;
            return Ok(Some(CopyNews::Lost(upstream.clone())));
        }
        let moves_on = slot.restart.is_valid() && restart >= slot.restart;
        if moves_on {
            slot.restart = restart;
        } else if restart.is_valid() && !is_there(restart) {
            return refused(Refusal::WalMissing(restart));
        } else if slot.restart != restart {
            (slot.restart, slot.invalidated_at) = (restart, Lsn::INVALID);
            self.write(name, slot)?;
        }
        Ok(None)
    }

    /// Drops copies of these names, durably.
    ///
    /// # Errors
    ///
    /// Fails if a slot's file cannot be removed.
    pub fn drop_copies(&self, goes: impl Fn(&str) -> bool) -> Result<Vec<CopyNews>, ReplicaError> {
        let mut table = self.0.table.lock();
        let copies = table.iter().filter(|(name, slot)| slot.copied && goes(name));
        let names: Vec<String> = copies.map(|(name, _)| name.clone()).collect();
        for name in &names {
            self.remove(name)?;
            table.remove(name);
        }
        Ok(names.into_iter().map(CopyNews::Dropped).collect())
    }

    /// Copies become ordinary slots, durably: this node takes writes from now on.
    ///
    /// # Errors
    ///
    /// Fails if a slot's file cannot be written.
    pub fn keep_copies(&self) -> Result<(), ReplicaError> {
        let mut table = self.0.table.lock();
        for (name, slot) in table.iter_mut().filter(|(_, slot)| slot.copied) {
            slot.copied = false;
            self.write(name, slot)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::Host;
    use protocol::SqlState;
    use std::path::Path;

    fn at(lsn: u64) -> Lsn {
        Lsn::new(lsn)
    }
    fn open(dir: &Path) -> Slots {
        Slots::open(&Host::real(), dir, 2).unwrap()
    }
    fn told(name: &str, restart: u64) -> UpstreamSlot {
        UpstreamSlot { name: name.to_owned(), restart: at(restart), lost_at: Lsn::INVALID }
    }
    fn shown(slots: &Slots) -> Vec<(String, u64, bool)> {
        slots.list().into_iter().map(|slot| (slot.name, slot.restart.get(), slot.copied)).collect()
    }
    const ALL: &dyn Fn(Lsn) -> bool = &|_| true;

    #[test]
    fn slots_come_back_from_the_wire_and_a_cut_or_a_strange_name_is_refused() {
        let slots = [told("a", 7), UpstreamSlot { lost_at: at(9), ..told("b_2", 0) }];
        let bytes = encode(&slots);
        assert_eq!(decode(&bytes).unwrap(), slots);
        for length in (1..bytes.len()).filter(|length| *length != bytes.len() / 2 - 1) {
            assert!(decode(&bytes[..length]).is_err(), "{length}");
        }
        assert!(decode(&encode(&[told("../x", 1)])).is_err());
    }

    #[test]
    fn a_copy_follows_its_original_and_survives_a_restart_as_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let slots = open(dir.path());
        let news = slots.follow(&[told("s", 100)], at(90), ALL).unwrap();
        assert_eq!(news, [CopyNews::Made(told("s", 90))], "no further than the log here");
        assert_eq!(slots.follow(&[told("s", 200)], at(300), ALL).unwrap(), []);
        assert_eq!(shown(&slots), [("s".to_owned(), 200, true)]);
        slots.save().unwrap();
        let again = open(dir.path());
        assert_eq!(shown(&again), [("s".to_owned(), 200, true)]);
        assert_eq!(again.follow(&[], at(300), ALL).unwrap(), [CopyNews::Dropped("s".to_owned())]);
        assert_eq!(shown(&open(dir.path())), []);
    }

    #[test]
    fn nobody_touches_a_copy_before_the_promotion_and_anybody_does_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let slots = open(dir.path());
        slots.follow(&[told("s", 100)], at(300), ALL).unwrap();
        let states = |slots: &Slots| {
            let errors = [
                slots.acquire("s", 1).err(),
                slots.advance("s", at(200), at(300), 1).err(),
                slots.drop_slot("s", 1).err(),
            ];
            errors.map(|error| error.map(|error| error.sqlstate()))
        };
        assert_eq!(states(&slots), [Some(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE); 3]);
        slots.keep_copies().unwrap();
        assert_eq!(shown(&open(dir.path())), [("s".to_owned(), 100, false)]);
        assert_eq!(states(&slots), [None; 3]);
    }

    #[test]
    fn a_slot_is_copied_only_where_its_wal_is_and_its_name_is_free_and_that_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let slots = open(dir.path());
        slots.create("own", Lifetime::Permanent, Some(&|| at(5)), 1).unwrap();
        let upstream = [told("own", 50), told("far_back", 20), told("s", 60), told("third", 60)];
        let from_40: &dyn Fn(Lsn) -> bool = &|lsn| lsn >= at(40);
        let refused = |name: &str, why| CopyNews::Refused(name.to_owned(), why);
        let expected = [
            CopyNews::Made(told("s", 60)),
            refused("far_back", Refusal::WalMissing(at(20))),
            refused("own", Refusal::NameTaken),
            refused("third", Refusal::Full),
        ];
        assert_eq!(slots.follow(&upstream, at(100), from_40).unwrap(), expected);
        assert_eq!(slots.follow(&upstream, at(100), from_40).unwrap(), [], "told once");
        assert_eq!(slots.find("own").unwrap().restart, at(5));
        slots.drop_slot("own", 1).unwrap();
        let reached = [told("far_back", 45), told("s", 30)];
        let news = slots.follow(&reached, at(100), from_40).unwrap();
        assert_eq!(news, [CopyNews::Made(told("far_back", 45)), refused("s", Refusal::WalMissing(at(30)))]);
        assert_eq!(slots.find("s").unwrap().restart, at(60), "it does not move back to where nothing is");
    }

    #[test]
    fn wal_that_went_between_the_look_and_the_making_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let slots = open(dir.path());
        let looks = std::cell::Cell::new(0);
        let going = |_: Lsn| looks.replace(looks.get() + 1) == 0;
        let news = slots.follow(&[told("s", 60)], at(100), &going).unwrap();
        assert_eq!(news, [CopyNews::Refused("s".to_owned(), Refusal::WalMissing(at(60)))]);
        assert_eq!(shown(&open(dir.path())), []);
    }

    #[test]
    fn a_slot_that_was_lost_upstream_is_lost_here() {
        let dir = tempfile::tempdir().unwrap();
        let slots = open(dir.path());
        slots.follow(&[told("s", 60)], at(100), ALL).unwrap();
        let lost = UpstreamSlot { name: "s".to_owned(), restart: Lsn::INVALID, lost_at: at(60) };
        let list = [lost.clone()];
        assert_eq!(slots.follow(&list, at(100), ALL).unwrap(), [CopyNews::Lost(lost)]);
        assert_eq!(slots.follow(&list, at(100), ALL).unwrap(), []);
        assert_eq!((slots.oldest(), slots.find("s").unwrap().invalidated_at), (None, at(60)));
    }

    #[test]
    fn own_and_temporary_slots_are_not_told() {
        let dir = tempfile::tempdir().unwrap();
        let slots = Slots::open(&Host::real(), dir.path(), 3).unwrap();
        for (name, lifetime) in
            [("a", Lifetime::Permanent), ("b", Lifetime::Permanent), ("t", Lifetime::Temporary)]
        {
            slots.create(name, lifetime, Some(&|| at(5)), 1).unwrap();
        }
        assert_eq!(slots.to_copy(Some("b")), [told("a", 5)]);
    }
}
