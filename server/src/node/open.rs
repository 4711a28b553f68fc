//! Opening a node's database: crash recovery, or the way into recovery from the archive or a primary; and
//! putting replication, archive and SQL on the opened database.

use super::directory::{Signal, has_file, signal_file};
use super::promote::tell_shared;
use super::signals::watch_trigger_file;
use super::states::Life;
use super::stop::stop_of;
use super::{Node, rewind};
use crate::archive::Archive;
use crate::archive::restore::Restorer;
use crate::configuration::storage_options::database_options;
use crate::configuration::{Ground, checks, recovery_target};
use crate::error::ServerError;
use crate::maintenance::checkpoints;
use crate::replication::ledger::Ledger;
use crate::replication::standby::{RECOVERY, Standby, WaysOut};
use crate::replication::{AT_LATER, Replication, fencing, line_of_cut, open_slots, reason_of_cut};
use crate::state::{NodeState, StopMode};
use host::Host;
use host::sync::Mutex;
use host::task::task;
use host::vital_task;
use protocol::{Report, SqlState};
use replica::directory_id::DIRECTORY_ID_FILE;
use replica::driver::LogPlace;
use replica::slots::newest_restart;
use sql_session::SqlEngine;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::{Database, Opened, ProgressFn, RecoveryOptions, RecoveryReport, StartMode};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wal::backup_label::{BACKUP_LABEL_FILE, BackupLabel};
use wal::control::{ClusterState, ControlFile};
use wal::format::{FORMAT_SETTING, FORMATS};
use wal::history::TimelineHistory;
use wal::log_branch::{BegunPromotion, RECEIVED_FILE, settle_promotion};
use wal::reader::CutTail;
use wal::timelines::{self, Place, RecoveryStart, TargetTimeline};
use wal::{BranchRecord, Live, LogPosition, Lsn, NodeLog, PositionFile, TimelineId};

/// Opens the database; crash recovery happens here.
async fn open(node: &Arc<Node>, control: &ControlFile) -> Result<Opened, ServerError> {
    let ground = &node.ground;
    // First, since it may bring a signal file back.
    let settled = settle_promotion(&ground.host.disk, &ground.data_dir, control);
    let settled = settled.map_err(|error| ServerError::new(error.to_string()))?;
    if let Some(timeline) = settled.undone {
        ground.log.log(format!("took back the promotion to timeline {timeline}, which was not completed"));
    }
    if let Some(error) = &settled.still_shared {
        tell_shared(&ground.log, error);
    }
    *node.separated.lock() = settled.separated;
    let signal = signal_file(ground)?;
    // What a server left that was killed while it fetched.
    Restorer::remove_temporaries(ground).map_err(|error| ServerError::new(error.to_string()))?;
    let pg_wal = ground.data_dir.join("pg_wal");
    TimelineHistory::remove_temporaries(&*ground.host.disk, &pg_wal)
        .map_err(|error| ServerError::new(format!("could not clean up \"{}\": {error}", pg_wal.display())))?;
    checks::check_recovery_target(&ground.settings())?;
    let mut options = database_options(&ground.current(), &ground.data_dir, control.segment_size);
    options.end_recovery = node.end_opening.clone();
    let telling = ground.clone();
    options.checkpoints = Some(Arc::new(move |event| checkpoints::log_event(&telling, event)));
    ground.set_computed(&[
        ("wal_segment_size", &control.segment_size.bytes().to_string()),
        ("data_checksums", if control.data_checksums { "on" } else { "off" }),
        (FORMAT_SETTING, &FORMATS.newest.to_string()),
    ]);
    options.proven_flush = flushed_by_slots(&ground.host, &ground.data_dir)?;
    if let (Some(Signal::Standby), Some(member)) = (signal, *node.life.member.lock())
        && let Err(error) = member.hand_on(&ground.host, &ground.data_dir)
    {
        let what = "the other nodes know this server by its former entry in the roster, too";
        ground.log.warning(format!("could not write file \"{DIRECTORY_ID_FILE}\": {error}; {what}"));
    }
    let mode = match signal {
        None => StartMode::Primary,
        Some(signal) => {
            let (recovery, timeline) = prepare_recovery(&node.archive, control, signal).await?;
            options.recovery = recovery;
            StartMode::Standby { timeline }
        }
    };
    if signal.is_none() && control.state != ClusterState::ShutDown && !has_file(ground, BACKUP_LABEL_FILE)? {
        ground.log.log("database system was not properly shut down; automatic recovery in progress");
    }
    options.before_cut = Some(record_cuts(ground));
    options.progress = Some(log_progress(ground, node.life.states(), signal));
    let host = ground.host.clone();
    let opened = host::task::blocking(move || Database::open(&host, options, mode)).await;
    let opened = opened.map_err(|error| ServerError::new(format!("recovery failed: {error}")))?;
    opened.map_err(|error| {
        let failed = ServerError::new(error.to_string());
        match &error {
            storage::Error::Corrupt(bad) if bad.lsn.is_some() => failed.with_hint(DAMAGED_LOG_HINT),
            storage::Error::MissingLog { .. } => failed.with_hint(DAMAGED_LOG_HINT),
            _ => failed,
        }
    })
}

