//! The slots that standbys have at their upstreams, if the plan has switched that on.

use super::admin::{self, PATIENCE, ask};
use super::{Shared, machine_of};
use crate::features::Feature;
use simulation::VirtualDisk;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often an upstream is asked for a slot; it may be down, or on its way up.
const TRIES: usize = 12;
/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(120);
/// How long a temporary slot may outlive its session, which may have gone without a word.
const TEMPORARY_LIMIT: Duration = Duration::from_secs(10);
/// A server's temporary slots that no session uses.
const LEFT_BEHIND: &str =
    "select string_agg(slot_name, ', ') from pg_replication_slots where temporary and not active";

/// The name of a node's slot, on whatever node it is.
pub(super) fn name_of(node: usize) -> String {
    format!("of_n{node}")
}

fn are_used(shared: &Shared) -> bool {
    shared.plan.features.has(Feature::StandbySlots)
}

/// Names a standby's slot in its settings, which may be a copy of another node's.
pub(super) fn set_name(shared: &Shared, node: usize, files: &VirtualDisk) {
    if are_used(shared) {
        // The virtual disk takes it, unless it is full.
        let _ = admin::set_in_file(files, "primary_slot_name", &name_of(node));
    }
}

async fn make_one(node: usize, upstream: usize) -> Result<(), String> {
    let sql = format!("select pg_create_physical_replication_slot('{}', true)", name_of(node));
    match ask(machine_of(upstream), &sql, PATIENCE).await {
        Err(why) if !why.contains("already exists") => Err(why),
        _ => Ok(()),
    }
}

/// Makes the slots of the standbys that there are in the beginning.
pub(super) async fn make_first(shared: &Arc<Shared>) -> Result<(), String> {
    if !are_used(shared) {
        return Ok(());
    }
    for (node, upstream) in shared.plan.upstreams.iter().enumerate() {
        if let Some(upstream) = *upstream {
            let made = shared.admin(make_one(node, upstream)).await.map_err(|error| error.to_string())?;
            made.map_err(|why| format!("node {node} gets no slot at node {upstream}: {why}"))?;
        }
    }
    Ok(())
}

/// Waits until no server has a temporary slot of a session that has ended.
pub(super) async fn check_temporary(shared: &Arc<Shared>) -> Result<(), String> {
    for node in shared.nodes() {
        let begun = Instant::now();
        let left = || shared.admin(async move { ask(machine_of(node), LEFT_BEHIND, PATIENCE).await });
        while let Some(slots) = left().await.map_err(|error| error.to_string())?? {
            if begun.elapsed() > TEMPORARY_LIMIT {
                return Err(format!(
                    "Bounded: node {node} keeps log for {slots}, which no session uses any more"
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Makes a standby's slot at another upstream, as soon as that takes it.
pub(super) fn make(shared: &Arc<Shared>, node: usize, upstream: usize) {
    if !are_used(shared) {
        return;
    }
    let there = shared.clone();
    drop(shared.admin(async move {
        for _ in 0..TRIES {
            match make_one(node, upstream).await {
                Ok(()) => return there.tell(&format!("node {node} has a slot at node {upstream}")),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }));
}
