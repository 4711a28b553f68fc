//! Who waits for whom, and circles of those.

use super::manager::{LockManager, Waits};
use super::name::LockName;
use super::strength::Strength;
use super::table::Owner;
use std::collections::HashSet;

/// One transaction's wait, as a search for cycles or for those to blame finds it.
pub(super) struct Step {
    pub(super) owner: Owner,
    /// The bit of the mode that it waits for.
    pub(super) mode: u16,
    pub(super) name: LockName,
    /// Of the name.
    pub(super) hash: u64,
    pub(super) blockers: Vec<Owner>,
}

impl LockManager {
    /// Those whom `owner`, waiting for this lock, waits for: holders and earlier waiters that exclude it.
    pub(super) fn step(&self, owner: Owner, hash: u64, name: &LockName) -> Step {
        let mut step = Step { owner, mode: 0, name: name.clone(), hash, blockers: Vec::new() };
        let shard = self.shard(hash).lock();
        let Some(lock) = shard.find(hash, |lock| lock.name == *name) else { return step };
        let Some(at) = lock.queue.iter().position(|waiter| waiter.owner == owner) else { return step };
        let Strength { bit, excludes } = lock.queue[at].strength;
        let holders =
            lock.holders.iter().filter(|holder| holder.bits & excludes != 0).map(|holder| holder.owner);
        let ahead = lock
            .queue
            .iter()
            .take(at)
            .filter(|waiter| waiter.strength.bit & excludes != 0)
            .map(|waiter| waiter.owner);
        step.mode = bit;
        step.blockers.extend(holders.chain(ahead).filter(|blocker| *blocker != owner));
        step
    }

    /// Why `start` has to give up its wait, if it must: those who wait for each other. It counts as one who
    /// waits no more from then on, so that no other of them gives up as well.
    pub(super) fn give_up(&self, start: Owner) -> Option<Vec<Step>> {
        let is_blind = host::planted!("no deadlock is found");
        let mut waits = self.waits();
        let find = |waits: &Waits| match waits.get(&start)? {
            (_, LockName::Place(_)) => self.find_stuck_places(start, waits),
            _ => self.find_cycle(start, waits),
        };
        // Two looks: the first one may have put together waits that were never there at one time.
        let cycle = find(&waits).and_then(|_| find(&waits)).filter(|_| !is_blind)?;
        waits.remove(&start);
        Some(cycle)
    }

    /// A cycle of waits through `start`, as the chain of its members.
    fn find_cycle(&self, start: Owner, waits: &Waits) -> Option<Vec<Step>> {
        let mut seen = HashSet::new();
        let mut path: Vec<Step> = Vec::new();
        let enter = |owner: Owner| {
            let (hash, name) = waits.get(&owner)?;
            // Whoever waits for a place takes any: see `find_stuck_places`.
            let is_followed = !matches!(name, LockName::Place(_));
            is_followed.then(|| self.step(owner, *hash, name))
        };
        path.push(enter(start)?);
        while let Some(step) = path.last_mut() {
            match step.blockers.pop() {
                None => {
                    path.pop();
                }
                Some(next) if next == start => return Some(path),
                Some(next) if seen.insert(next) => path.extend(enter(next)),
                Some(_) => {}
            }
        }
        None
    }

    /// For `start`, which waits for any of the places of large transactions: how it and one of their holders
    /// wait for each other, if all holders wait, be it through others, for those who wait for a place.
    fn find_stuck_places(&self, start: Owner, waits: &Waits) -> Option<Vec<Step>> {
        let mut holders: Vec<Owner> = Vec::new();
        for shard in &self.shards {
            let table = shard.lock();
            let places = table.iter().filter(|lock| matches!(lock.name, LockName::Place(_)));
            holders.extend(places.flat_map(|lock| lock.holders.iter().map(|holder| holder.owner)));
        }
        holders.sort_unstable();
        let waits_for_place = |owner: &Owner| matches!(waits.get(owner), Some((_, LockName::Place(_))));
        let is_stuck = |holder: Owner| {
            let (mut seen, mut left) = (HashSet::from([holder]), vec![holder]);
            while let Some(owner) = left.pop() {
                let Some((hash, name)) = waits.get(&owner) else { continue };
                let blockers = self.step(owner, *hash, name).blockers;
                if blockers.iter().any(waits_for_place) {
                    return true;
                }
                left.extend(blockers.into_iter().filter(|blocker| seen.insert(*blocker)));
            }
            false
        };
        if holders.contains(&start) || !holders.iter().all(|holder| is_stuck(*holder)) {
            return None;
        }
        let step = |owner: Owner| {
            let (hash, name) = waits.get(&owner)?;
            Some(self.step(owner, *hash, name))
        };
        Some([start].into_iter().chain(holders.first().copied()).filter_map(step).collect())
    }
}
