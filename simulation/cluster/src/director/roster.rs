//! The rosters of nodes: who streams from others or to them comes to know all of them, and where they can be
//! reached, on disk too: from that alone a primary that comes back learns that it was replaced.

use super::{Shared, admin, machine_of};
use crate::cluster::{DATA, PORT};
use host::Disk;
use protocol::conninfo;
use simulated::net::address_of;
use simulation::VirtualDisk;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The file of a roster is no larger.
const FILE_MAX: u64 = 1 << 18;
/// The setting by which a node says itself where it can be reached.
pub(super) const ADVERTISED: &str = "plimsoll.advertised_address";
/// How long it may take until all know of all once no faults happen any more.
const SPREAD_LIMIT: Duration = Duration::from_secs(15);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);

fn text(files: &VirtualDisk) -> String {
    let text = files.read(&Path::new(DATA).join("plimsoll/roster"), FILE_MAX).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether a node's roster has this address.
fn has_address(files: &VirtualDisk, address: &str) -> bool {
    let text = text(files);
    let mut members = text.lines().filter_map(|line| line.strip_prefix("member=")?.split(' ').nth(3));
    members.any(|addresses| addresses.split(',').any(|known| known == address))
}

/// Whether one of two nodes knows the other by its id: else what they tell each other does not count. A clone
/// that is promoted before it has streamed is known to nobody.
pub(super) fn is_known_by_id(ours: &VirtualDisk, theirs: &VirtualDisk) -> bool {
    let has = |files: &VirtualDisk, other: &VirtualDisk| {
        let (text, other) = (text(files), text(other));
        let id = other.lines().find_map(|line| line.strip_prefix("self=")?.split(' ').next());
        let ids = text.lines().filter_map(|line| line.strip_prefix("member=")?.split(' ').next());
        id.is_some_and(|id| ids.into_iter().any(|known| known == id))
    };
    has(ours, theirs) || has(theirs, ours)
}

/// Whether a node's roster has another one where that can be reached.
pub(super) fn knows(files: &VirtualDisk, node: usize) -> bool {
    has_address(files, &format!("{PORT}@{}", address_of(machine_of(node))))
}

/// Where a node says that it can be reached, as a roster has it.
fn stated(files: &VirtualDisk, node: usize) -> String {
    let said = admin::in_file(files, ADVERTISED).and_then(|text| conninfo::ConnInfo::parse(&text).ok());
    let endpoint = said.and_then(|info| info.endpoints.into_iter().next());
    match endpoint {
        Some((conninfo::Endpoint::Tcp(host), port)) => format!("{port}@{host}"),
        _ => format!("{PORT}@{}", address_of(machine_of(node))),
    }
}

/// Waits until each node's roster has all others where they say that they can be reached.
pub(super) async fn check(shared: &Arc<Shared>) -> Result<(), String> {
    let begun = Instant::now();
    while let Some((node, other)) = lacks(shared) {
        if begun.elapsed() > SPREAD_LIMIT {
            return Err(format!("OneWriter: the roster of node {node} does not have node {other}"));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// A node, and one that it does not know.
fn lacks(shared: &Shared) -> Option<(usize, usize)> {
    let cluster = shared.cluster.lock();
    let files = |node: usize| cluster.node(machine_of(node)).map(|there| there.files());
    let pairs = shared.nodes().flat_map(|node| shared.nodes().map(move |other| (node, other)));
    pairs.filter(|(node, other)| node != other).find(|(node, other)| {
        let Some((ours, theirs)) = files(*node).zip(files(*other)) else { return false };
        !has_address(ours, &stated(theirs, *other))
    })
}
