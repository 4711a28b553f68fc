//! Putting files into the archive: in order, one at a time, with archive_command.
//!
//! Three tries of a file a second apart, then a pause of a minute or until something new waits. One task
//! alone runs the command, so there is one call at a time: a clean stop asks it, after the last checkpoint,
//! for one more turn and waits for that, and so for a call that was under way. The turn before leaves its
//! further tries to that one. A stop at once ends the command.

use super::archiver::{Archiver, LastTurn, Mode, settled};
use super::histories::{Before, timeline_of};
use super::shell::{self, Outcome, Running, ShellCommands};
use crate::configuration::Ground;
use crate::log::Log;
use crate::state::{NodeState, StopMode};
use crate::tasks::{Tasks, blocking};
use host::task::task;
use host::{Instant, vital_task};
use protocol::{Report, Severity, SqlState};
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wal::{ArchiveStatus, LogState, Lsn, TimelineId};

/// Tries of one file in a row.
const TRIES: u32 = 3;
/// Pause between them.
const TRY_PAUSE: Duration = Duration::from_secs(1);
/// Longest time between two looks for waiting files, and the pause after a file failed too often.
const WAKE_INTERVAL: Duration = Duration::from_secs(60);
/// Pause after the shell could not run the command at all.
const RESTART_PAUSE: Duration = Duration::from_secs(10);
/// Files taken from one look at the folder.
const BATCH: usize = 64;

/// Whether a turn of copying went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    All,
    /// A file failed too often.
    Refused,
    /// There is something to do before the file.
    Later,
    /// Nothing can be archived now.
    Stuck,
    /// The command cannot be run.
    Broken,
    /// The last turn is asked for, which tries the file again.
    LeftToLast,
    /// The server stops at once.
    Stopped,
}

impl Archiver {
    /// Archives what waits, but for what is withheld. What is of a timeline whose history is refused stays,
    /// and keeps no other timeline's files waiting. `turns` has seen what was asked when this turn began.
    async fn copy_all(&self, turns: &watch::Receiver<LastTurn>, stop: &CancellationToken) -> Copied {
        let mut refused = HashSet::new();
        loop {
            let mut names = match self.status.waiting() {
                Ok(names) => names,
                Err(error) => {
                    self.ground.log.warning(format!("could not read archive_status: {error}"));
                    return Copied::Stuck;
                }
            };
            let log = self.node_log.state();
            names.retain(|name| !self.is_withheld(&log, name));
            names.retain(|name| timeline_of(name).is_none_or(|timeline| !refused.contains(&timeline)));
            if names.is_empty() {
                return if refused.is_empty() { Copied::All } else { Copied::Stuck };
            }
            for name in names.into_iter().take(BATCH) {
                match self.before(&name, stop).await {
                    Ok(Before::Nothing) => {}
                    // It is the first that waits now.
                    Ok(Before::History) => break,
                    Ok(Before::Mending) => {
                        refused.extend(timeline_of(&name));
                        break;
                    }
                    Ok(Before::Stopped) => return Copied::Stopped,
                    Err(error) => {
                        self.ground
                            .log
                            .warning(format!("could not look for the history before \"{name}\": {error}"));
                        return Copied::Stuck;
                    }
                }
                let history = TimelineId::parse_history_file_name(&name);
                match self.copy(&name, turns, stop).await {
                    Copied::All => match history {
                        Some(timeline) => drop(self.cleared.lock().insert(timeline)),
                        None => self.passed(&name),
                    },
                    Copied::Refused if history.is_some() => {
                        refused.extend(history);
                        break;
                    }
                    Copied::Later => break,
                    other => return other,
                }
            }
        }
    }

    async fn copy(&self, name: &str, turns: &watch::Receiver<LastTurn>, stop: &CancellationToken) -> Copied {
        let (mut tries, mut turns) = (0, turns.clone());
        loop {
            let settings = self.ground.settings();
            let template = settings.show("archive_command").unwrap_or_default();
            if template.trim().is_empty() {
                let report = Report::warning(
                    SqlState::WARNING,
                    "archive_mode enabled, yet archiving is not configured",
                );
                let detail = Some("archive_command is not set.".to_owned());
                self.ground.log.write(None, &Report { detail, ..report }, None);
                return Copied::Stuck;
            }
            match self.status.file_exists(name) {
                Ok(true) => {}
                Ok(false) => return self.forget_orphan(name),
                Err(_) => return Copied::Stuck,
            }
            let early = host::planted!("a file counts as archived while its command still runs");
            if early && self.status.done(name).is_err() {
                return Copied::Stuck;
            }
            if self.is_withheld(&self.node_log.state(), name) {
                // This server has heard that it was replaced since the file was chosen.
                return Copied::Later;
            }
            match self.run(&template, name, stop).await {
                Outcome::Done if early => {
                    self.count(name, true);
                    return Copied::All;
                }
                Outcome::Done => match self.status.done(name) {
                    Ok(()) => {
                        self.count(name, true);
                        return Copied::All;
                    }
                    Err(error) => {
                        self.ground
                            .log
                            .warning(format!("could not rename archive status of \"{name}\": {error}"));
                        return Copied::Stuck;
                    }
                },
                Outcome::Failed { .. } => self.count(name, false),
                Outcome::Broken { .. } => return Copied::Broken,
                Outcome::Stopped => return Copied::Stopped,
            }
            tries += 1;
            if tries == TRIES {
                self.ground.log.warning(format!(
                    "archiving write-ahead log file \"{name}\" failed too many times, will try again later"
                ));
                return Copied::Refused;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Copied::Stopped,
                // The sender lives in self.
                _ = turns.changed() => return Copied::LeftToLast,
                () = tokio::time::sleep(TRY_PAUSE) => {}
            }
            // An archive that was away may be back, and have another branch's history.
            if !matches!(self.before(name, stop).await, Ok(Before::Nothing)) {
                return Copied::Later;
            }
        }
    }

