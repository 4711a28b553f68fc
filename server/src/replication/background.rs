//! Replication's work that nobody asks for: what commits wait for and who holds it, slots, the fence.

use super::{Replication, fencing, roster, semi_sync, slots};
use crate::state::NodeState;
use crate::tasks::Tasks;
use host::Looks;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use storage::RemoteStages;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use wal::Lsn;

/// After one to two of these, standbys need not hurry any more with a stage that no commit waited for
/// meanwhile.
const STAGES_INTERVAL: Duration = Duration::from_secs(2);
/// How long it may take until it is seen that undecided commits are decided.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A look that comes later than twice this shows that this process did not run. For so long it runs then
/// before undecided commits are released by time: standbys may have said meanwhile that they hold them.
const WAKING: Duration = Duration::from_millis(500);
/// What an age of the log that a standby lacks may be wrong by.
const LAG_CLOCK_INTERVAL: Duration = Duration::from_millis(25);

/// Starts these tasks.
pub(crate) fn start(replication: &Arc<Replication>, states: &watch::Receiver<NodeState>, tasks: &Tasks) {
    let (of, states) = (|| replication.clone(), || states.clone());
    tasks.spawn_writer(release_unconfirmed(of(), states()));
    tasks.spawn_writer(release_unnamed(of()));
    tasks.spawn_writer(tell_stages(of()));
    tasks.spawn_writer(keep_lag_clock(of()));
    tasks.spawn_writer(semi_sync::run(of(), states()));
    tasks.spawn_writer(slots::mind(of()));
    tasks.spawn_writer(keep_ledger(of()));
    tasks.spawn_writer(fencing::watch(of(), states()));
    tasks.spawn_writer(roster::keep(of()));
}

async fn keep_ledger(replication: Arc<Replication>) {
    replication.ledger.keep().await;
}

/// Keeps standbys told which stages commits wait for, so that they report nothing else in a hurry.
async fn tell_stages(replication: Arc<Replication>) {
    let gate = replication.database.commit_gate();
    let mut stages = gate.stages();
    let mut looks = tokio::time::interval(STAGES_INTERVAL);
    loop {
        let RemoteStages { stages: awaited, confirmed } = *stages.borrow_and_update();
        if let Some(recovery) = replication.recovery() {
            recovery.want_confirmed(confirmed);
        }
        replication.senders.set_awaited(awaited);
        tokio::select! {
            biased;
            // First, since stages may change all the time.
            _ = looks.tick() => gate.forget_stages(),
            changed = stages.changed() => if changed.is_err() { return },
        }
    }
}

