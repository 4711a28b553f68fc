//! Slots that a standby copies from its upstream, so that a receiver finds its slot on whoever is promoted.
//!
//! The sender tells a Plimsoll standby that asked for it the permanent slots of its node, with each heartbeat
//! if anything moved. A copy stands where the original stands, or at the end of the log here if that is less,
//! and keeps WAL here. Until the promotion it belongs to the upstream: nobody uses, moves or drops it here; a
//! promotion makes it an ordinary slot.
//!
//! A copy is only made, or moved back, where the WAL that it promises is here: a slot that lacks its WAL is
//! worth nothing. What the disk does not take keeps no other copy from being what it has to be. Who asked for
//! it is told, and asks again.

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

/// What a node that copies slots knows of its upstream's.
#[derive(Debug, Default)]
pub(super) struct OfUpstream {
    /// They are copied, and this stream has not told of them yet.
    awaited: bool,
    /// Those of which there is no right copy here, and why, as far as that was told.
    refused: BTreeMap<String, (UpstreamSlot, Refusal)>,
    /// The one that this node itself uses there, and needs wherever it goes; it keeps none for itself here.
    used: Option<UpstreamSlot>,
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

/// What became of all copies.
#[derive(Debug, Default)]
pub struct Copied {
    /// For the log.
    pub news: Vec<CopyNews>,
    /// What the disk did not take; it is to be asked for again.
    pub failed: Vec<ReplicaError>,
    /// One stands past the log that is durable here: its copy stands at that log's end, and is to be asked
    /// for again.
    pub is_behind: bool,
}

/// Why a slot is not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A slot of that name is this node's own: it was made here, or a promotion made it that.
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
    /// A stream begins which tells of the upstream's slots, if they are copied.
    pub fn await_upstream(&self, copies: bool) {
        let mut known = self.0.upstream.lock();
        match copies {
            true => known.awaited = true,
            false => *known = OfUpstream::default(),
        }
    }

    /// What a standby is told that copies slots: the permanent ones, and the upstream's of which there is no
    /// right copy here. None while this node itself is to be told.
    pub(crate) fn to_copy(&self) -> Option<Vec<UpstreamSlot>> {
        let upstream = self.0.upstream.lock();
        if upstream.awaited {
            return None;
        }
        let table = self.0.table.lock();
        let permanent = table.iter().filter(|(_, slot)| slot.lifetime == Lifetime::Permanent);
        let here = permanent.map(|(name, slot)| UpstreamSlot {
            name: name.clone(),
            restart: slot.restart,
            lost_at: slot.invalidated_at,
        });
        let refused = upstream.refused.values().filter(|(_, why)| *why != Refusal::NameTaken);
        let upstreams = refused.map(|(slot, _)| slot).chain(&upstream.used).cloned();
        let told = here.chain(upstreams).map(|slot| (slot.name.clone(), slot));
        // Of two with one name the upstream's, which is the last.
        Some(told.collect::<BTreeMap<_, _>>().into_values().collect())
    }

    /// Makes the copies what the upstream's slots are, but for that which this node `uses` there. `end` is
    /// the end of the durable log here in this generation, and `is_there` says whether the log from a
    /// position before it on is here. What is new is durable when it returns, unless that failed; positions
    /// that move on are saved with the next checkpoint, as those of other slots are.
    pub fn follow(
        &self,
        upstream: &[UpstreamSlot],
        uses: Option<&str>,
        end: (Lsn, u64),
        is_there: &dyn Fn(Lsn) -> bool,
    ) -> Copied {
        let (used, upstream): (Vec<_>, Vec<_>) =
            upstream.iter().partition(|slot| Some(slot.name.as_str()) == uses);
        let mut copied = self.drop_copies(|name| !upstream.iter().any(|slot| slot.name == name));
        copied.is_behind = upstream.iter().any(|slot| slot.restart > end.0);
        let mut refused = BTreeMap::new();
        for slot in upstream {
            match self.copy_one(slot, end, is_there, &mut copied.news) {
                Ok(Some(why)) => {
                    refused.insert(slot.name.clone(), (slot.clone(), why));
                }
                Ok(None) => {}
                Err(error) => copied.failed.push(error),
            }
        }
        let mut known = self.0.upstream.lock();
        let kind = std::mem::discriminant::<Refusal>;
        for (name, (_, why)) in &refused {
            if known.refused.get(name).is_none_or(|(_, before)| kind(before) != kind(why)) {
                copied.news.push(CopyNews::Refused(name.clone(), *why));
            }
        }
        *known = OfUpstream { awaited: false, refused, used: used.first().copied().cloned() };
        copied
    }

