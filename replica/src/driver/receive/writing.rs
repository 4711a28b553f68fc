//! What the receiver does to the log: it writes and flushes it, and tells redo how far it is written.

use super::ReceiveContext;
use super::asking::connection;
use super::beyond::stays_upto;
use super::catching_up::CatchingUp;
use super::comparing::whole_end;
use super::running::Driver;
use crate::driver::log::{LogPlace, source_error};
use crate::error::ReplicaError;
use crate::receiver::Event;
use bytes::Bytes;
use host::task::Blocking;
use std::sync::Arc;
use std::time::Duration;
use wal::history::TimelineHistory;
use wal::page::{PAGE_SIZE, header_size_at};
use wal::reader::{Compared, CutTail, SegmentFiles};
use wal::{
    BranchError, EndOfWal, Lsn, Next, PageHeader, RawConfig, RawWriter, ReadError, ReaderOptions,
    StandbyPositions, TimelineId, WalError, WalReader, WalSource,
};

impl Driver {
    pub(super) async fn flush(&mut self) -> Result<Option<Event>, ReplicaError> {
        let now = self.context.host.clock.monotonic();
        if self.is_replay_awaited() {
            self.announce_written(now);
        }
        if self.machine.flush_at_leisure() {
            if self.flushing.is_none() {
                let writer = self.writer.clone();
                self.flushing = Some(host::task::blocking(move || writer.flush()));
            }
            return Ok(None);
        }
        // The reply for what is written goes before the fsync, not after it.
        self.send_queued().await;
        let end = self.writer.flush()?;
        self.context.feed.flushed();
        Ok(Some(Event::Flushed(end)))
    }

    /// Waits for a flush that runs elsewhere.
    pub(super) async fn await_flush(&mut self) -> Result<(), ReplicaError> {
        if self.flushing.is_some() {
            let flushed = finished(&mut self.flushing).await;
            self.flushing = None;
            self.machine.flush_was_awaited();
            flushed?;
            self.context.feed.flushed();
        }
        Ok(())
    }

    /// What is written and not durable yet, in bytes.
    pub(super) fn unflushed(&self) -> u64 {
        self.machine.end().0.bytes_since(self.writer.positions().flushed())
    }

    /// Whether somebody waits for replay: redo is told at once then, and else after a pause since the last
    /// time.
    fn is_replay_awaited(&self) -> bool {
        self.machine.hurries_replayed() || self.context.feed.positions().replay_is_awaited()
    }

    /// Tells redo how far the log is written, if that is news.
    pub(super) fn announce_written(&mut self, now: Duration) {
        if let Some(written) = self.unannounced {
            self.announced_at = now;
            self.announce(written);
        }
    }

    pub(super) fn announce(&mut self, written: Lsn) {
        self.unannounced = None;
        if self.machine.unproven().is_some() {
            return;
        }
        self.context.feed.set_available(written, self.machine.history().target());
    }

    pub(super) fn reader_at(&self, lsn: Lsn) -> WalReader<SegmentFiles> {
        let files = self.context.place.files(&self.context.log.state().history);
        WalReader::new(files, ReaderOptions::new(self.context.place.segment_size), lsn)
    }

    /// The end of the last whole record, whatever cannot be read from where redo is to there.
    pub(super) fn find_whole_end(&self) -> Event {
        let replayed = self.context.feed.positions().replayed();
        let mut reader = self.reader_at(replayed);
        reader.source_mut().set_limit(self.writer.end());
        loop {
            match reader.next() {
                Ok(Next::Record(_)) => {}
                Ok(Next::End(_))
                    if host::planted!("the last records are dropped at a switch of timelines") =>
                {
                    return Event::WholeEnd(replayed);
                }
                Ok(Next::End(EndOfWal { at, .. })) | Err(ReadError::Corrupt { at, .. }) => {
                    let files = self.context.place.files(&self.context.log.state().history);
                    let (size, from) = (self.context.place.segment_size, at.max(replayed));
                    return match whole_end(files, size, from, self.writer.end()) {
                        Ok(end) => Event::WholeEnd(end),
                        Err(error) => Event::Lost(error),
                    };
                }
                Err(ReadError::Source(error)) => {
                    return Event::Lost(connection("could not read the log", &error.to_string()));
                }
            }
        }
    }