/// What mends log that a node cannot do without.
const DAMAGED_LOG_HINT: &str = "If an archive or another server has this WAL segment whole, put that file in the \
                                place of the one in pg_wal (a server with standby.signal asks restore_command); \
                                else promote a standby, or restore a backup.";

/// Opens the database, or hears of a stop before that is done: None.
pub(super) async fn open_unless_stopped(
    node: &Arc<Node>,
    control: &ControlFile,
) -> Result<Option<Opened>, ServerError> {
    let mut opening = std::pin::pin!(async {
        match rewind::before_open(node).await? {
            Some(rewound) => open(node, &rewound).await,
            None => open(node, control).await,
        }
    });
    let mut stops = node.life.stops();
    let mode = tokio::select! {
        biased;
        opened = &mut opening => return opened.map(Some),
        mode = stop_of(&mut stops, StopMode::Smart) => mode,
    };
    node.ground.log.log(format!("received {} shutdown request", mode.name()));
    node.life.go(NodeState::Stopping(mode));
    node.archive.stop.cancel();
    node.end_opening.store(true, Ordering::Release);
    match opening.await {
        // It was done at this very moment: a stop like any other, whose own work goes on to its end.
        Ok(opened) => {
            node.end_opening.store(false, Ordering::Release);
            Ok(Some(opened))
        }
        Err(error) => {
            node.ground.log.log(format!("the start was broken off: {}", error.message));
            Ok(None)
        }
    }
}

/// How far standbys with slots have told that they hold the log of the server on this directory: it was
/// durable there before.
///
/// # Errors
/// Fails if a slot cannot be read.
pub fn flushed_by_slots(host: &Host, data: &Path) -> Result<Lsn, ServerError> {
    let newest = newest_restart(host, &data.join("pg_replslot"));
    newest.map_err(|error| ServerError::new(error.to_string()))
}

/// Has what recovery cuts from the log's end written to the ledger first.
fn record_cuts(ground: &Arc<Ground>) -> storage::BeforeCutFn {
    let (ledger, log) = (Ledger::new(ground), ground.log.clone());
    Arc::new(move |cut, why| {
        let reason = format!("{} bytes with {} whole records behind: {why}", cut.bytes(), cut.whole_records);
        ledger.try_record("cut", (cut.from, cut.upto), &reason)?;
        log.log(format!(
            "cut {} bytes behind {}, which are no whole log (recorded in plimsoll/ledger)",
            cut.bytes(),
            cut.from
        ));
        Ok(())
    })
}

