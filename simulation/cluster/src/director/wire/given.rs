//! A standby has of its branch what it was sent, and ships no more than that to others.

use crate::branch::Branch;
use crate::director::{Shared, disks, machine_of};
use crate::features::Feature;
use std::collections::BTreeMap;
use wal::Lsn;
use wal::history::TimelineHistory;

/// A stream begins at most so much before the end of the standby's log.
const OVERLAP_BYTES: u64 = 8192;

/// What each standby was sent of the branch that it follows.
#[derive(Debug, Default)]
pub(super) struct Given(BTreeMap<usize, Last>);

/// What a standby has of the branch that it followed last.
#[derive(Debug)]
struct Last {
    branch: Branch,
    since_ms: u64,
    /// The standby's log ends here or before.
    upto: Lsn,
}

impl Given {
    /// A standby's server begins to receive a branch at a position.
    pub(super) fn begins(&mut self, standby: usize, branch: &Branch, at: Lsn, since_ms: u64) {
        // A stream begins before a record that came in part, however long that is.
        let had = self.0.get(&standby).filter(|last| last.branch == *branch);
        let upto = had.map_or(Lsn::INVALID, |last| last.upto).max(at + OVERLAP_BYTES);
        self.0.insert(standby, Last { branch: branch.clone(), since_ms, upto });
    }

    /// A node ships a branch up to a position to a standby: it has that itself.
    pub(super) fn sent(
        &mut self,
        shared: &Shared,
        (node, standby): (usize, usize),
        (branch, history, upto): (&Branch, &TimelineHistory, Lsn),
    ) -> Result<(), String> {
        self.extend(standby, branch, upto);
        let Some(last) = self.ends_before(node, branch, upto) else { return Ok(()) };
        // What comes from an archive nobody has sent.
        let is_other = shared.facts.lock().losses_since(node, last.since_ms) > 0
            || shared.plan.features.has(Feature::Archives);
        if is_other {
            return Ok(());
        }
        let sent = last.upto;
        // Of a segment that was switched away from, the rest is empty: nobody needs to be sent that.
        let rest = || {
            let cluster = shared.cluster.lock();
            let files = cluster.node(machine_of(node))?.files();
            disks::switched_before(files, history, sent)
        };
        if let Some(end) = rest().filter(|end| upto <= *end) {
            self.extend(node, branch, end);
            return Ok(());
        }
        Err(format!("Shipped: node {node} ships {branch} up to {upto}, and was sent it up to {sent}"))
    }

    fn extend(&mut self, standby: usize, branch: &Branch, upto: Lsn) {
        if let Some(last) = self.0.get_mut(&standby).filter(|last| last.branch == *branch) {
            last.upto = last.upto.max(upto);
        }
    }

    fn ends_before(&self, node: usize, branch: &Branch, upto: Lsn) -> Option<&Last> {
        self.0.get(&node).filter(|last| last.branch == *branch && last.upto < upto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_sent_a_branch_has_what_it_had_and_what_came_since() {
        let (one, other) = (Branch::new("1"), Branch::new("2-a"));
        let mut given = Given::default();
        assert!(given.ends_before(3, &one, Lsn::new(1 << 30)).is_none(), "nobody knows");
        given.begins(3, &one, Lsn::new(100), 5);
        let is_more = |given: &Given, branch: &Branch, upto: u64| {
            given.ends_before(3, branch, Lsn::new(upto)).is_some()
        };
        assert!(!is_more(&given, &one, 100 + OVERLAP_BYTES) && is_more(&given, &one, 101 + OVERLAP_BYTES));
        given.extend(3, &one, Lsn::new(20_000));
        given.extend(3, &other, Lsn::new(30_000));
        assert!(!is_more(&given, &one, 20_000) && is_more(&given, &one, 20_001));
        assert!(!is_more(&given, &other, 50_000), "it writes that itself");
        given.begins(3, &one, Lsn::new(5000), 7);
        assert!(!is_more(&given, &one, 20_000), "it had that before");
        given.begins(3, &other, Lsn::new(1000), 9);
        assert!(is_more(&given, &other, 20_000), "the rest was cut");
    }
}
