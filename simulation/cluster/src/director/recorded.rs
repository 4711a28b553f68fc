//! Positions in a ledger's entries, those too that no line of a log names: they are places of the log that
//! they speak of.
//!
//! | entry            | what must hold                                                                      |
//! |------------------|-------------------------------------------------------------------------------------|
//! | a fallback       | it goes up to the end of a record, that of the commit which waited; what standbys   |
//! |                  | had held before lies in front of it                                                 |
//! | a cut            | what is left ends with a record, unless what was cut comes again                    |
//! | a lost slot      | its file names the same position                                                    |
//! | a handover       | its position is the end of a record                                                 |
//! | all              | the end does not lie before the beginning                                           |

use super::patience::Fallback;
use super::{disks, facts};
use crate::branch::Branch;
use crate::cluster::{DATA, has};
use crate::guarantee::{Guarantee, Quorum, Released};
use crate::history::{Entry as Deed, History};
use crate::machine::ledger_file::Entry;
use crate::machine::slot_files;
use simulation::VirtualDisk;
use std::path::Path;
use wal::Lsn;
use wal::history::TimelineHistory;

/// Why a standby has cut what it receives again.
const AS_FOLLOWER: &str = "cut before following the primary";

/// What is wrong with the positions of an entry of the ledger that lies on these files.
pub(super) fn look(files: &VirtualDisk, entry: &Entry) -> Result<(), String> {
    let (Some(after), Some(upto)) = (entry.after, entry.upto) else { return Ok(()) };
    if upto < after {
        return Err(format!("{upto} lies before {after}"));
    }
    match entry.event.as_str() {
        "fallback" | "handover" => ends_record(files, upto),
        // The rest of a record in which it was cut may have come since.
        "cut" if entry.reason.ends_with(AS_FOLLOWER) => Ok(()),
        "cut" => may_be_cut(files, after),
        "slot_lost" => {
            let name = entry.reason.split('"').nth(1).unwrap_or_default();
            match slot_files::given_up_at(files, Path::new(DATA), name) {
                Some(at) if at != after => Err(format!("the slot's file says that it was given up at {at}")),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn ends_record(files: &VirtualDisk, at: Lsn) -> Result<(), String> {
    match history(files).is_none_or(|history| disks::is_record_end(files, &history, at)) {
        true => Ok(()),
        false => Err(format!("no record ends at {at}")),
    }
}

fn may_be_cut(files: &VirtualDisk, at: Lsn) -> Result<(), String> {
    match history(files).is_none_or(|history| disks::may_be_cut(files, &history, at)) {
        true => Ok(()),
        false => Err(format!("a whole record lies across {at}")),
    }
}

fn history(files: &VirtualDisk) -> Option<TimelineHistory> {
    let is_standby = has(files, "standby.signal");
    if is_standby { facts::branch_history(files) } else { disks::written(files) }
}

/// What standbys held, and clients were told so, before a fallback is no part of it.
pub(super) fn check(fallbacks: &[Fallback], history: &History, guarantee: &Guarantee) -> Result<(), String> {
    let begins_anew = |fallback: &&Fallback| !fallbacks.iter().any(|open| goes_on(fallback, open, guarantee));
    for fallback in fallbacks.iter().filter(begins_anew) {
        let of_it = |released: &&Released| {
            released.after == fallback.after
                && released.told_ms.is_some_and(|(from_ms, _)| from_ms == fallback.at_ms)
        };
        let Some(released) = guarantee.released.iter().find(of_it) else { continue };
        let was_held = |entry: &&Deed| is_held_before(entry, fallback, &released.branch, guarantee);
        if let Some(entry) = history.entries().iter().find(was_held) {
            let Fallback { node, at_ms, after, .. } = fallback;
            return Err(format!(
                "Silent: node {node} falls back after {after} at {at_ms} ms, and standbys held {entry:?}"
            ));
        }
    }
    Ok(())
}

/// Whether a fallback from a weaker level goes on with one that lasts, and tells the position of that: what
/// standbys held at the level of that one alone.
fn goes_on(fallback: &Fallback, open: &Fallback, guarantee: &Guarantee) -> bool {
    let returned = |released: &Released| {
        let ended = released.told_ms.filter(|_| released.after == open.after);
        ended.is_some_and(|(_, to_ms)| (open.at_ms..=fallback.at_ms).contains(&to_ms))
    };
    open.node == fallback.node
        && open.at_ms < fallback.at_ms
        && open.level > fallback.level
        && open.after == fallback.after
        && !guarantee.released.iter().any(returned)
}

/// How long before the line that tells of a fallback a commit must have been told. Where standbys are is
/// looked at before the ledger takes it, and while that waits for a slow disk they may come.
const RECORD_MS: u64 = 100;

/// Whether a commit was told at the level from which a node falls back, or above, and lies behind what it
/// says was held. Of one that waited for others, or for whom nobody waited for a while, nothing is known; nor
/// of one that was told in an earlier life, since a start knows what a record of then says was held.
fn is_held_before(entry: &Deed, fallback: &Fallback, branch: &Branch, guarantee: &Guarantee) -> bool {
    let Some((level, token)) = entry.level_told().zip(entry.token()) else { return false };
    let is_it = entry.node == fallback.node
        && level >= fallback.level
        && (fallback.since_ms..fallback.at_ms.saturating_sub(RECORD_MS)).contains(&entry.told_ms())
        && token.at > fallback.after
        && guarantee.branches.home(token) == *branch;
    if !is_it {
        return false;
    }
    let is_other = |released: &&Released| {
        released.branch == *branch && released.told_ms.is_none_or(|(from_ms, _)| from_ms < fallback.at_ms)
    };
    let may_have_fallen_back = |released: &Released| {
        released.told_ms.is_none_or(|(from_ms, _)| from_ms <= entry.told_ms())
            && released.upto.is_none_or(|upto| released.after < upto && token.at <= upto)
    };
    let mut in_force = guarantee.in_force(fallback.node, entry.invoked_ms, fallback.at_ms);
    let was_set = |quorum: &Quorum| quorum.count > 0 && quorum.from_ms <= entry.invoked_ms;
    let waited = in_force.next().is_some_and(was_set) && in_force.next().is_none();
    waited && !guarantee.released.iter().filter(is_other).any(may_have_fallen_back)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{self, Deed as What, Level, Outcome, Write};

    fn commit(level: Level, token: &str, told_ms: u64) -> History {
        let mut history = History::default();
        let write = Write::new(1, level, [0].into(), [0].into());
        let pending = history.begin((0, 0), 0, "insert", told_ms - 10, What::Write(write));
        let outcome = Outcome::Acked { token: token.parse().ok(), warnings: Vec::new() };
        history.end(pending, told_ms, outcome, |_: &mut history::Deed| ());
        history
    }

    #[test]
    fn what_standbys_held_before_a_fallback_is_no_part_of_it() {
        let after = Lsn::new(0x50);
        let (end, level) = (Lsn::new(0x90), Level::On);
        let fallback = Fallback { node: 0, at_ms: 2000, since_ms: 1000, limit_ms: 300, level, after, end };
        let mut guarantee = Guarantee::calm(Branch::new("1"));
        let (standbys, first) = ([1].into(), Vec::new());
        guarantee.quorums.push(Quorum { node: 0, from_ms: 0, to_ms: 9000, count: 1, standbys, first });
        let released = |after: u64, from_ms: u64, upto: Option<u64>| Released {
            branch: Branch::new("1"),
            after: Lsn::new(after),
            upto: upto.map(Lsn::new),
            told_ms: Some((from_ms, 9000)),
        };
        guarantee.released.push(released(0x50, 2000, None));
        for (level, token, told_ms, is_right) in [
            (Level::On, "1:0/50", 1850, true),
            (Level::On, "1:0/60", 1850, false),
            (Level::RemoteApply, "1:0/60", 1850, false),
            (Level::RemoteWrite, "1:0/60", 1850, true),
            (Level::On, "1:0/60", 1950, true),
            (Level::On, "1:0/60", 2000, true),
            (Level::On, "2-a:0/60", 1850, true),
            (Level::On, "1:0/60", 900, true),
        ] {
            let found = check(&[fallback], &commit(level, token, told_ms), &guarantee);
            assert_eq!(found.is_ok(), is_right, "{level:?} {token} {told_ms}: {found:?}");
        }
        let weaker = Fallback { at_ms: 2008, level: Level::RemoteWrite, ..fallback };
        let received = commit(Level::RemoteWrite, "1:0/60", 1850);
        let mut twice = guarantee.clone();
        twice.released.push(released(0x50, 2008, None));
        assert!(check(&[weaker], &received, &twice).is_err());
        assert_eq!(check(&[fallback, weaker], &received, &twice), Ok(()), "that of the first is told");
        let flushed = commit(Level::On, "1:0/60", 1850);
        assert!(check(&[fallback, weaker], &flushed, &twice).is_err());
        twice.released[0].told_ms = Some((2000, 2004));
        assert!(check(&[fallback, weaker], &received, &twice).is_err(), "the first had ended");
        let held = commit(Level::On, "1:0/60", 1850);
        let mut before = guarantee.clone();
        before.released.push(released(0x40, 1500, Some(0x70)));
        assert_eq!(check(&[fallback], &held, &before), Ok(()), "it was acknowledged by another one");
        guarantee.quorums[0].from_ms = 1950;
        assert_eq!(check(&[fallback], &held, &guarantee), Ok(()), "nobody was waited for");
    }
}
