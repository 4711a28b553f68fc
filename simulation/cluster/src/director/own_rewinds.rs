//! Standbys that rewind themselves. Such a one goes to a branch that continues the one it followed: two of
//! which neither continues the other are for an operator to choose from.

use super::words::{GIVES_UP, REWINDS_ITSELF, REWOUND_ITSELF};
use super::{Shared, disks, facts, machine_of};
use crate::branch::Branch;
use crate::cluster::DATA;
use crate::guarantee::Lost;
use crate::rare::Rare;
use rewind::Marker;
use simulation::VirtualDisk;
use std::collections::BTreeMap;
use std::path::Path;
use wal::TimelineId;
use wal::history::TimelineHistory;

/// What was heard, and is to be looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Begins,
    GivesUp,
    /// It is done, and this timeline is followed: the directory is on it already, or on its ancestor up to
    /// where that was left, if the source had come no further.
    Ends(TimelineId),
}

/// Standbys that rewind themselves.
#[derive(Debug, Default)]
pub(super) struct OwnRewinds {
    heard: Vec<(usize, Heard)>,
    /// The branches that they say to give up, until they say that they are done. Who is killed goes on later;
    /// who is cloned, or rewound by an operator, begins anew if ever.
    given_up: BTreeMap<usize, Branch>,
    /// Nodes whose rewind by an operator broke off, and the branch that he chose: the next start may go on to
    /// it, and to one that continues it.
    ordered: BTreeMap<usize, Branch>,
    /// When each said last that it begins, in milliseconds.
    begun: BTreeMap<usize, u64>,
}

/// Whether a node went down to rewind itself since a time: it has removed nothing of the log that the rewind
/// may need.
pub(super) fn begins_since(shared: &Shared, node: usize, since_ms: u64) -> bool {
    shared.own_rewinds.lock().begun.get(&node).is_some_and(|begun_ms| *begun_ms >= since_ms)
}

/// An operator's rewind has broken off. If that was in the middle, the node's next start goes on with it.
pub(super) fn broke_off(shared: &Shared, node: usize) {
    let files = shared.cluster.lock().node(machine_of(node)).map(|there| there.files().clone());
    if let Some(chosen) = files.and_then(|files| begun_for(&files)) {
        let chosen = facts::branch_of(&chosen, chosen.target());
        shared.own_rewinds.lock().ordered.insert(node, chosen);
    }
}

/// The branch that a rewind of a directory was begun for, if it is in the middle of one.
fn begun_for(files: &VirtualDisk) -> Option<TimelineHistory> {
    Marker::load(files, Path::new(DATA)).ok()??.history
}

/// Notes what a node's log says. The cluster is locked.
pub(super) fn hear(shared: &Shared, node: usize, line: &str) {
    let mut own = shared.own_rewinds.lock();
    if let Some(branch) = given_up(line) {
        own.given_up.insert(node, branch);
    }
    if line.contains(REWINDS_ITSELF) {
        own.begun.insert(node, shared.now_ms());
    }
    let words = [(REWINDS_ITSELF, Heard::Begins), (GIVES_UP, Heard::GivesUp)];
    let found = words.into_iter().filter(|(words, _)| line.contains(words)).map(|(_, heard)| heard);
    let ends = rewound_to(line).map(Heard::Ends);
    own.heard.extend(found.chain(ends).map(|heard| (node, heard)));
}

/// The timeline to which a node says that it has rewound itself.
fn rewound_to(line: &str) -> Option<TimelineId> {
    let (_, told) = line.split_once(REWOUND_ITSELF)?;
    told.split(':').next()?.parse().ok().map(TimelineId::new)
}

/// The branch that a rewind gives up, by the name of the file that keeps its commits:
/// `discarded-<timeline>-<fork>-<given up>-<end>.json`.
fn given_up(line: &str) -> Option<Branch> {
    let (_, name) = line.split_once(GIVES_UP)?;
    Some(Branch::new(&name.split('-').nth(2)?.replace('.', "-")))
}

/// Looks into it.
pub(super) fn look(shared: &Shared) -> Result<(), String> {
    let heard = std::mem::take(&mut shared.own_rewinds.lock().heard);
    heard.into_iter().try_for_each(|(node, heard)| look_at(shared, node, heard))
}

fn look_at(shared: &Shared, node: usize, heard: Heard) -> Result<(), String> {
    let files = shared.cluster.lock().node(machine_of(node)).map(|there| there.files().clone());
    let now_ms = shared.now_ms();
    let Some(files) = files else { return Ok(()) };
    let branch = match heard {
        Heard::Begins => {
            shared.facts.lock().lost(node, now_ms, Lost::Process);
            return Ok(());
        }
        // What it does is decided, and not done yet.
        Heard::GivesUp => begun_for(&files),
        Heard::Ends(timeline) => {
            let mut facts = shared.facts.lock();
            facts.add_all(&files);
            facts.rewound_itself(node, now_ms);
            shared.hit(Rare::RewoundItself);
            disks::history(&files, timeline)
        }
    };
    let mut own = shared.own_rewinds.lock();
    let (given_up, chosen) = match heard {
        Heard::Ends(_) => (own.given_up.remove(&node), own.ordered.remove(&node)),
        _ => (own.given_up.get(&node).cloned(), own.ordered.get(&node).cloned()),
    };
    let (Some(given_up), Some(branch)) = (given_up, branch) else { return Ok(()) };
    if continues(&branch, &given_up) || chosen.is_some_and(|chosen| goes_on_from(&branch, &chosen)) {
        return Ok(());
    }
    let branch = facts::branch_of(&branch, branch.target());
    Err(format!(
        "Astray: node {node} rewinds itself from branch {given_up} to {branch}, which does not continue it"
    ))
}

/// Whether this is a branch, or one that goes on from it.
fn goes_on_from(history: &TimelineHistory, branch: &Branch) -> bool {
    history.newest_first().any(|(timeline, ..)| facts::branch_of(history, timeline) == *branch)
}

fn continues(history: &TimelineHistory, branch: &Branch) -> bool {
    goes_on_from(history, branch) && facts::branch_of(history, history.target()) != *branch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeline_that_is_followed_stands_in_the_line() {
        let told = "rewound to timeline 12: the rest of a rewind that was broken off; 7 bytes copied";
        assert_eq!(rewound_to(told), Some(TimelineId::new(12)));
        assert_eq!(rewound_to("LOG:  selected new timeline ID: 2"), None);
    }

    #[test]
    fn the_branch_that_is_given_up_stands_in_the_file_name() {
        let line = |name: &str| {
            format!("WARNING:  discarding 3 commits, kept in \"/data/plimsoll/{name}\" (plimsoll")
        };
        let first = line("discarded-1-00000000003FFE78-1-000000000044F9F8.json");
        assert_eq!(given_up(&first), Some(Branch::new("1")));
        let later = line("discarded-2-0000000000264A60-2.9c22f02177586f40-0000000000264C58.json");
        assert_eq!(given_up(&later), Some(Branch::new("2-9c22f02177586f40")));
        assert_eq!(given_up("rewound to timeline 2: the rest of a rewind that was broken off"), None);
    }
}