    /// There is a mark, and no file.
    fn forget_orphan(&self, name: &str) -> Copied {
        match self.status.forget(name) {
            Ok(()) => {
                let mark = format!("pg_wal/archive_status/{name}.ready");
                self.ground.log.warning(format!("removed orphan archive status file \"{mark}\""));
                Copied::All
            }
            Err(_) => Copied::Stuck,
        }
    }

    /// Waits for the command that a former life of the node has left in the middle of a file. Whether nothing
    /// ended that.
    pub(crate) async fn end_left(
        &self,
        commands: &ShellCommands,
        left: Running,
        stop: &CancellationToken,
    ) -> bool {
        let file = left.file().unwrap_or_default().to_owned();
        let outcome = end_left(&self.ground.log, &self.status, commands, left, stop).await;
        *self.left.lock() = None;
        match outcome {
            Some(Outcome::Stopped) => return false,
            // If it failed, it is tried again.
            Some(outcome) => self.count(&file, outcome == Outcome::Done),
            None => {}
        }
        true
    }

    pub(super) async fn run(&self, template: &str, name: &str, stop: &CancellationToken) -> Outcome {
        let path = format!("pg_wal/{name}");
        let command = shell::expand(template, &[('p', path.as_str()), ('f', name)]);
        let outcome = match self.commands.run_for(Some(name), &command, &self.ground.data_dir, stop).await {
            Ok(outcome) => outcome,
            Err(error) => {
                self.ground.log.warning(format!("could not run archive_command: {error}"));
                return Outcome::Broken { code: None, signal: None };
            }
        };
        tell_failure(&self.ground.log, outcome, &command);
        outcome
    }
}

/// Waits for a command that was left in the middle of a file, marks the file, and says what failed. None if
/// that cannot be known.
pub(super) async fn end_left(
    log: &Log,
    status: &ArchiveStatus,
    commands: &ShellCommands,
    left: Running,
    stop: &CancellationToken,
) -> Option<Outcome> {
    let (file, command) = (left.file().unwrap_or_default().to_owned(), left.command().to_owned());
    let outcome = match commands.go_on_with(left, stop).await {
        Ok(outcome) => outcome,
        Err(error) => {
            log.warning(format!("could not wait for archive_command: {error}"));
            return None;
        }
    };
    tell_failure(log, outcome, &command);
    if outcome == Outcome::Done
        && let Err(error) = status.done(&file)
        // What a later life did meanwhile may have taken the mark away.
        && error.kind() != io::ErrorKind::NotFound
    {
        log.warning(format!("could not rename archive status of \"{file}\": {error}"));
        return None;
    }
    Some(outcome)
}

fn tell_failure(log: &Log, outcome: Outcome, command: &str) {
    let detail = Some(format!("The failed archive command was: {command}"));
    let report = match outcome {
        Outcome::Done | Outcome::Stopped => return,
        Outcome::Failed { code } => Report::new(
            Severity::Log,
            SqlState::SUCCESSFUL_COMPLETION,
            format!("archive command failed with exit code {code}"),
        ),
        Outcome::Broken { signal: Some(signal), .. } => Report::fatal(
            SqlState::INTERNAL_ERROR,
            format!("archive command was terminated by signal {signal}"),
        ),
        Outcome::Broken { code, .. } => Report::fatal(
            SqlState::INTERNAL_ERROR,
            format!("archive command failed with exit code {}", code.unwrap_or(-1)),
        ),
    };
    log.write(None, &Report { detail, ..report }, None);
}

/// Starts the archiver's tasks, which end with the background tasks.
pub(super) fn start(
    ground: &Arc<Ground>,
    states: &watch::Receiver<NodeState>,
    tasks: &Tasks,
    archiver: &Arc<Archiver>,
    left: Option<Running>,
) {
    let end = tasks.background.clone();
    let (a, e) = (archiver.clone(), end.clone());
    tasks.tracker.spawn(task(vital_task("the archiver", async move {
        tokio::select! {
            biased;
            () = e.cancelled() => {}
            () = follow(&a) => {}
        }
    })));
    let (s, a, e) = (states.clone(), archiver.clone(), end.clone());
    tasks.tracker.spawn(task(vital_task("the archiver", async move {
        let _over = OverWhenDropped(&a);
        let goes_on = match left {
            Some(left) => a.end_left(&a.commands, left, &e).await,
            None => true,
        };
        if goes_on && a.mode != Mode::Off {
            copy(s, &a, &e).await;
        }
    })));
    if archiver.mode == Mode::Off {
        return;
    }
    let (g, s, a) = (ground.clone(), states.clone(), archiver.clone());
    tasks.tracker.spawn(task(vital_task("the archiver", async move {
        tokio::select! {
            biased;
            () = end.cancelled() => {}
            () = end_idle_segments(&g, &s, &a) => {}
        }
    })));
}

