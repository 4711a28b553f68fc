//! Slots of this node: what keeps them true, gives them up, and copies those of the upstream.

use super::Replication;
use replica::slots::{Copied, CopyNews, GivenUp, Refusal, UpstreamSlot};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use wal::{Lsn, SegmentFolder, WalError};

/// Time between two looks at slots: for forecasts, and for plimsoll.idle_replication_slot_timeout; and at the
/// clock.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the upstream told of its slots, as long as the copies are not what it says.
pub(super) struct UnfinishedCopies {
    upstream: Vec<UpstreamSlot>,
    /// The log tells of what failed.
    is_told: bool,
    /// Which log's positions these are ([`wal::LogState::generation`]).
    generation: u64,
}

/// Watches the slots for forecasts, and gives up those that nobody has used for too long.
pub(crate) async fn mind(replication: Arc<Replication>) {
    let ground = &replication.ground;
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let can_judge = replication.note_run();
        copy_again(&replication);
        replication.slots.note_pace(replication.limits().end, ground.host.clock.now());
        let Some(limit) = ground.config().idle_replication_slot_timeout.filter(|_| can_judge) else {
            continue;
        };
        let Some(since) = ground.host.clock.monotonic().checked_sub(limit) else { continue };
        let reason = format!(
            "nobody has used it for longer than plimsoll.idle_replication_slot_timeout ({} s)",
            limit.as_secs()
        );
        let given_up = replication.slots.invalidate_idle(since);
        given_up
            .slots
            .iter()
            .for_each(|slot| tell_lost(&replication, &slot.name, slot.invalidated_at, &reason));
        settle(&replication, &given_up);
    }
}

/// Gives up slots that need WAL before `keep`, which is about to go.
pub(super) fn invalidate_before(replication: &Replication, keep: Lsn) {
    give_up_before(replication, keep, &|at| format!("its restart_lsn {at} exceeds max_slot_wal_keep_size"));
}

/// Gives up slots whose WAL has gone while their files say nothing of it: a full disk took neither that nor
/// an entry of the ledger, or somebody removed it by hand.
pub(super) fn invalidate_without_wal(replication: &Replication) -> Result<(), WalError> {
    let (place, control) = (&replication.place, replication.database.control());
    let size = control.segment_size;
    let there = SegmentFolder::new(place.disk.clone(), &place.pg_wal, size).list()?;
    // From here on none is missing up to the redo point. What lies behind that recovery has seen.
    let mut first = size.segment_of(control.checkpoint_copy.redo);
    for file in there.iter().rev() {
        if file.segment.next() == first {
            first = file.segment;
        }
    }
    give_up_before(replication, size.start_of(first), &|at| format!("its WAL from {at} on was removed"));
    Ok(())
}

fn give_up_before(replication: &Replication, keep: Lsn, reason: &dyn Fn(Lsn) -> String) {
    let given_up = replication.slots.invalidate_before(keep);
    for slot in &given_up.slots {
        if let Some(pid) = slot.active_pid {
            let name = &slot.name;
            replication
                .ground
                .log
                .log(format!("terminating process {pid} to release replication slot \"{name}\""));
            if let Some(session) = replication.sessions.get(pid) {
                session.terminate();
            }
        }
        tell_lost(replication, &slot.name, slot.invalidated_at, &reason(slot.invalidated_at));
    }
    settle(replication, &given_up);
}

/// Slots were given up: what they needed goes, and the log hears of those whose files do not say so.
fn settle(replication: &Replication, given_up: &GivenUp) {
    if !given_up.slots.is_empty() {
        replication.update_horizon();
    }
    for error in &given_up.unwritten {
        let what = "could not write the file of a replication slot that was invalidated";
        replication.ground.log.warning(format!("{what}: {error}"));
    }
}

/// A slot has lost its claim to WAL: a line, a counter, and an entry of the ledger.
fn tell_lost(replication: &Replication, name: &str, lost_at: Lsn, reason: &str) {
    replication.slots_lost.fetch_add(1, Ordering::Relaxed);
    // Before its redo a standby does not know the end of its log, and a copy's loss comes ahead of the log.
    let end = replication.limits().end.max(lost_at);
    let recorded = format!("replication slot \"{name}\": {reason}");
    let from = if host::planted!("a lost slot is recorded at the log's end") { end } else { lost_at };
    replication.ledger.record("slot_lost", (from, end), &recorded);
    replication.ground.log.log(format!("invalidating slot \"{name}\" because {reason}"));
}

