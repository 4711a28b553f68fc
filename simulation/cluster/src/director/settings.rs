//! The settings that a run's nodes begin with beside those of every run.

use super::{admin, machine_of, slots};
use crate::cluster::{ARCHIVE_COMMAND, RESTORE_COMMAND, conninfo};
use crate::features::Feature;
use crate::plan::{Event, FENCE_PROBE, Plan, Timed};
use fastrand::Rng;
use simulation::VirtualDisk;

/// What a seed decides of them; the rest is decided by its features.
pub(super) struct Settings {
    with_peers: bool,
    archive_mode: &'static str,
    probes_often: bool,
    has_small_pools: bool,
    timeout_ms: Option<u64>,
}

impl Settings {
    pub(super) fn random(plan: &Plan, random: &mut Rng) -> Self {
        let asks = |timed: &Timed| matches!(&timed.event, Event::Reload { name, .. } if name == FENCE_PROBE);
        let with_peers = random.bool() || plan.events.iter().any(asks);
        Self {
            with_peers,
            archive_mode: if random.u8(..3) == 0 { "always" } else { "on" },
            probes_often: with_peers && random.bool(),
            has_small_pools: random.u8(..3) == 0,
            timeout_ms: (random.u8(..3) == 0).then(|| random.u64(100..2000)),
        }
    }

    /// Sets them in a node's directory.
    pub(super) fn put(&self, plan: &Plan, node: usize, files: &VirtualDisk) {
        // The virtual disk takes it.
        let set = |name: &str, value: &str| drop(admin::set_in_file(files, name, value));
        let has = |feature: Feature| plan.features.has(feature);
        // Whoever is promoted has it too.
        set("synchronous_standby_names", &plan.names);
        if self.with_peers {
            let peers: Vec<String> = (0..plan.nodes()).map(|peer| conninfo(machine_of(peer))).collect();
            set("plimsoll.peers", &peers.join("; "));
        }
        if self.has_small_pools {
            set("shared_buffers", "512kB");
        }
        if self.probes_often {
            set(FENCE_PROBE, "500ms");
        }
        if plan.upstreams[node].is_some() && has(Feature::StandbySlots) {
            set("primary_slot_name", &slots::name_of(node));
        }
        if has(Feature::OwnRewinds) {
            set("plimsoll.auto_rewind", "on");
        }
        if has(Feature::CopiedSlots) {
            set("plimsoll.sync_replication_slots", "on");
        }
        if has(Feature::Archives) {
            set("archive_mode", self.archive_mode);
            set("archive_command", ARCHIVE_COMMAND);
            set("restore_command", RESTORE_COMMAND);
        }
        if let Some(ms) = self.timeout_ms {
            set("plimsoll.synchronous_timeout", &format!("{ms}ms"));
        }
    }
}
