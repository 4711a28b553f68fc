//! Commits that do not wait are durable within three times wal_writer_delay: looked at on the disk, then.

use super::clients::WAL_WRITER_DELAY_MS;
use super::{Shared, disks, machine_of};
use crate::branch::Token;
use crate::history::{Deed, Entry, History, Level};
use std::sync::atomic::Ordering;
use wal::{Lsn, TimelineId};

/// What a slow disk and a look take beyond that.
const SLACK_MS: u64 = 100;

/// An earlier commit is among so many operations.
const RECENT: usize = 200;

/// When a commit that did not wait must be durable; None if it is another.
fn due(entry: &Entry) -> Option<u64> {
    let is_lazy = match &entry.deed {
        Deed::Write(write) => write.level == Level::Off,
        Deed::Ddl(ddl) => ddl.level == Level::Off,
        Deed::Read(_) => false,
    };
    let told_ms = entry.returned_ms.filter(|_| is_lazy)?;
    entry.token().map(|_| told_ms + 3 * WAL_WRITER_DELAY_MS + SLACK_MS)
}

/// Whether a commit is durable on a node, of which `before` is an earlier one of the same branch; None if the
/// node is down.
pub(super) fn is_durable(shared: &Shared, node: usize, (before, commit): (Lsn, &Token)) -> Option<bool> {
    let cluster = shared.cluster.lock();
    let there = cluster.node(machine_of(node)).filter(|there| there.is_up())?;
    let history = disks::history(there.files(), TimelineId::new(commit.branch.timeline()))?;
    // What is in memory only is not there at all.
    let is_written = disks::has_log(there.files(), &history, (before, commit.at));
    Some(is_written && disks::is_log_durable(there.files(), &history, (before, commit.at)).is_ok())
}

/// The last commit before another one on its branch that any client was told of.
fn before(history: &History, commit: &Token) -> Option<Lsn> {
    let recent = history.entries().iter().rev().take(RECENT).filter_map(Entry::token);
    let earlier = recent.filter(|token| token.branch == commit.branch && token.at < commit.at);
    earlier.map(|token| token.at).max()
}

/// Looks at those whose time has come since the last look.
pub(super) fn look(shared: &Shared) -> Result<(), String> {
    let now_ms = shared.now_ms();
    let since_ms = shared.lazy_until_ms.swap(now_ms, Ordering::Relaxed);
    let history = shared.history.lock();
    // Operations are in the order in which they began, and take a few seconds at most.
    let recent = history.entries().iter().rev().take_while(|entry| entry.invoked_ms + 10_000 > now_ms);
    let lazy = recent.filter(|entry| due(entry).is_some_and(|due_ms| due_ms > since_ms && due_ms <= now_ms));
    for entry in lazy {
        let (node, from_ms) = (entry.node, entry.invoked_ms);
        let Some(token) = entry.token() else { continue };
        let befell = {
            let facts = shared.facts.lock();
            facts.losses_since(node, from_ms) > 0 || facts.paused_since(node, from_ms)
        };
        let Some(before) = before(&history, token).filter(|_| !befell) else { continue };
        if is_durable(shared, node, (before, token)) == Some(false) {
            return Err(format!(
                "Durable: node {node} has told of {entry:?}, and {token} is not durable yet"
            ));
        }
    }
    Ok(())
}
