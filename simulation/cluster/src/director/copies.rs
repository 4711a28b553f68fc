//! What plimsoll.sync_replication_slots promises: a standby has the slots of the primary that it follows, and
//! none of them is ahead of the primary's.

use super::admin::{PATIENCE, ask};
use super::slots::name_of;
use super::{Shared, machine_of};
use crate::cluster::id_text;
use crate::features::Feature;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wal::Lsn;

/// How long a standby may take to copy a slot once no faults happen any more.
const COPY_LIMIT: Duration = Duration::from_secs(10);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// A server's slots that keep log, with the positions from which on they do.
const SLOTS: &str = "select string_agg(slot_name || ' ' || restart_lsn, ',') from pg_replication_slots \
                     where not temporary and restart_lsn is not null and wal_status <> 'lost'";
/// Words of a line about a slot that has no copy.
const NOT_COPIED: &str = "is not copied";

type Restarts = BTreeMap<String, Lsn>;

/// Waits until each standby has copies of all slots of its primary.
pub(super) async fn check(shared: &Arc<Shared>, primary: usize) -> Result<(), String> {
    if !shared.plan.features.has(Feature::CopiedSlots) {
        return Ok(());
    }
    for standby in shared.nodes().filter(|node| *node != primary) {
        let begun = Instant::now();
        while let Some(why) = lacks(shared, standby, primary).await {
            if begun.elapsed() > COPY_LIMIT {
                return Err(format!("liveness: node {standby} {why} of node {primary}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// What a standby lacks yet.
async fn lacks(shared: &Arc<Shared>, standby: usize, primary: usize) -> Option<String> {
    // The primary's go on meanwhile; one goes back where its standby's stream begins anew.
    let (Some(copies), Some(slots)) = (slots_of(shared, standby).await, slots_of(shared, primary).await)
    else {
        return Some("does not say whether it has the slots".to_owned());
    };
    // What it receives by needs no copy here.
    let own = name_of(standby);
    let wanted = |name: &String| *name != own && !is_refused(shared, standby, name);
    for (name, restart) in slots.iter().filter(|(name, _)| wanted(name)) {
        match copies.get(name) {
            None => return Some(format!("has no copy of the slot {name}")),
            Some(copy) if copy > restart => {
                let what = format!("keeps log for the slot {name} from {copy} on, behind {restart}");
                return Some(what);
            }
            Some(_) => {}
        }
    }
    None
}

async fn slots_of(shared: &Arc<Shared>, node: usize) -> Option<Restarts> {
    let answer = shared.admin(async move { ask(machine_of(node), SLOTS, PATIENCE).await }).await.ok()?;
    Some(restarts(&answer.ok()?.unwrap_or_default()))
}

fn restarts(text: &str) -> Restarts {
    let slots = text.split(',').filter_map(|slot| slot.split_once(' '));
    slots.filter_map(|(name, restart)| Some((name.to_owned(), restart.parse().ok()?))).collect()
}

/// Whether a node's log has said that it takes no copy of a slot: it has one of its own, or not the log.
fn is_refused(shared: &Shared, node: usize, name: &str) -> bool {
    let quoted = format!("\"{name}\"");
    let cluster = shared.cluster.lock();
    let lines = cluster.story().of(&id_text(machine_of(node)));
    lines.iter().any(|line| line.contains(NOT_COPIED) && line.contains(&quoted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slots_of_an_answer_are_read() {
        let known = restarts("of_n1 0/12AB,kept3 1/0,odd x");
        assert_eq!(
            known,
            [("of_n1".to_owned(), Lsn::new(0x12AB)), ("kept3".to_owned(), Lsn::new(1 << 32))].into()
        );
        assert_eq!(restarts(""), Restarts::new());
    }
}