    /// Follows another history, which goes on from `kept`: its file is durable first, then the log is another
    /// one for all who look at it, and only then is what lies behind wiped.
    pub(super) fn follow(&mut self, history: TimelineHistory, kept: Lsn) -> Result<(), ReplicaError> {
        self.store_history(&history)?;
        let (timeline, end) = (self.writer.timeline(), self.writer.end());
        // The writer may mend an earlier timeline than that at whose end the log of here stands.
        let before = self.context.log.state().history.target();
        let leaves_at = history.end_of(before).ok().flatten();
        // What cannot be read of it comes again, over what is there. What is here of a record that begins at
        // its end may be nowhere else.
        let known_upto = received(&self.context, &history).max(kept);
        let begun = self.begun_along(&history, kept)?;
        let stays_upto = stays_upto(begun, known_upto);
        let again_upto = stays_upto.min(leaves_at.unwrap_or(Lsn::MAX)).max(kept);
        // What was received before this start and is no whole record lies behind what the writer knows of. It
        // stays if it is of the new history as well.
        let tail = self.reader_at(again_upto).tail_behind(again_upto).map_err(source_error)?;
        let tail = CutTail { upto: tail.upto.max(end), ..tail };
        let cuts = end > kept || leaves_at.is_some_and(|fork| tail.upto > fork);
        if cuts && tail.bytes() > 0 {
            self.context.observer.cut(&tail, before);
        }
        self.context.log.branch(history.clone(), kept).map_err(|error| branch_error(&error))?;
        self.unannounced = None;
        self.catching_up = CatchingUp::default();
        if cuts {
            self.known_upto = known_upto;
            self.know_begun(begun, kept);
            self.write_from(timeline, kept, stays_upto)?;
            self.writer.begin()?;
        }
        if before != history.target() {
            self.context.observer.followed(&history);
        }
        self.announce(kept);
        Ok(())
    }

    /// What lies behind the end of the log may be another log than what comes.
    fn tell_rewritten(&self, end: Lsn) -> Result<(), ReplicaError> {
        let tail = self.reader_at(end).tail_behind(end).map_err(source_error)?;
        if tail.whole_records > 0 {
            self.context.observer.cut(&tail, self.writer.timeline());
        }
        Ok(())
    }

    pub(super) fn write(&mut self, at: Lsn, wal: &Bytes) -> Result<Option<Event>, ReplicaError> {
        let (mut wal, mut mends) = (wal.clone(), None);
        if at < self.known_upto {
            let known = usize::try_from(self.known_upto.bytes_since(at)).unwrap_or(usize::MAX).min(wal.len());
            match self.look(at, wal.get(..known).unwrap_or_default())? {
                Compared::Same | Compared::Gone => {}
                Compared::Alike { mut bytes, taken } => {
                    bytes.extend_from_slice(wal.get(known..).unwrap_or_default());
                    (wal, mends) = (bytes.into(), taken);
                }
                Compared::Another(_) => return Ok(Some(Event::Differs(at))),
            }
        } else if self.writer.is_untouched() && self.machine.unproven().is_none() {
            self.tell_rewritten(at)?;
        }
        self.writer.set_bulk(self.machine.catches_up());
        match self.writer.write_at(at, &wal) {
            Ok(end) => {
                if let Some(part) = mends {
                    self.context.observer.mended(&part);
                }
                self.unannounced = Some(end);
                self.undrained = true;
                Ok(Some(Event::Written(end)))
            }
            // Nothing was written; the same bytes are asked for again when there may be space.
            Err(error @ WalError::DiskFull { .. }) => Ok(Some(Event::Lost(error.into()))),
            Err(error) => Err(error.into()),
        }
    }
}

pub(super) fn branch_error(error: &BranchError) -> ReplicaError {
    ReplicaError::Protocol(error.to_string())
}

