//! Commits that do not wait are durable within three times wal_writer_delay: looked at on the disk, then.

use super::clients::WAL_WRITER_DELAY_MS;
use super::{Shared, disks, machine_of};
use crate::branch::Token;
use crate::cluster::SEGMENT_BYTES;
use crate::history::{Deed, Entry, Level};
use std::sync::atomic::Ordering;
use wal::TimelineId;

/// What a slow disk and a look take beyond that.
const SLACK_MS: u64 = 100;

/// When a commit that did not wait must be durable; None if it is another.
fn due(entry: &Entry) -> Option<u64> {
    let is_lazy = match &entry.deed {
        Deed::Write(write) => write.level == Level::Off,
        Deed::Ddl(ddl) => ddl.level == Level::Off,
        Deed::Read(_) | Deed::List(_) | Deed::Take(_) => false,
    };
    let told_ms = entry.returned_ms.filter(|_| is_lazy)?;
    entry.token().map(|_| told_ms + 3 * WAL_WRITER_DELAY_MS + SLACK_MS)
}

/// Whether a commit is durable on a node; None if the node is down.
///
/// What the node has told of before says nothing about where records end: a crash may have taken that commit,
/// and others stand in its place.
pub(super) fn is_durable(shared: &Shared, node: usize, commit: &Token) -> Option<bool> {
    let cluster = shared.cluster.lock();
    let there = cluster.node(machine_of(node)).filter(|there| there.is_up())?;
    let history = disks::history(there.files(), TimelineId::new(commit.branch.timeline()))?;
    // What is in memory only is not there at all.
    let is_written = disks::is_record_end(there.files(), &history, commit.at);
    let range = (commit.at - SEGMENT_BYTES, commit.at);
    Some(is_written && disks::is_log_durable(there.files(), &history, range).is_ok())
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
        if !befell && is_durable(shared, node, token) == Some(false) {
            return Err(format!(
                "Durable: node {node} has told of {entry:?}, and {token} is not durable yet"
            ));
        }
    }
    Ok(())
}
