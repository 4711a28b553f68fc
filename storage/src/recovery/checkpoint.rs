//! Checkpoints of a primary, restartpoints of a standby.
//!
//! A checkpoint takes its redo point while no transaction is inside the log, writes every page changed before
//! that, and says so in the log and then in the control file. A restartpoint does the same for a checkpoint
//! record that was redone, and writes no record.

use crate::engine::Engine;
use crate::error::log_error;
use crate::recovery::create::checkpoint_contents;
use crate::{CheckpointInfo, CheckpointKind, Error, WalRetention};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wal::control::ClusterState;
use wal::xlog::{CheckPoint, XlogRecord};
use wal::{
    Lsn, Removed, Retention, SegmentFate, SegmentFile, SegmentFolder, SegmentNumber, SegmentSize, TimelineId,
};

/// Runs a checkpoint; the caller sees to it that only one runs.
pub(crate) fn run(engine: &Arc<Engine>, kind: CheckpointKind) -> Result<CheckpointInfo, Error> {
    // After a promotion that broke off, or met a full disk: who removes old segments, or stops cleanly,
    // leaves no file that two timelines share, if that can be. On a full disk the removal goes on without.
    let _ = engine.separate_ended_late();
    engine.remove_stuck()?;
    if kind == CheckpointKind::Shutdown {
        // Nobody reads any more.
        let upto = match engine.wal() {
            Ok(wal) => wal.flush_all().map_err(log_error)?,
            Err(_) => Lsn::MAX,
        };
        engine.remove_dropped_before(upto)?;
    } else {
        engine.remove_dropped()?;
    }
    let done = if engine.is_in_recovery() { restartpoint(engine, kind) } else { checkpoint(engine, kind) }?;
    if !done.skipped {
        let mut counts = engine.checkpoints.lock();
        match kind {
            CheckpointKind::Paced(_) => counts.paced += 1,
            _ => counts.immediate += 1,
        }
        counts.write_time += done.write_time;
        counts.sync_time += done.sync_time;
    }
    Ok(done)
}

/// Where the log ends for now: inserted, or redone.
fn log_end(engine: &Engine) -> Lsn {
    engine.wal().map_or_else(|_| engine.recovery.redone.get(), |wal| wal.positions().inserted())
}

/// False: it was given up for a promotion, which makes a checkpoint of its own.
fn write_pages(
    engine: &Engine,
    redo: Lsn,
    kind: CheckpointKind,
    info: &mut CheckpointInfo,
) -> Result<bool, Error> {
    let clock = &engine.host.clock;
    let (begun, begun_at) = (clock.monotonic(), log_end(engine));
    let goes_on = || !engine.pacing.gives_up();
    let mut pace = |done: f64| {
        let CheckpointKind::Paced(over) = kind else { return goes_on() };
        let (elapsed, grown) =
            (clock.monotonic().saturating_sub(begun), log_end(engine).bytes_since(begun_at));
        let rest = engine.wal_sizes.lock().rest(over, done, elapsed, grown);
        engine.pacing.rest(rest);
        goes_on()
    };
    info.pages_written = engine.store.pool().write_before_while(redo, &mut pace)?;
    if !goes_on() {
        return Ok(false);
    }
    let written = clock.monotonic();
    engine.store.sync_files()?;
    info.write_time = written.saturating_sub(begun);
    info.sync_time = clock.monotonic().saturating_sub(written);
    Ok(true)
}