/// Waits for a flush that runs elsewhere; for ever if none does.
pub(super) async fn finished(
    flushing: &mut Option<Blocking<Result<Lsn, WalError>>>,
) -> Result<Lsn, ReplicaError> {
    match flushing {
        Some(flushing) => {
            let ended = flushing.await;
            Ok(ended.map_err(|error| ReplicaError::Protocol(format!("a flush ended: {error}")))??)
        }
        None => std::future::pending().await,
    }
}

pub(super) fn open_writer(
    context: &ReceiveContext,
    fsync: bool,
    (timeline, end): (TimelineId, Lsn),
    again_upto: Lsn,
    positions: Arc<StandbyPositions>,
) -> Result<RawWriter, ReplicaError> {
    let config = RawConfig::new(timeline, context.place.segment_size);
    let config = RawConfig { fsync, again_upto, ..config };
    Ok(RawWriter::open(&context.host, &context.place.pg_wal, config, end, positions)?)
}

/// Up to where the log of a history was received before; INVALID if nobody knows.
pub(super) fn received(context: &ReceiveContext, history: &TimelineHistory) -> Lsn {
    let received = context.log.record().received().and_then(|received| received.along(history));
    received.unwrap_or(Lsn::INVALID)
}

/// Where writing can begin: at `wanted`, on the timeline whose file holds it. A segment that is not there, or
/// whose page was never begun, is asked for from its start.
pub(super) fn log_end(
    place: &LogPlace,
    history: &TimelineHistory,
    wanted: Lsn,
) -> Result<(TimelineId, Lsn), ReplicaError> {
    let size = place.segment_size;
    let start = size.start_of(size.segment_of(wanted));
    let mut newest_first = history.newest_first().filter(|(_, begin, _)| *begin <= wanted);
    if wanted == start {
        let timeline = newest_first.next().map_or(history.target(), |(timeline, ..)| timeline);
        return Ok((timeline, wanted));
    }
    let mut files = place.files(history);
    let page = (wanted - 1).page_start();
    if read_page(&mut files, page)?.is_some_and(|bytes| is_begun(&bytes, page)) {
        // The file that was found is that of the newest timeline which has one.
        for (timeline, ..) in newest_first {
            let name = size.segment_of(wanted).file_name(timeline, size);
            if place.disk.exists(&place.pg_wal.join(&name)).unwrap_or(false) {
                return Ok((timeline, wanted));
            }
        }
    }
    Ok((history.timeline_at(start), start))
}

/// The last page before `end` that has more than a header (behind a switch there are zeros alone); None if it
/// is not here, or further away than a segment.
pub(super) fn last_page(
    place: &LogPlace,
    history: &TimelineHistory,
    end: Lsn,
) -> Result<Option<Lsn>, ReplicaError> {
    let size = place.segment_size;
    let mut files = place.files(history);
    let mut page = (end - 1).page_start();
    while end.bytes_since(page) <= size.bytes() {
        let Some(bytes) = read_page(&mut files, page)? else { return Ok(None) };
        let used = usize::try_from(end.bytes_since(page)).unwrap_or(PAGE_SIZE).min(PAGE_SIZE);
        let contents = bytes.get(header_size_at(page, size)..used).unwrap_or_default();
        if contents.iter().any(|byte| *byte != 0) {
            return Ok(is_begun(&bytes, page).then_some(page));
        }
        page = page - PAGE_SIZE as u64;
    }
    Ok(None)
}

/// Whether this page of the log, and not an older one or zeros, has these bytes.
fn is_begun(bytes: &[u8], page: Lsn) -> bool {
    PageHeader::decode(bytes).is_ok_and(|header| header.address == page)
}

/// A page of the log; None if it is not here.
pub(super) fn read_page(
    files: &mut SegmentFiles,
    page: Lsn,
) -> Result<Option<[u8; PAGE_SIZE]>, ReplicaError> {
    let mut bytes = [0; PAGE_SIZE];
    match files.read(page, &mut bytes) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(bytes)),
        Err(wal::SourceError::Missing { .. }) => Ok(None),
        Err(wal::SourceError::Io { path, error, .. }) => {
            Err(ReplicaError::File { what: "read", path, cause: error })
        }
    }
}