/// Makes the copies of the upstream's slots what it says.
pub(crate) fn copy(replication: &Replication, upstream: &[UpstreamSlot]) {
    let mut unfinished = replication.unfinished_copies.lock();
    // What was on its way when this was turned off goes too.
    let was_told = unfinished.take().is_some_and(|copies| copies.is_told);
    if replication.ground.config().sync_replication_slots && !host::planted!("a standby copies no slots") {
        *unfinished = try_copy(replication, upstream.to_vec(), was_told);
    }
}

/// The upstream tells its slots when they change: what the disk did not take then, or what came before the
/// log up to there was durable here, is tried again.
fn copy_again(replication: &Replication) {
    let mut unfinished = replication.unfinished_copies.lock();
    let Some(UnfinishedCopies { upstream, is_told, generation }) = unfinished.take() else { return };
    let is_of_this_log = generation == replication.log.state().generation();
    if is_of_this_log && replication.ground.config().sync_replication_slots {
        *unfinished = try_copy(replication, upstream, is_told);
    }
}

/// Gives what is to be tried again. The log is told of failures unless it `was_told`.
fn try_copy(
    replication: &Replication,
    upstream: Vec<UpstreamSlot>,
    was_told: bool,
) -> Option<UnfinishedCopies> {
    let log = replication.log.state();
    let is_there = |at: Lsn| replication.place.has(&log, at);
    let generation = log.generation();
    let end = (log.flushed(), generation);
    let config = replication.ground.config();
    let uses = Some(&*config.primary_slot_name).filter(|name| !name.is_empty());
    let Copied { news, failed, is_behind } = replication.slots.follow(&upstream, uses, end, &is_there);
    news.iter().for_each(|news| tell_copied(replication, news));
    for error in failed.iter().filter(|_| !was_told) {
        let what = "could not copy the upstream's replication slots, which is tried again";
        replication.ground.log.warning(format!("{what}: {error}"));
    }
    let is_told = !failed.is_empty();
    (is_told || is_behind).then_some(UnfinishedCopies { upstream, is_told, generation })
}

/// Copies go when nobody keeps them true any more.
pub(crate) fn drop_copies(replication: &Replication) {
    let mut unfinished = replication.unfinished_copies.lock();
    *unfinished = None;
    let Copied { news, failed, .. } = replication.slots.drop_copies(|_| true);
    news.iter().for_each(|news| tell_copied(replication, news));
    for error in failed {
        replication.ground.log.warning(format!("could not drop copied replication slots: {error}"));
    }
}

/// This node takes writes: copies of another node's slots are its own from now on.
pub(crate) fn keep_copies(replication: &Replication) {
    *replication.unfinished_copies.lock() = None;
    if let Err(error) = replication.slots.keep_copies() {
        let what = "could not write copied replication slots as this server's own";
        replication.ground.log.warning(format!("{what}: {error}"));
    }
}

fn tell_copied(replication: &Replication, news: &CopyNews) {
    match news {
        CopyNews::Made(slot) => {
            let at = if slot.restart.is_valid() { format!(" at {}", slot.restart) } else { String::new() };
            replication
                .ground
                .log
                .log(format!("copied replication slot \"{}\" of the upstream{at}", slot.name));
        }
        CopyNews::Dropped(name) => {
            replication.ground.log.log(format!("dropped the copy of replication slot \"{name}\""))
        }
        CopyNews::Lost(slot) => {
            let reason = format!("that of the upstream has lost its WAL from {} on", slot.lost_at);
            tell_lost(replication, &slot.name, slot.lost_at, &reason);
        }
        CopyNews::Refused(name, why) => {
            let why = match why {
                Refusal::NameTaken => {
                    "a slot of that name is this server's own; drop it here to have the upstream's copied"
                        .to_owned()
                }
                Refusal::Full => "max_replication_slots are there".to_owned(),
                Refusal::WalMissing(at) => format!("WAL from {at} on is not here yet"),
            };
            replication
                .ground
                .log
                .warning(format!("replication slot \"{name}\" of the upstream is not copied: {why}"));
        }
    }
}