/// Logs how redo goes, every log_startup_progress_interval; of a crash recovery its begin and end too. A
/// standby that follows another is never done: what it redoes is in the views.
fn log_progress(
    ground: &Arc<Ground>,
    states: watch::Receiver<NodeState>,
    signal: Option<Signal>,
) -> ProgressFn {
    let ground = ground.clone();
    let logged = Mutex::new(Duration::ZERO);
    Arc::new(move |redo| {
        if signal == Some(Signal::Standby) && *states.borrow() != NodeState::Starting {
            return;
        }
        let seconds = redo.elapsed.as_secs_f64();
        if redo.records == 0 && redo.ended.is_none() && signal.is_none() {
            ground.log.log(format!("redo starts at {}", redo.from));
        }
        let interval = progress_interval(&ground);
        let mut logged = logged.lock();
        if !interval.is_zero() && redo.elapsed >= *logged + interval {
            *logged = redo.elapsed;
            let at = redo.at;
            ground.log.log(format!("redo in progress, elapsed time: {seconds:.2} s, current LSN: {at}"));
        }
        if let (Some(reason), None) = (redo.ended, signal) {
            ground.log.log(reason.to_string());
            let (at, records) = (redo.at, redo.records);
            ground
                .log
                .log(format!("redo done at {at} system usage: {records} records, elapsed: {seconds:.2} s"));
        }
    })
}

/// log_startup_progress_interval; 0 for never.
fn progress_interval(ground: &Ground) -> Duration {
    match ground.settings().value("log_startup_progress_interval") {
        Some(settings::Value::Integer(ms)) => Duration::from_millis(u64::try_from(ms).unwrap_or(0)),
        _ => Duration::ZERO,
    }
}

fn log_recovery(ground: &Ground, recovery: &RecoveryReport) {
    if !recovery.needed {
        return;
    }
    if !recovery.aborted.is_empty() {
        ground.log.log(format!("aborted {} transactions without an outcome", recovery.aborted.len()));
    }
}

/// Looks at the settings of recovery, fetches the histories that say which way it goes, and chooses its
/// timeline.
async fn prepare_recovery(
    archive: &Arc<Archive>,
    control: &ControlFile,
    signal: Signal,
) -> Result<(RecoveryOptions, TimelineId), ServerError> {
    let ground = &archive.ground;
    let config = ground.config();
    let (has_archive, standby) = (!config.restore_command.trim().is_empty(), signal == Signal::Standby);
    if !standby {
        checks::check_recovery(&ground.settings())?;
    }
    if standby && !has_archive && config.primary_conninfo.trim().is_empty() {
        let report =
            Report::warning(SqlState::WARNING, "specified neither primary_conninfo nor restore_command");
        let hint = "The database server will regularly poll the pg_wal subdirectory \
                    to check for files placed there.";
        ground.log.write(None, &Report { hint: Some(hint.to_owned()), ..report }, None);
    }
    let target = recovery_target::of_settings(&ground.settings())?;
    ground.log.log(if standby {
        "entering standby mode".to_owned()
    } else {
        recovery_target::starting(target.as_ref())
    });
    let failed = |error: &dyn std::fmt::Display| ServerError::new(error.to_string());
    let size = control.segment_size;
    let label =
        BackupLabel::load(&*ground.host.disk, &ground.data_dir, size).map_err(|error| failed(&error))?;
    let copy = &control.checkpoint_copy;
    let (redo, timeline) =
        label.as_ref().map_or((copy.redo, copy.timeline), |label| (label.start, label.timeline));
    let first = size.segment_of(redo).file_name(timeline, size);
    let restorer = Arc::new(Restorer::new(archive, size, first, standby));
    let record = BranchRecord::load(&*ground.host.disk, &ground.data_dir, control);
    let record = record.map_err(|error| failed(&error))?;
    let start = RecoveryStart::found(control, label.as_ref(), record);
    let received = match record {
        Some(_) => PositionFile::new(ground.host.disk.clone(), ground.data_dir.join(RECEIVED_FILE)).read(),
        None => Ok(None),
    };
    let received = received.map_err(|error| ServerError::new(format!("{RECEIVED_FILE}: {error}")))?;
    let wanted = recovery_target::timeline(ground);
    let chosen = choose(ground, &restorer, start, received, wanted).await?;
    leave(ground, &chosen)?;
    archive.set_restorer(restorer.clone());
    let follows_latest = wanted == TargetTimeline::Latest;
    let options = RecoveryOptions { supply: Some(restorer), target, ends_with_log: !standby, follows_latest };
    Ok((options, chosen.history.target()))
}