/// Notes how far the log is at which time while standbys are connected, so that what has not even been sent
/// to one has an age.
async fn keep_lag_clock(replication: Arc<Replication>) {
    let clock = &replication.ground.host.clock;
    let mut count = replication.senders.count();
    let mut ticks = tokio::time::interval(LAG_CLOCK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while count.wait_for(|count| *count > 0).await.is_ok() {
        ticks.tick().await;
        replication.senders.note_flushed(replication.log.flushed(), clock.now());
    }
}

/// Why commits are shown that waited for standbys whose names were taken away.
pub(super) const NOBODY_NAMED: &str = "released since no synchronous standbys are named any more";

/// How long undecided commits have waited, and whether they are released for that: only once the other nodes
/// were asked whether one has replaced this one, and this process has run ever since.
struct Undecided {
    waited: Duration,
    looks: Looks,
    /// The nodes were asked.
    has_asked: bool,
}

impl Undecided {
    const fn since(now: Duration) -> Self {
        Self { waited: Duration::ZERO, looks: Looks::since(now), has_asked: false }
    }

    /// Whether they have waited for as long as `limit`; else the rest.
    fn look(&mut self, now: Duration, limit: Duration) -> Result<(), Duration> {
        self.waited += self.looks.look(now, WAKING).counts;
        self.has_asked &= !self.looks.was_late();
        match limit.saturating_sub(self.waited) {
            Duration::ZERO if self.looks.is_waking(now, WAKING) => Err(WAKING),
            Duration::ZERO => Ok(()),
            rest => Err(rest),
        }
    }
}

/// Watches commits of before this start or promotion whose confirmation is not proven: the quorum confirms
/// them, or time runs out.
async fn release_unconfirmed(replication: Arc<Replication>, mut states: watch::Receiver<NodeState>) {
    let (ground, database) = (&replication.ground, &replication.database);
    // A standby has nothing to decide until it is promoted.
    let running = states.wait_for(|state| *state == NodeState::Running).await.is_ok();
    let gate = database.commit_gate().clone();
    let Some((after, upto)) = gate.undecided().filter(|_| running) else { return };
    ground.log.log(format!(
        "commits after {after} up to {upto} are undecided until the synchronous standbys hold them"
    ));
    let clock = &ground.host.clock;
    let mut undecided = Undecided::since(clock.monotonic());
    let mut reloads = ground.reloads();
    let mut refused = false;
    loop {
        if database.fenced().is_some() {
            // They stay undecided: they are the new primary's to decide.
            ground.log.log(format!(
                "this server is fenced: commits after {after} up to {upto} stay undecided, and statements \
                 leave them out or are refused"
            ));
            return;
        }
        if gate.undecided().is_none() {
            ground.log.log(format!("the synchronous standbys hold all commits up to {upto}"));
            return;
        }
        let limit = ground.config().unconfirmed_timeout.0;
        let hurries = host::planted!("undecided commits are released before their time");
        let rest = match undecided.look(clock.monotonic(), limit.unwrap_or(Duration::MAX)) {
            Err(rest) if limit.is_none() || !hurries => Some(rest),
            _ => None,
        };
        let is_required = gate.remote().required;
        if rest.is_none() && is_required && !std::mem::replace(&mut undecided.has_asked, true) {
            fencing::look_around(&replication).await;
            continue;
        }
        let reason = if !is_required {
            Some(NOBODY_NAMED)
        } else if rest.is_none() {
            Some("released by plimsoll.unconfirmed_timeout without the synchronous standbys' confirmation")
        } else {
            None
        };
        if let Some(reason) = reason {
            let released =
                gate.release_unconfirmed(|after, upto| record_release(&replication, (after, upto), reason));
            match released {
                Ok(_) => return,
                Err(error) if !refused => {
                    let what = "stay undecided, since plimsoll/ledger takes no record of their release";
                    ground.log.warning(format!("commits after {after} up to {upto} {what}: {error}"));
                    refused = true;
                }
                Err(_) => {}
            }
        }
        let pause = rest.map_or(LOOK_INTERVAL, |rest| rest.min(LOOK_INTERVAL));
        tokio::select! {
            biased;
            changed = reloads.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Lets go the commits that wait for standbys whose names were taken away.
async fn release_unnamed(replication: Arc<Replication>) {
    let gate = replication.database.commit_gate();
    let mut refused = false;
    loop {
        gate.unnamed().await;
        if replication.database.fenced().is_some() {
            // Nothing is acknowledged any more.
            return;
        }
        let mut recorded = None;
        let released = gate.release_unnamed(|after, upto| -> io::Result<()> {
            record_release(&replication, (after, upto), NOBODY_NAMED)?;
            recorded = Some((after, upto));
            Ok(())
        });
        match released {
            Ok(Some(_)) => refused = false,
            Ok(None) => {
                refused = false;
                if let Some(range) = recorded {
                    take_back(&replication, range);
                }
            }
            Err(error) => {
                if !refused {
                    let what = "commits go on waiting, although no synchronous standbys are named any more, \
                                since plimsoll/ledger takes no record of their release";
                    replication.ground.log.warning(format!("{what}: {error}"));
                }
                refused = true;
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
    }
}

/// Standbys were named again while a release was recorded: those commits go on waiting.
fn take_back(replication: &Replication, (after, upto): (Lsn, Lsn)) {
    let reason = "standbys are named again";
    replication.ledger.record("return", (after, upto), reason);
    replication.ground.log.log(format!(
        "returning to synchronous replication: {reason}; those after {after} up to {upto} wait for them"
    ));
}

/// The record first: nothing becomes visible that it does not name.
fn record_release(replication: &Replication, range: (Lsn, Lsn), reason: &str) -> io::Result<()> {
    let (after, upto) = range;
    replication.ledger.try_record("released", range, reason)?;
    replication.semi_sync.note_release();
    replication.ground.log.warning(format!("commits after {after} up to {upto} are {reason}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undecided_commits_wait_while_the_process_runs_and_for_the_others_word_after_it_did_not() {
        let ms = Duration::from_millis;
        let limit = ms(2000);
        let mut undecided = Undecided::since(ms(0));
        let mut now = ms(0);
        while let Err(rest) = undecided.look(now, limit) {
            now += rest.min(LOOK_INTERVAL);
        }
        assert_eq!(now, limit);
        undecided.has_asked = true;
        assert_eq!(undecided.look(now, limit), Ok(()));
        // It did not run between the question and the release.
        now += ms(60_000);
        assert_eq!(undecided.look(now, limit), Err(WAKING));
        assert!(!undecided.has_asked);
        assert_eq!(undecided.look(now + WAKING, limit), Ok(()));
        for stopped_at in (0..2000).step_by(100).map(ms) {
            let (mut undecided, mut now) = (Undecided::since(ms(0)), ms(0));
            while let Err(rest) = undecided.look(now, limit) {
                now += if now == stopped_at { ms(60_000) } else { rest.min(LOOK_INTERVAL) };
            }
            let late = ms(62_000).max(stopped_at + ms(60_000) + WAKING);
            assert_eq!(now, late, "stopped at {stopped_at:?}");
        }
    }
}
