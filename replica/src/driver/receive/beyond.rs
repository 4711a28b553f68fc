//! The rest of a record whose beginning only this node has ([`crate::receiver`]): it is written, and neither
//! counted nor redone before all of the record is found whole.

use super::ReceiveContext;
use super::asking::connection;
use super::running::Driver;
use super::writing::{log_end, open_writer, read_page};
use crate::driver::log::{LogPlace, source_error};
use crate::error::ReplicaError;
use crate::receiver::Event;
use std::sync::Arc;
use std::time::Duration;
use wal::history::TimelineHistory;
use wal::page::{record_end, record_start};
use wal::{
    EndOfWal, EndReason, Lsn, Next, ReadError, ReaderOptions, StandbyPositions, TimelineId, WalReader,
};

/// Time between two looks at a record that is not whole yet, at least.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// What is here of a record that is not whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// Up to here its pages are there, or what should be they: one may be torn.
    pub(super) upto: Lsn,
    /// Where the record ends.
    end: Lsn,
    /// It was looked at when so much was here.
    looked_at: Lsn,
    /// It is not looked at again before this, on the monotonic clock, unless all of it may be here.
    next: Duration,
}

/// What is here of the record at `wanted`, up to the first segment that is not; None if that is no record's
/// beginning, or all of it.
pub(super) fn begun_at(
    place: &LogPlace,
    history: &TimelineHistory,
    wanted: Lsn,
) -> Result<Option<Begun>, ReplicaError> {
    let mut files = place.files(history);
    files.let_gaps_end_the_log(true);
    let mut reader = WalReader::new(files, ReaderOptions::new(place.segment_size), wanted);
    let upto = match reader.next() {
        Ok(Next::End(EndOfWal { broken: Some(broken), .. })) => broken.missing_at,
        Ok(_) | Err(ReadError::Corrupt { .. }) => return Ok(None),
        Err(ReadError::Source(error)) => return Err(source_error(error)),
    };
    let start = record_start(wanted, place.segment_size);
    let page = read_page(&mut place.files(history), start.page_start())?;
    let length = page.as_ref().and_then(|page| page.get(start.page_offset()..)?.first_chunk());
    let length = length.map_or(0, |length| u32::from_le_bytes(*length));
    let end = record_end(start, length, place.segment_size);
    Ok(Some(Begun { upto, end, looked_at: Lsn::INVALID, next: Duration::ZERO }))
}

/// Up to where what is here stays until it is written over: what was received, and that of a record.
pub(super) fn stays_upto(begun: Option<Begun>, received: Lsn) -> Lsn {
    begun.map_or(received, |begun| begun.upto.max(received))
}

impl Driver {
    /// Writes on from a record's end or the start of a segment.
    pub(super) fn go_on_at(&mut self, at: Lsn) -> Result<(), ReplicaError> {
        let history = self.context.log.state().history.clone();
        let (timeline, at) = log_end(&self.context.place, &history, at)?;
        self.write_from(timeline, at, stays_upto(self.begun, self.known_upto.max(at)))?;
        self.announce(at);
        Ok(())
    }

    /// What is here of the record at `kept`, where the log goes on along another history; or of the one whose
    /// beginning nobody vouched for, if it began before that.
    pub(super) fn begun_along(
        &self,
        history: &TimelineHistory,
        kept: Lsn,
    ) -> Result<Option<Begun>, ReplicaError> {
        match self.machine.unproven() {
            Some(_) => Ok(self.begun),
            None => begun_at(&self.context.place, history, kept),
        }
    }

    /// The log ends at `kept`, and that is here of the record behind it.
    pub(super) fn know_begun(&mut self, begun: Option<Begun>, kept: Lsn) {
        self.begun = begun;
        if let Some(begun) = begun.filter(|_| self.machine.unproven().is_none()) {
            self.machine.set_begun(kept, begun.upto);
        }
    }

    /// Writes what comes from here on. It is counted and recorded, unless nobody vouches for what is before.
    pub(super) fn write_from(
        &mut self,
        timeline: TimelineId,
        at: Lsn,
        again_upto: Lsn,
    ) -> Result<(), ReplicaError> {
        let ReceiveContext { feed, log, .. } = &self.context;
        let counts = self.machine.unproven().is_none();
        let positions = if counts { feed.positions() } else { Arc::new(StandbyPositions::new(at)) };
        let writer = open_writer(&self.context, self.settings.fsync, (timeline, at), again_upto, positions)?;
        self.writer = if counts { writer.recorded_in(log.record()) } else { writer };
        feed.set_writer(counts.then(|| self.writer.clone()));
        Ok(())
    }

    /// Has all count that was received, and what comes.
    pub(super) fn count(&mut self) -> Result<(), ReplicaError> {
        let ReceiveContext { feed, log, .. } = &self.context;
        let writer = self.writer.clone().counted_in(feed.positions())?;
        self.writer = writer.recorded_in(log.record());
        feed.set_writer(Some(self.writer.clone()));
        self.announce(self.writer.end());
        Ok(())
    }

    /// When to look next at a record whose beginning nobody vouched for, on the monotonic clock.
    pub(super) fn looks_at(&self) -> Option<Duration> {
        self.machine.unproven()?;
        self.begun.filter(|begun| self.writer.end() > begun.looked_at).map(|begun| begun.next)
    }

    /// Looks whether the record is whole whose beginning nobody vouched for, or given up by who wrote it:
    /// once all of it may be here, and now and then before that.
    pub(super) async fn prove(&mut self) -> Result<Option<Event>, ReplicaError> {
        let (Some(from), Some(begun)) = (self.machine.unproven(), self.begun) else { return Ok(None) };
        let end = self.writer.end();
        let clock = self.context.host.clock.clone();
        let now = clock.monotonic();
        if end <= begun.looked_at || (end < begun.end && now < begun.next) {
            return Ok(None);
        }
        let mut reader = self.reader_at(from);
        reader.source_mut().set_limit(end);
        let found = reader.next();
        // It is read from its start each time.
        let pause = LOOK_PAUSE.max(10 * clock.monotonic().saturating_sub(now));
        self.begun = Some(Begun { looked_at: end, next: now + pause, ..begun });
        Ok(match found {
            Ok(Next::Record(_)) => {
                self.await_flush().await?;
                Some(Event::Proven)
            }
            Ok(Next::End(EndOfWal { reason: EndReason::NotYet { .. }, .. })) => None,
            Ok(Next::End(EndOfWal { reason, .. })) => Some(Event::Disproved(reason.to_string())),
            Err(error @ ReadError::Corrupt { .. }) => Some(Event::Disproved(error.to_string())),
            Err(ReadError::Source(error)) => {
                Some(Event::Lost(connection("could not read the log", &error.to_string())))
            }
        })
    }
}