/// Which way recovery goes.
struct Chosen {
    history: TimelineHistory,
    /// Where that leaves the timeline of the directory.
    fork: Option<Lsn>,
    /// What is left there.
    left: Option<(CutTail, TimelineId)>,
}

/// Fetches the histories that say which way recovery may go, and chooses one. Log was received up to
/// `received`.
async fn choose(
    ground: &Ground,
    restorer: &Arc<Restorer>,
    start: RecoveryStart,
    received: Option<LogPosition>,
    wanted: TargetTimeline,
) -> Result<Chosen, ServerError> {
    fn failed(error: impl std::fmt::Display) -> ServerError {
        ServerError::new(error.to_string())
    }
    let (fetching, disk, pg_wal) =
        (restorer.clone(), ground.host.disk.clone(), ground.data_dir.join("pg_wal"));
    let chosen = host::task::blocking(move || {
        timelines::fetch_for(&start, wanted, |timeline| fetching.history(timeline)).map_err(failed)?;
        let history = start.choose(&disk, &pg_wal, wanted).map_err(failed)?;
        let ours = start.own_history(&*disk, &pg_wal).map_err(failed)?;
        let place = Place { disk: &disk, pg_wal: &pg_wal, segment_size: start.segment_size() };
        let left = timelines::left_behind(&place, (&ours, &history), received, Lsn::INVALID);
        let left = left.map_err(failed)?;
        Ok(Chosen { fork: history.end_of(ours.target()).ok().flatten(), history, left })
    });
    let chosen = chosen.await;
    chosen.map_err(|error| ServerError::new(format!("could not fetch timeline histories: {error}")))?
}

