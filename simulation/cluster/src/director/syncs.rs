//! Syncs of a node's log, or of its tables, that fail: the server must not go on, since nobody knows what its
//! disk has.

use super::events::{cut_power, policy_of};
use super::{Shared, facts, machine_of, rewinding};
use crate::cluster::State;
use crate::guarantee::Lost;
use crate::rare::Rare;
use simulated::Life;
use simulation::{Call, Fault, FaultKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long it may take until the log is synced; then it does not fail any more.
const MET_LIMIT: Duration = Duration::from_secs(1);
/// How long a server may take to end that has met it.
const END_LIMIT: Duration = Duration::from_secs(2);
/// Files of tables and indexes are below this folder.
pub(super) const TABLES: &str = "/base/";
/// What a server says that has met it.
pub(super) const FAILED: &str = "Input/output error";

/// What a sync was to make durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Synced {
    /// A segment of the log.
    Log,
    /// A file of a table or an index.
    Tables,
}

/// Lets the next sync of such a file of a node fail. What it was to save was seen by programs and is not
/// there. By the seed, the machine goes down with its server, or the next server finds it in the kernel.
pub(super) fn fail(shared: &Arc<Shared>, node: usize, what: Synced, seed: u64) {
    let (life, files, mut states) = {
        let cluster = shared.cluster.lock();
        let Some(there) = cluster.node(machine_of(node)).filter(|there| there.is_up()) else { return };
        (there.life(), there.files().clone(), there.states())
    };
    let now_ms = shared.now_ms();
    let limit_ms = u64::try_from((MET_LIMIT + END_LIMIT).as_millis()).unwrap_or(u64::MAX);
    shared.facts.lock().paused(node, now_ms, now_ms + limit_ms);
    let path = match what {
        // Not the files of histories.
        Synced::Log => format!("pg_wal/{:08X}0000", facts::accepted(&files).get()),
        Synced::Tables => TABLES.to_owned(),
    };
    let fault = Fault::once(Call::Sync, &path, 1, FaultKind::Io);
    files.inject(fault.clone());
    let there = shared.clone();
    shared.beside(async move {
        drop(tokio::time::timeout(MET_LIMIT, states.wait_for(State::is_over)).await);
        files.disarm(&fault);
        let Ok(Ok(ended)) = tokio::time::timeout(END_LIMIT, states.wait_for(State::is_over)).await else {
            return;
        };
        let has_met = matches!(&*ended, State::Ended(Err(why)) if why.contains(FAILED));
        drop(ended);
        if has_met && what == Synced::Tables {
            there.hit(Rare::FailedDataSync);
        }
        let is_over = there.now_ms() >= there.plan_from_ms.load(Ordering::Relaxed) + there.plan.duration_ms;
        if seed.is_multiple_of(2) && !is_over {
            lose_power(&there, node, (life, seed));
        } else if has_met {
            there.facts.lock().lost(node, there.now_ms(), Lost::Process);
        }
    });
}

/// Cuts the power of a machine whose server has ended since that life, if no other has begun; who rewinds its
/// disk goes down with it.
fn lose_power(shared: &Shared, node: usize, (life, seed): (Option<Life>, u64)) {
    let id = machine_of(node);
    let now = shared.cluster.lock().node(id).and_then(|node| node.life());
    if (now.is_some() && now == life) || rewinding::is_at_work(shared, node) {
        return cut_power(shared, node, seed);
    }
    if now.is_none() {
        let mut cluster = shared.cluster.lock();
        let left = cluster.node(id).map(|node| node.files().crash(policy_of(seed)));
        left.into_iter().for_each(|files| cluster.take(id, files));
        shared.facts.lock().lost(node, shared.now_ms(), Lost::Machine);
    }
}
