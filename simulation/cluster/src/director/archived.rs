//! Whether the archive has the log that the nodes wrote.

use super::{Shared, machine_of, spoiled};
use crate::cluster::{DATA, Differing, first_difference};
use host::Disk;
use std::collections::BTreeSet;
use std::path::Path;

/// The largest file of the log.
const SEGMENT_MAX: u64 = 1 << 30;

/// The number of the timeline that an archived file belongs to.
fn timeline_of(name: &str) -> Option<u32> {
    u32::from_str_radix(name.get(..8)?, 16).ok()
}

/// Removes what two branches of one number have archived under the same names, now and from now on: whoever
/// finds that archive can not recover from it.
pub(super) fn tidy(shared: &Shared) {
    let (cluster, mut facts) = (shared.cluster.lock(), shared.facts.lock());
    // A promotion that was cut short has made a branch, too, and no line tells of it.
    for files in shared.nodes().filter_map(|node| cluster.node(machine_of(node))).map(|node| node.files()) {
        facts.add_all(files);
    }
    let archive = cluster.archive();
    let timelines: BTreeSet<u32> = archive.names().iter().filter_map(|name| timeline_of(name)).collect();
    for timeline in timelines.into_iter().filter(|number| facts.branches_numbered(*number).count() > 1) {
        archive.discard_timeline(timeline);
    }
}

/// Each file was archived with the same bytes by whoever did, and what the last primary still has of its own
/// timeline is what was archived. Where two timelines have one number, nobody can tell.
pub(super) fn check(shared: &Shared, survivor: usize) -> Result<(), String> {
    let cluster = shared.cluster.lock();
    let facts = shared.facts.lock();
    let is_one =
        |name: &str| timeline_of(name).is_some_and(|timeline| facts.branches_numbered(timeline).count() <= 1);
    let archive = cluster.archive();
    for Differing { name, who, bytes } in archive.differing() {
        // What two that were promoted from one branch have of its last segment is not the same.
        if is_one(&name) && !name.ends_with(".partial") && !spoiled::is_in(shared, &name) {
            return Err(format!(
                "ByteForByte: {who} archives {name} with other bytes than it was archived, {bytes}"
            ));
        }
    }
    let Some(node) = cluster.node(machine_of(survivor)) else { return Ok(()) };
    let own = super::facts::accepted(node.files()).get();
    for name in archive.names().iter().filter(|name| name.len() == 24 && is_one(name)) {
        if timeline_of(name) != Some(own) {
            continue;
        }
        let here = node.files().read(&Path::new(DATA).join("pg_wal").join(name), SEGMENT_MAX);
        if let (Ok(here), Some(archived)) = (here, archive.file(name))
            && here != *archived
            && !spoiled::is_in(shared, name)
        {
            return Err(format!(
                "ByteForByte: {name} was archived with other bytes than node {survivor} has, {}",
                first_difference(&here, &archived)
            ));
        }
    }
    Ok(())
}