/// Tells what a log leaves that goes another way, before the other timeline is on record: later starts do not
/// see that one was left. No slot says more on disk then than what lies before the fork.
fn leave(ground: &Arc<Ground>, chosen: &Chosen) -> Result<(), ServerError> {
    let failed = |error: &dyn std::fmt::Display| ServerError::new(error.to_string());
    if let Some((tail, timeline)) = &chosen.left {
        let reason = reason_of_cut(tail, *timeline, AT_LATER);
        let recorded = Ledger::new(ground).try_record("cut", (tail.from, tail.upto), &reason);
        recorded.map_err(|error| failed(&error))?;
        ground.log.log(line_of_cut(tail, &reason));
    }
    if let Some(fork) = chosen.fork {
        let slots = open_slots(ground)?;
        slots.end_at(fork);
        slots.save().map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// Puts SQL and replication on the opened database, and starts recovery on a standby.
pub(super) async fn assemble(
    node: &Arc<Node>,
    opened: Opened,
) -> Result<(Database, Option<Standby>), ServerError> {
    let ground = &node.ground;
    let (database, recovery, redo) = match opened {
        Opened::Primary { db, recovery } => {
            log_recovery(ground, &recovery);
            (db, Some(recovery), None)
        }
        Opened::Standby { db, redo } => (db, None, Some(redo)),
    };
    let segment_size = database.control().segment_size;
    let place = LogPlace::new(ground.host.disk.clone(), &ground.data_dir.join("pg_wal"), segment_size);
    let join = |log: NodeLog, place: LogPlace| {
        node.archive.open(&database, &log);
        let replication = Replication::open(&node.archive, &node.sessions, &database, log, place)?;
        let engine = SqlEngine::new(database.clone(), ground.host.clone());
        node.set_opened(engine, replication.clone());
        Ok::<_, ServerError>(replication)
    };
    let Some(redo) = redo else {
        let history = TimelineHistory::load(place.disk.as_ref(), &place.pg_wal, database.timeline())
            .map_err(|error| ServerError::new(error.to_string()))?;
        let writer = database.wal().ok_or_else(|| ServerError::new("the log is not open"))?.clone();
        let log = NodeLog::new(history, Live::Primary(writer), database.log_branch().clone());
        let history = log.state().history.clone();
        let replication = join(log, place)?;
        let began = database.log_branch().record().and_then(|record| record.promotion);
        let began = began.filter(|began| began.timeline == database.timeline());
        finish_promotion(node, &database, began, &history);
        replication.forget_directory_id();
        if let Some(recovery) = recovery.filter(|recovery| recovery.needed) {
            replication.end_slots(recovery.to)?;
        }
        fencing::apply_stored(&replication)?;
        // A primary that was replaced while it was away must not acknowledge a single commit.
        fencing::look_around(&replication).await;
        return Ok((database, None));
    };
    let replication = join(Standby::log(&database, &redo), place)?;
    finish_broken_promotion(node, &database)?;
    node.judge_early_promotion();
    let begins = || {
        node.life.go(NodeState::Recovering);
    };
    let life = node.life.clone();
    let ways_out = WaysOut {
        promotions: node.life.promotions(),
        promote: Arc::new(move || {
            life.request_promotion();
        }),
        rewind: {
            let life = node.life.clone();
            Arc::new(move || life.request_rewind())
        },
    };
    let standby = Standby::start(&replication, &node.tasks, redo, ways_out, begins);
    let announcing =
        announce(ground.clone(), node.life.clone(), database.clone(), node.tasks.background.clone());
    node.tasks.tracker.spawn(task(vital_task(RECOVERY, announcing)));
    let watching = watch_trigger_file(node.clone(), node.tasks.background.clone());
    node.tasks.tracker.spawn(task(vital_task(RECOVERY, watching)));
    Ok((database, Some(standby)))
}

/// Does what was left of a promotion, which `began` if that was recorded still: the archive gets its history,
/// and what belongs to the ended timeline is settled, unless its last segment is the log's file still.
fn finish_promotion(
    node: &Node,
    database: &Database,
    began: Option<BegunPromotion>,
    history: &TimelineHistory,
) {
    let (Some(archiver), Some(ended)) = (node.archive.archiver(), history.entries().last()) else { return };
    if let Some(began) = began {
        archiver.finished(&began.timeline.history_file_name(), false);
    }
    // The name of the file may be an ancestor's.
    let by_history = LogPosition { timeline: ended.timeline, lsn: ended.end };
    let recorded = began.map(|began| began.shared.unwrap_or(by_history));
    let separated = *node.separated.lock();
    if let Some(file) = separated.or(recorded).filter(|_| !database.shares_ended()) {
        archiver.end_timeline(ended.timeline, file.timeline, file.lsn);
    }
}

/// Says that a promotion was decided and broke off before anybody was told, and does what was left of it.
fn finish_broken_promotion(node: &Node, database: &Database) -> Result<(), ServerError> {
    let Some(record) = database.log_branch().record() else { return Ok(()) };
    let began = record.promotion.filter(|began| began.timeline == record.timeline);
    let Some(began) = began else { return Ok(()) };
    let (disk, pg_wal) = (&*node.ground.host.disk, node.ground.data_dir.join("pg_wal"));
    let history = TimelineHistory::load(disk, &pg_wal, began.timeline)
        .map_err(|error| ServerError::new(error.to_string()))?;
    finish_promotion(node, database, Some(began), &history);
    let timeline = began.timeline;
    node.ground.log.log(format!(
        "the promotion to timeline {timeline} broke off: this server is a standby on it until it is promoted"
    ));
    Ok(())
}

/// Says when reads may begin.
async fn announce(ground: Arc<Ground>, life: Arc<Life>, database: Database, end: CancellationToken) {
    tokio::select! {
        biased;
        () = end.cancelled() => {}
        at = database.wait_consistent() => {
            ground.log.log(format!("consistent recovery state reached at {at}"));
            if ground.config().hot_standby {
                life.go(NodeState::HotStandby);
            }
        }
    }
}