    /// Why there is no copy of this one, if there is none.
    fn copy_one(
        &self,
        upstream: &UpstreamSlot,
        (end, generation): (Lsn, u64),
        is_there: &dyn Fn(Lsn) -> bool,
        news: &mut Vec<CopyNews>,
    ) -> Result<Option<Refusal>, ReplicaError> {
        let name = &upstream.name;
        let lost = upstream.lost_at.is_valid();
        let mut table = self.0.table.lock();
        let end = self.of_this_log(end, generation);
        // Nobody can be shown to hold more than is durable here.
        let mut restart = if upstream.restart.is_valid() { upstream.restart.min(end) } else { Lsn::INVALID };
        if restart.is_valid() && host::planted!("a copied slot keeps no more than what comes from now on") {
            restart = end;
        }
        let is_there = |at: Lsn| is_there(at) && !self.has_let_go(at);
        let Some(slot) = table.get_mut(name) else {
            if lost {
                return Ok(None);
            }
            if restart.is_valid() && !is_there(restart) {
                return Ok(Some(Refusal::WalMissing(restart)));
            }
            if table.len() >= self.0.max {
                return Ok(Some(Refusal::Full));
            }
            let mut slot = Slot::new(Lifetime::Permanent, restart);
            slot.copied = true;
            self.write_new(name, &slot)?;
            table.insert(name.clone(), slot);
            // A checkpoint that had begun to remove segments did not know the slot yet.
            if restart.is_valid() && !is_there(restart) {
                self.remove(name)?;
                table.remove(name);
                return Ok(Some(Refusal::WalMissing(restart)));
            }
            news.push(CopyNews::Made(UpstreamSlot { restart, ..upstream.clone() }));
            return Ok(None);
        };
        if !slot.copied {
            return Ok(Some(Refusal::NameTaken));
        }
        if lost {
            if slot.invalidated_at != upstream.lost_at {
                // It may have been given up here before.
                if !slot.invalidated_at.is_valid() {
                    news.push(CopyNews::Lost(upstream.clone()));
                }
                slot.invalidate(upstream.lost_at);
            }
            // It is lost whatever its file says.
            return self.write_if_changed(name, slot).map(|()| None);
        }
        let moves_on = slot.restart.is_valid() && restart >= slot.restart;
        if moves_on {
            slot.restart = restart;
        } else if restart.is_valid() && !is_there(restart) {
            return Ok(Some(Refusal::WalMissing(restart)));
        } else if slot.restart != restart {
            self.write_as(name, slot, restart)?;
        }
        Ok(None)
    }

    /// Drops copies of these names, durably, unless that failed.
    pub fn drop_copies(&self, goes: impl Fn(&str) -> bool) -> Copied {
        let mut dropped = Copied::default();
        self.0.table.lock().retain(|name, slot| {
            if !slot.copied || !goes(name) {
                return true;
            }
            let removed = self.remove(name);
            let stays = removed.is_err();
            match removed {
                Ok(()) => dropped.news.push(CopyNews::Dropped(name.clone())),
                Err(error) => dropped.failed.push(error),
            }
            stays
        });
        dropped
    }