fn checkpoint(engine: &Arc<Engine>, kind: CheckpointKind) -> Result<CheckpointInfo, Error> {
    let pipeline = engine.pipeline()?;
    let wal = engine.wal()?;
    engine.log_full_page_writes()?;
    let timeline = engine.timeline();
    let (last_checkpoint, last_redo) = {
        let control = engine.control.lock();
        (control.checkpoint, control.checkpoint_copy.redo)
    };
    let idle = wal.last_record() == last_checkpoint;
    if idle && matches!(kind, CheckpointKind::Paced(_)) {
        return Ok(CheckpointInfo {
            checkpoint: last_checkpoint,
            redo: last_redo,
            skipped: true,
            ..Default::default()
        });
    }
    let online = matches!(kind, CheckpointKind::Immediate | CheckpointKind::Paced(_));
    let is_last = kind == CheckpointKind::Shutdown;
    let (redo, images, next_xid, next_oid, oldest_open) = pipeline.at_redo_point(|next_xid| {
        if is_last {
            // Work of a session that has ended may go on: it finds no place from here on.
            wal.seal();
        }
        let images = engine.logged_full_page_writes();
        let numbers = engine.numbers.lock();
        let next_oid = if online { numbers.logged } else { numbers.next };
        let oldest_open = engine.visibility.unsettled().0.iter().next();
        (wal.set_redo_point_here(), images, next_xid, next_oid, oldest_open)
    })?;
    let mut info = CheckpointInfo { redo, distance_bytes: redo.bytes_since(last_redo), ..Default::default() };
    let early = host::planted!("a checkpoint leaves out the pages that changed since the last");
    write_pages(engine, if early { last_redo } else { redo }, kind, &mut info)?;
    if online {
        pipeline.record_for_checkpoint();
    }
    let mut contents = checkpoint_contents(
        redo,
        timeline,
        timeline,
        next_xid,
        next_oid,
        engine.host.clock.now().unix_seconds(),
        images,
        online,
    );
    if let Some(open) = oldest_open {
        contents.oldest_active_xid = open.low();
    }
    let kind_of_record = if online { XlogRecord::CheckpointOnline } else { XlogRecord::CheckpointShutdown };
    let mut record =
        kind_of_record(contents).encode().map_err(|error| Error::Log(error.to_string().into()))?;
    let placed = if is_last { wal.insert_last(&mut record) } else { wal.insert(&mut record) };
    let placed = placed.map_err(log_error)?;
    wal.flush(placed.end).map_err(log_error)?;
    if !online && placed.start != redo {
        return Err(Error::WrongState("log was written while the database was being shut down"));
    }
    info.checkpoint = placed.start;
    let state =
        if kind == CheckpointKind::Shutdown { ClusterState::ShutDown } else { ClusterState::InProduction };
    finish(engine, placed.start, contents, state, |control| {
        control.min_recovery_point = Lsn::INVALID;
        control.min_recovery_point_timeline = TimelineId::INVALID;
    })?;
    remove_old_segments(engine, redo, placed.end, &mut info)?;
    wal.get_ahead();
    Ok(info)
}

fn finish(
    engine: &Engine,
    checkpoint: Lsn,
    contents: CheckPoint,
    state: ClusterState,
    change: impl FnOnce(&mut wal::control::ControlFile),
) -> Result<(), Error> {
    engine.update_control(|control| {
        control.checkpoint = checkpoint;
        control.checkpoint_copy = contents;
        control.state = state;
        change(control);
    })
}

fn remove_old_segments(engine: &Engine, redo: Lsn, end: Lsn, info: &mut CheckpointInfo) -> Result<(), Error> {
    if host::planted!("log that nobody needs stays") {
        return Ok(());
    }
    let wal = engine.wal()?;
    let size = wal.segment_size();
    let retention = engine.retention.read().clone();
    let late = host::planted!("log goes up to the checkpoint's record instead of its redo point");
    let needed = if late { info.checkpoint } else { redo };
    let horizon = size.segment_of(retention.needed_from(needed).min(needed));
    if engine.leaves_log.load(Ordering::Acquire) {
        return Ok(());
    }
    let recycle_before = {
        let mut round = engine.round.lock();
        round.note(info.distance_bytes);
        round.recycle_before(redo, &engine.wal_sizes.lock(), size)
    };
    let kept = retention.kept(redo, end);
    let mut removed = wal
        .remove_old_segments(Retention { horizon, recycle_before, kept }, &mut |segment| {
            fate(engine, &*retention, size, segment)
        })
        .map_err(log_error)?;
    let folder = SegmentFolder::new(Arc::clone(&engine.host.disk), &engine.wal_dir(), size);
    removed.add(remove_old_partials(&folder, horizon, &*retention)?);
    note_removed(engine, &*retention, removed, info);
    Ok(())
}

