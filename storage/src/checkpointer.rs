//! Checkpoints of a primary, restartpoints of a standby.
//!
//! A checkpoint takes its redo point while no transaction is inside the log, writes every page changed before that,
//! and says so in the log and then in the control file. A restartpoint does the same for a checkpoint record that
//! was replayed, and writes no record.

use crate::create::checkpoint_contents;
use crate::engine::Engine;
use crate::log::log_error;
use crate::{CheckpointInfo, CheckpointKind, Error, WalRetention};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wal::control::ClusterState;
use wal::xlog::{CheckPoint, XlogRecord};
use wal::{Lsn, Removed, Retention, SegmentFolder, SegmentNumber, TimelineId};

/// How long one rest of a paced checkpoint lasts at most, so that it hears of haste.
const REST: Duration = Duration::from_millis(50);

/// Runs a checkpoint; the caller sees to it that only one runs.
pub(crate) fn run(engine: &Arc<Engine>, kind: CheckpointKind) -> Result<CheckpointInfo, Error> {
    engine.remove_dropped()?;
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

fn write_pages(
    engine: &Engine,
    redo: Lsn,
    kind: CheckpointKind,
    info: &mut CheckpointInfo,
) -> Result<(), Error> {
    let clock = &engine.host.clock;
    let begun = clock.monotonic();
    let mut pace = |done: f64| {
        let CheckpointKind::Paced(over) = kind else { return };
        let due = over.mul_f64(done.clamp(0.0, 1.0));
        let ahead = due.saturating_sub(clock.monotonic().saturating_sub(begun));
        // One rest a page, as in PostgreSQL: few pages are not stretched over the whole time.
        if ahead >= REST / 10 && !engine.hurry.load(Ordering::Acquire) {
            std::thread::sleep(ahead.min(REST));
        }
    };
    info.pages_written = engine.store.pool().write_before(redo, &mut pace)?;
    let written = clock.monotonic();
    engine.store.sync_files()?;
    info.write_time = written.saturating_sub(begun);
    info.sync_time = clock.monotonic().saturating_sub(written);
    Ok(())
}

fn checkpoint(engine: &Arc<Engine>, kind: CheckpointKind) -> Result<CheckpointInfo, Error> {
    let pipeline = engine.pipeline()?;
    let wal = engine.wal()?;
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
    let (redo, next_xid, next_oid, oldest_open) = pipeline.at_rest(|_, next_xid| {
        let numbers = engine.numbers.lock();
        let oldest_open = engine.visibility.unsettled().0.iter().next();
        (wal.set_redo_point_here(), next_xid, if online { numbers.logged } else { numbers.next }, oldest_open)
    });
    let mut info = CheckpointInfo { redo, distance_bytes: redo.bytes_since(last_redo), ..Default::default() };
    write_pages(engine, redo, kind, &mut info)?;
    let mut contents = checkpoint_contents(
        redo,
        timeline,
        timeline,
        next_xid,
        next_oid,
        engine.host.clock.now().unix_seconds(),
        engine.full_page_writes.load(Ordering::Acquire),
        online,
    );
    if let Some(open) = oldest_open {
        contents.oldest_active_xid = open.low();
    }
    let record = if online {
        XlogRecord::CheckpointOnline(contents)
    } else {
        XlogRecord::CheckpointShutdown(contents)
    };
    let mut record = record.encode().map_err(|error| Error::Log(error.to_string().into()))?;
    let placed = wal.insert(&mut record).map_err(log_error)?;
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
    remove_old_segments(engine, redo, &mut info)?;
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

fn remove_old_segments(engine: &Engine, redo: Lsn, info: &mut CheckpointInfo) -> Result<(), Error> {
    let wal = engine.wal()?;
    let size = wal.segment_size();
    let retention = engine.retention.read().clone();
    let horizon = size.segment_of(retention.needed_from(redo).min(redo));
    let inserted = wal.positions().inserted();
    // Enough for the next round as it was the last time, within the bounds of min_wal_size and max_wal_size.
    let room = (info.distance_bytes.saturating_mul(11) / 10)
        .clamp(engine.options.min_wal_size_bytes, engine.options.max_wal_size_bytes);
    let ahead = if engine.options.wal_recycle { (room / size.bytes()).max(1) } else { 0 };
    let recycle_before = SegmentNumber::new(size.segment_of(inserted).get() + ahead);
    let removed = wal
        .remove_old_segments(Retention { horizon, recycle_before }, &mut |segment| retention.may_go(segment))
        .map_err(log_error)?;
    note_removed(&*retention, removed, info);
    Ok(())
}

fn note_removed(retention: &dyn WalRetention, removed: Removed, info: &mut CheckpointInfo) {
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    info.segments = (0, count(removed.removed), count(removed.recycled));
    if removed != Removed::default() {
        retention.removed();
    }
}

/// In recovery somebody else makes the segments, so old ones are not renamed for later use.
fn remove_replayed_segments(engine: &Engine, redo: Lsn, info: &mut CheckpointInfo) -> Result<(), Error> {
    let size = engine.control.lock().segment_size;
    let retention = engine.retention.read().clone();
    let horizon = size.segment_of(retention.needed_from(redo).min(redo));
    let folder = SegmentFolder::new(Arc::clone(&engine.host.disk), &engine.wal_dir(), size);
    let removed = folder.remove_old(horizon, &mut |segment| retention.may_go(segment)).map_err(log_error)?;
    note_removed(&*retention, removed, info);
    Ok(())
}

fn restartpoint(engine: &Arc<Engine>, kind: CheckpointKind) -> Result<CheckpointInfo, Error> {
    let seen = *engine.seen_checkpoint.lock();
    let (last, last_redo) = {
        let control = engine.control.lock();
        (control.checkpoint, control.checkpoint_copy.redo)
    };
    let state = if kind == CheckpointKind::Shutdown {
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
    write_pages(engine, redo, kind, &mut info)?;
    info.checkpoint = seen.record;
    finish(engine, seen.record, seen.contents, state, |control| {
        // Redo from there reaches at least the end of that record before anybody reads.
        if control.min_recovery_point < seen.end {
            control.min_recovery_point = seen.end;
            control.min_recovery_point_timeline = seen.contents.timeline;
        }
    })?;
    remove_replayed_segments(engine, redo, &mut info)?;
    let retention = engine.retention.read().clone();
    retention.restartpoint_done();
    Ok(info)
}