    /// Copies become ordinary slots: this node takes writes from now on. Who uses them could not come here
    /// before. Those whose file cannot be written are so here at once, and in their files with the next save.
    ///
    /// # Errors
    ///
    /// Fails if a slot's file cannot be written.
    pub fn keep_copies(&self) -> Result<(), ReplicaError> {
        *self.0.upstream.lock() = OfUpstream::default();
        let mut table = self.0.table.lock();
        let idle_since = Some(self.0.host.clock.monotonic());
        for slot in table.values_mut().filter(|slot| slot.copied) {
            (slot.copied, slot.unwritten, slot.idle_since) = (false, true, idle_since);
        }
        drop(table);
        self.save()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::host::Disk;
    use host::{Host, Timestamp};
    use protocol::SqlState;
    use simulation::{ManualClock, VirtualDisk};
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

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
    fn followed(
        slots: &Slots,
        upstream: &[UpstreamSlot],
        end: Lsn,
        is_there: &dyn Fn(Lsn) -> bool,
    ) -> Vec<CopyNews> {
        let Copied { news, failed, is_behind } = slots.follow(upstream, Some("used"), (end, 0), is_there);
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(is_behind, upstream.iter().any(|slot| slot.restart > end));
        news
    }
    fn lost(name: &str, lost_at: u64) -> UpstreamSlot {
        UpstreamSlot { name: name.to_owned(), restart: Lsn::INVALID, lost_at: at(lost_at) }
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
        let news = followed(&slots, &[told("s", 100)], at(90), ALL);
        assert_eq!(news, [CopyNews::Made(told("s", 90))], "no further than the log here");
        assert_eq!(followed(&slots, &[told("s", 200)], at(300), ALL), []);
        assert_eq!(shown(&slots), [("s".to_owned(), 200, true)]);
        slots.save().unwrap();
        let again = open(dir.path());
        assert_eq!(shown(&again), [("s".to_owned(), 200, true)]);
        assert_eq!(followed(&again, &[], at(300), ALL), [CopyNews::Dropped("s".to_owned())]);
        assert_eq!(shown(&open(dir.path())), []);
    }

    #[test]
    fn the_slot_that_a_node_uses_is_no_copy_there_and_is_told_on() {
        let dir = tempfile::tempdir().unwrap();
        let slots = open(dir.path());
        let upstream = [told("s", 90), told("used", 80)];
        assert_eq!(followed(&slots, &upstream, at(100), ALL), [CopyNews::Made(told("s", 90))]);
        assert_eq!(shown(&slots), [("s".to_owned(), 90, true)]);
        assert_eq!(slots.to_copy().unwrap(), upstream);
        slots.keep_copies().unwrap();
        assert_eq!(slots.to_copy().unwrap(), [told("s", 90)]);
    }

    #[test]
    fn more_copies_than_there_may_be_slots_keep_no_server_from_starting_and_more_slots_do() {
        let dir = tempfile::tempdir().unwrap();
        followed(&open(dir.path()), &[told("a", 1), told("b", 1)], at(9), ALL);
        let narrow = || Slots::open(&Host::real(), dir.path(), 1);
        let slots = narrow().unwrap();
        assert_eq!(followed(&slots, &[told("a", 1), told("c", 1)], at(9), ALL).len(), 2, "full");
        assert_eq!(shown(&slots), [("a".to_owned(), 1, true)]);
        followed(&open(dir.path()), &[told("a", 1), told("b", 1)], at(9), ALL);
        open(dir.path()).keep_copies().unwrap();
        let refused = narrow().unwrap_err();
        assert_eq!(refused.hint().as_deref(), Some("Increase max_replication_slots and try again."));
    }

    #[test]
    fn nobody_touches_a_copy_before_the_promotion_and_anybody_does_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let slots = open(dir.path());
        followed(&slots, &[told("s", 100)], at(300), ALL);
        let states = |slots: &Slots| {
            let errors = [
                slots.acquire("s", 1).err(),
                slots.advance("s", at(200), (at(300), 0), 1).err(),
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
    fn a_copy_is_never_idle_and_is_from_the_promotion_on() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
        let host = Host { clock: clock.clone(), ..Host::real() };
        let open = || Slots::open(&host, dir.path(), 2).unwrap();
        let slots = open();
        followed(&slots, &[told("s", 100)], at(300), ALL);
        let minute = Duration::from_secs(60);
        clock.advance(minute);
        let idle = |slots: &Slots| slots.find("s").unwrap().idle_since;
        // Also one that was copied in an earlier life.
        let again = open();
        assert_eq!((idle(&slots), idle(&again)), (None, None));
        clock.advance(minute);
        for slots in [slots, again] {
            let promoted = host.clock.monotonic();
            slots.keep_copies().unwrap();
            assert!(slots.invalidate_idle(promoted).slots.is_empty(), "who uses it has his time to come");
            clock.advance(minute);
            assert_eq!(slots.invalidate_idle(promoted + minute).slots.len(), 1, "nobody came");
        }
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
        assert_eq!(followed(&slots, &upstream, at(100), from_40), expected);
        assert_eq!(followed(&slots, &upstream, at(100), from_40), [], "told once");
        assert_eq!(slots.find("own").unwrap().restart, at(5));
        slots.drop_slot("own", 1).unwrap();
        let reached = [told("far_back", 45), told("s", 30)];
        let news = followed(&slots, &reached, at(100), from_40);
        assert_eq!(news, [CopyNews::Made(told("far_back", 45)), refused("s", Refusal::WalMissing(at(30)))]);
        assert_eq!(slots.find("s").unwrap().restart, at(60), "it does not move back to where nothing is");
        // Who copies from here may have the WAL.
        assert_eq!(slots.to_copy().unwrap(), [told("far_back", 45), told("s", 30)]);
        slots.await_upstream(true);
        assert_eq!(slots.to_copy(), None, "this node itself is to be told");
        slots.keep_copies().unwrap();
        assert_eq!(slots.to_copy().unwrap(), [told("far_back", 45), told("s", 60)]);
    }

    #[test]
    fn wal_that_went_between_the_look_and_the_making_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let slots = open(dir.path());
        let looks = std::cell::Cell::new(0);
        let going = |_: Lsn| looks.replace(looks.get() + 1) == 0;
        let news = followed(&slots, &[told("s", 60)], at(100), &going);
        assert_eq!(news, [CopyNews::Refused("s".to_owned(), Refusal::WalMissing(at(60)))]);
        assert_eq!(shown(&open(dir.path())), []);
    }

    #[test]
    fn a_slot_that_was_lost_upstream_is_lost_here() {
        let dir = tempfile::tempdir().unwrap();
        let slots = open(dir.path());
        followed(&slots, &[told("s", 60)], at(100), ALL);
        let list = [lost("s", 60)];
        assert_eq!(followed(&slots, &list, at(100), ALL), [CopyNews::Lost(lost("s", 60))]);
        assert_eq!(followed(&slots, &list, at(100), ALL), []);
        assert_eq!((slots.oldest(), slots.find("s").unwrap().invalidated_at), (None, at(60)));
    }

    #[test]
    fn what_a_full_disk_does_not_take_of_some_is_told_done_for_the_others_and_done_when_it_is_asked_again() {
        let (files, dir) = (VirtualDisk::new(), Path::new("/pg_replslot"));
        files.create_dir_all(dir).unwrap();
        let host = Host { disk: Arc::new(files.clone()), ..Host::real() };
        let open = || Slots::open(&host, dir, 9).unwrap();
        let slots = open();
        let names = ["a", "b", "goes", "still"];
        followed(&slots, &names.map(|name| told(name, 60)), at(100), ALL);
        files.set_capacity(0);
        let upstream = [lost("a", 60), lost("b", 60), told("new", 70), told("still", 50)];
        let all_lost = [CopyNews::Lost(lost("a", 60)), CopyNews::Lost(lost("b", 60))];
        let Copied { news: first, failed, .. } = slots.follow(&upstream, None, (at(100), 0), ALL);
        assert_eq!(first, [&[CopyNews::Dropped("goes".to_owned())], &all_lost[..]].concat());
        assert_eq!(failed.len(), 4, "{failed:?}");
        let state = |name: &str| slots.find(name).map(|slot| (slot.restart, slot.invalidated_at));
        assert_eq!(state("a").unwrap(), (Lsn::INVALID, at(60)), "it is lost whatever its file says");
        assert_eq!(state("still").unwrap(), (at(60), Lsn::INVALID), "what is kept is not promised yet");
        assert!(state("new").is_err());
        // Nothing is told twice.
        let again = slots.follow(&upstream, None, (at(100), 0), ALL);
        assert_eq!((again.news, again.failed.len()), (Vec::new(), 4));
        files.set_capacity(u64::MAX);
        assert_eq!(followed(&slots, &upstream, at(100), ALL), [CopyNews::Made(told("new", 70))]);
        let durable: Vec<_> = open()
            .list()
            .into_iter()
            .map(|slot| (slot.name, slot.restart.get(), slot.invalidated_at.get()))
            .collect();
        let expected = [("a", 0, 60), ("b", 0, 60), ("new", 70, 0), ("still", 50, 0)];
        assert_eq!(durable, expected.map(|(name, restart, lost)| (name.to_owned(), restart, lost)));
    }

    #[test]
    fn a_full_disk_at_the_promotion_leaves_all_copies_to_whoever_uses_them() {
        let (files, dir) = (VirtualDisk::new(), Path::new("/pg_replslot"));
        files.create_dir_all(dir).unwrap();
        let host = Host { disk: Arc::new(files.clone()), ..Host::real() };
        let open = || Slots::open(&host, dir, 9).unwrap();
        let slots = open();
        followed(&slots, &[told("a", 60), told("b", 60)], at(100), ALL);
        files.set_capacity(0);
        assert!(slots.keep_copies().is_err());
        let own = |slots: &Slots| shown(slots).into_iter().filter(|(_, _, copied)| !copied).count();
        assert_eq!((own(&slots), own(&open())), (2, 0));
        files.set_capacity(u64::MAX);
        slots.save().unwrap();
        assert_eq!(own(&open()), 2);
    }

    #[test]
    fn temporary_slots_are_not_told() {
        let dir = tempfile::tempdir().unwrap();
        let slots = Slots::open(&Host::real(), dir.path(), 3).unwrap();
        for (name, lifetime) in
            [("a", Lifetime::Permanent), ("b", Lifetime::Permanent), ("t", Lifetime::Temporary)]
        {
            slots.create(name, lifetime, Some(&|| at(5)), 1).unwrap();
        }
        assert_eq!(slots.to_copy().unwrap(), [told("a", 5), told("b", 5)]);
    }
}