/// What may become of an old segment. A file that two timelines share stays, under both names.
fn fate(
    engine: &Engine,
    retention: &dyn WalRetention,
    size: SegmentSize,
    segment: SegmentFile,
) -> SegmentFate {
    let shared = engine.shared_end.lock().map(|ended| size.segment_of(ended.lsn));
    if shared == Some(segment.segment) { SegmentFate::Kept } else { retention.fate(segment) }
}

/// What promotions set aside goes like segments, and serves nobody ahead.
fn remove_old_partials(
    folder: &SegmentFolder,
    horizon: SegmentNumber,
    retention: &dyn WalRetention,
) -> Result<Removed, Error> {
    folder.remove_old_partials(horizon, &mut |segment| retention.partial_may_go(segment)).map_err(log_error)
}

/// What cannot go is told, and tried again by the next checkpoint: nothing depends on it but room.
fn note_removed(engine: &Engine, retention: &dyn WalRetention, removed: Removed, info: &mut CheckpointInfo) {
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    info.segments = (0, count(removed.removed), count(removed.recycled));
    if removed.has_any() {
        retention.removed();
    }
    removed.failures.into_iter().for_each(|failure| engine.troubles.note(failure));
}

/// In recovery somebody else makes the segments, so old ones are not renamed for later use.
fn remove_redone_segments(engine: &Engine, redo: Lsn, info: &mut CheckpointInfo) -> Result<(), Error> {
    if host::planted!("log that nobody needs stays") {
        return Ok(());
    }
    let size = engine.control.lock().segment_size;
    let retention = engine.retention.read().clone();
    let horizon = size.segment_of(retention.needed_from(redo).min(redo));
    let folder = SegmentFolder::new(Arc::clone(&engine.host.disk), &engine.wal_dir(), size);
    let kept = retention.kept_in_recovery();
    let removed = folder.remove_old(horizon, kept, &mut |segment| fate(engine, &*retention, size, segment));
    let mut removed = removed.map_err(log_error)?;
    removed.add(remove_old_partials(&folder, horizon, &*retention)?);
    note_removed(engine, &*retention, removed, info);
    Ok(())
}

fn restartpoint(engine: &Arc<Engine>, kind: CheckpointKind) -> Result<CheckpointInfo, Error> {
    let seen = *engine.seen_checkpoint.lock();
    let (last, last_redo) = {
        let control = engine.control.lock();
        (control.checkpoint, control.checkpoint_copy.redo)
    };
    // One that stops before its data is consistent is not at rest: what a crash before had torn is torn yet.
    let state = if kind == CheckpointKind::Shutdown && engine.recovery.is_consistent() {
        ClusterState::ShutDownInRecovery
    } else {
        ClusterState::InArchiveRecovery
    };
    let Some(seen) = seen.filter(|seen| seen.contents.redo > last_redo) else {
        if kind == CheckpointKind::Shutdown {
            // Nothing to begin from that is newer; what was changed goes to disk all the same.
            engine.store.flush_before(Lsn::MAX, &mut |_| {})?;
            engine.update_control(|control| control.state = state)?;
        }
        return Ok(CheckpointInfo { checkpoint: last, redo: last_redo, skipped: true, ..Default::default() });
    };
    let redo = seen.contents.redo;
    let mut info = CheckpointInfo { redo, distance_bytes: redo.bytes_since(last_redo), ..Default::default() };
    engine.remove_dropped_before(redo)?;
    // A stopped server's files are as of the end of redo, for tools that look at them.
    let upto = if kind == CheckpointKind::Shutdown { Lsn::MAX } else { redo };
    if !write_pages(engine, upto, kind, &mut info)? {
        return Ok(CheckpointInfo { checkpoint: last, redo: last_redo, skipped: true, ..Default::default() });
    }
    engine.recovery.make_durable(seen.end)?;
    info.checkpoint = seen.record;
    finish(engine, seen.record, seen.contents, state, |control| {
        // Redo from there reaches at least the end of that record before anybody reads.
        if control.min_recovery_point < seen.end {
            control.min_recovery_point = seen.end;
            control.min_recovery_point_timeline = seen.contents.timeline;
        }
    })?;
    remove_redone_segments(engine, redo, &mut info)?;
    let retention = engine.retention.read().clone();
    retention.restartpoint_done();
    Ok(info)
}