/// Marks segments as the log grows.
async fn follow(archiver: &Arc<Archiver>) {
    let mut states = archiver.node_log.subscribe();
    loop {
        let state = states.borrow_and_update().clone();
        let noticing = archiver.clone();
        let seen = state.clone();
        if blocking(move || noticing.notice(&seen)).await.is_err() {
            return;
        }
        let border = archiver.size.start_of(archiver.size.segment_of(settled(&state)).next());
        tokio::select! {
            biased;
            changed = states.changed() => if changed.is_err() { return },
            () = settles_past(&state, Lsn::new(border.get() - 1)) => {}
        }
    }
}

/// Waits until something past `lsn` is settled; for ever as [`LogState::wait_past`].
async fn settles_past(log: &LogState, lsn: Lsn) {
    let Some(positions) = log.standby() else { return log.wait_past(lsn).await };
    if positions.wait_settled_past(lsn).await.is_err() {
        std::future::pending().await
    }
}

/// Lets go of who waits for the last turn, also if a panic ends the task that owes it.
struct OverWhenDropped<'a>(&'a Archiver);

impl Drop for OverWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.last_turn.send_replace(LastTurn::Over);
    }
}

/// Runs archive_command until the last turn is over, or `end`. Never dropped in the middle of a call.
async fn copy(mut states: watch::Receiver<NodeState>, archiver: &Archiver, end: &CancellationToken) {
    let mut reloads = archiver.ground.reloads();
    let mut turns = archiver.last_turn.subscribe();
    let mut commands = archiver.commands_in_force();
    loop {
        let in_force = archiver.commands_in_force();
        if in_force != commands {
            commands = in_force;
            archiver.forget_answers();
        }
        let last = *turns.borrow_and_update() == LastTurn::Asked;
        let in_recovery = archiver.database().is_in_recovery();
        let mut pause = WAKE_INTERVAL;
        // From a fast stop on nothing begins before the last turn, which has all there is.
        let serving = !matches!(
            *states.borrow(),
            NodeState::Starting | NodeState::Stopping(StopMode::Fast | StopMode::Immediate)
        );
        if (serving || last) && archiver.archives(in_recovery) {
            match archiver.copy_all(&turns, end).await {
                Copied::All | Copied::Refused | Copied::Later | Copied::Stuck | Copied::LeftToLast => {}
                Copied::Broken => pause = RESTART_PAUSE,
                Copied::Stopped => return,
            }
        }
        if last {
            return;
        }
        tokio::select! {
            biased;
            () = end.cancelled() => return,
            changed = turns.changed() => if changed.is_err() { return },
            changed = states.changed() => if changed.is_err() { return },
            changed = reloads.changed() => if changed.is_err() { return },
            () = archiver.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// archive_timeout: ends a segment that was written to and has waited long enough.
async fn end_idle_segments(ground: &Ground, states: &watch::Receiver<NodeState>, archiver: &Archiver) {
    let (mut reloads, database) = (ground.reloads(), archiver.database());
    let (mut since, mut segment, mut quiet_at) = (Instant::now(), None, Lsn::INVALID);
    loop {
        let limit = ground.config().archive_timeout;
        let wait = limit.map_or(Duration::MAX, |limit| limit.saturating_sub(since.elapsed()));
        tokio::select! {
            biased;
            changed = reloads.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait.max(Duration::from_millis(10))) => {}
        }
        let Some(limit) = limit else { continue };
        let archives = *states.borrow() == NodeState::Running && !archiver.is_replaced();
        let Some(positions) = database.positions().filter(|_| archives) else {
            since = Instant::now();
            continue;
        };
        let size = database.control().segment_size;
        let (now, end) = (size.segment_of(positions.inserted()), positions.inserted());
        if segment != Some(now) {
            // It was ended by itself meanwhile.
            (segment, since) = (Some(now), if segment.is_none() { since } else { Instant::now() });
        }
        if since.elapsed() < limit {
            continue;
        }
        since = Instant::now();
        // A checkpoint alone is nothing to archive.
        let checkpoint = database.control().checkpoint;
        let only_checkpoint = database.wal().is_some_and(|wal| wal.last_record() == checkpoint);
        if end <= quiet_at || size.offset_of(end) == 0 || only_checkpoint {
            continue;
        }
        let database = database.clone();
        let switched = blocking(move || {
            let wal = database.wal()?;
            wal.switch_segment().ok()?;
            wal.flush_all().ok()?;
            Some(wal.positions().inserted())
        });
        if let Ok(Some(at)) = switched.await {
            (quiet_at, segment) = (at, Some(size.segment_of(at)));
        }
    }
}
