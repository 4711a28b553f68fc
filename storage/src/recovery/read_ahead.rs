//! The log read ahead of redo, on a thread of its own: it puts the records together, checks them, and pins
//! the pages that they change, loading what is not in the pool, so that redo finds both at hand.
//!
//! ```text
//! reader's thread   read and check a batch -> pin its pages, ask the kernel for those that are not there
//!                   -> load those of the batch before -> hand that over
//! redo's thread     redo the records of a batch
//! ```
//!
//! A page is loaded as a reader of a standby would load it; what goes wrong is not told, since an earlier
//! record may mend or drop the page: whether it is damage redo finds out. No page is pinned while a record
//! that cuts or drops files waits for its redo, so none stays or comes back behind its back. At most
//! [`BATCHES`] batches wait, of [`BATCH_RECORDS`] records or [`BATCH_BYTES`] each.

use crate::Error;
use crate::changes::redo::Pins;
use crate::engine::Engine;
use crate::engine::recovery_state::PrefetchCounts;
use crate::error::read_error;
use crate::pages::pool::{PageKey, Pool};
use host::sync::{Receiver, Sender, channel};
use std::ops::ControlFlow;
use wal::reader::{EndOfWal, Next, ReadError, SegmentFiles, WalReader};
use wal::{Fork, Lsn, Record, Rmgr, TimelineId};

/// Batches that wait for redo at most.
const BATCHES: usize = 1;
/// Records of a batch: many, since each that is handed over may wake a thread.
const BATCH_RECORDS: usize = 1024;
/// A batch ends with the record that brings it to so many bytes.
const BATCH_BYTES: u64 = 128 << 10;
/// Pages are pinned ahead only in a pool of so many: a small one would have none left for others.
const FRAMES_MIN: usize = 16 * BATCHES * BATCH_RECORDS;
/// Pages that were lately met are remembered in so many places: they are at hand or about to be made, and
/// looked up cheaper by who changes them.
const LATELY_MET: usize = 2048;

/// A record with what redo needs for it.
pub(crate) struct Ready<'p> {
    pub(crate) record: Record,
    /// Of the page on which the record ends.
    pub(crate) timeline: Option<TimelineId>,
    pub(crate) pins: Pins<'p>,
}

/// Records in log order.
#[derive(Default)]
struct Batch<'p> {
    records: Vec<Ready<'p>>,
    /// Pages to be loaded: for which of the records, and its block reference.
    wanted: Vec<(usize, u8, PageKey)>,
    /// What comes behind them.
    end: Option<Result<EndOfWal, ReadError>>,
}

/// Why redo goes on no longer.
pub(crate) enum Ended<S> {
    /// The log ends here.
    Log(EndOfWal),
    /// `redo` asked for it. The reader stands further on: seek before reading again.
    Stopped(S),
}

/// Hands the records that `reader` gives to `redo`, in order, until the log ends or `redo` breaks off or
/// fails.
pub(crate) fn read_ahead<S>(
    engine: &Engine,
    reader: &mut WalReader<SegmentFiles>,
    redo: impl FnMut(&mut Ready<'_>) -> Result<ControlFlow<S>, Error>,
) -> Result<Ended<S>, Error> {
    let (sender, batches) = channel(BATCHES);
    let ahead = Ahead {
        pool: engine.store.pool(),
        engine,
        reader,
        quiet_until: Lsn::INVALID,
        lately: vec![None; LATELY_MET],
        number: 0,
    };
    // Gives up the receiver at its end, which ends the reader's thread.
    let redo = || redo_batches(batches, redo);
    host::thread::beside("redo-reader", move || ahead.run(&sender), redo)
        .map_err(|error| Error::Unusable(format!("could not start a thread for recovery: {error}")))?
}

fn redo_batches<S>(
    batches: Receiver<Batch<'_>>,
    mut redo: impl FnMut(&mut Ready<'_>) -> Result<ControlFlow<S>, Error>,
) -> Result<Ended<S>, Error> {
    for mut batch in batches {
        for ready in &mut batch.records {
            if let ControlFlow::Break(stop) = redo(ready)? {
                return Ok(Ended::Stopped(stop));
            }
        }
        if let Some(end) = batch.end {
            return end.map(Ended::Log).map_err(read_error);
        }
    }
    // The thread gives an end before it ends, unless it panicked, which the scope tells.
    Err(Error::Shutdown)
}

/// The reader's thread.
struct Ahead<'p, 'r> {
    engine: &'p Engine,
    pool: &'p Pool,
    reader: &'r mut WalReader<SegmentFiles>,
    /// No page is pinned before redo has come here.
    quiet_until: Lsn,
    /// Pages by their hash, with the number of the batch in which they were met.
    lately: Vec<Option<(PageKey, u64)>>,
    /// Of the batch that is read.
    number: u64,
}

impl<'p> Ahead<'p, '_> {
    fn run(mut self, sender: &Sender<Batch<'p>>) {
        let pins = self.pool.frame_count() >= FRAMES_MIN;
        let mut before: Option<Batch<'p>> = None;
        loop {
            self.number += 1;
            let mut batch = self.read_batch();
            if pins {
                self.pin_pages(&mut batch);
            }
            let is_last = batch.end.is_some();
            // A batch later, so that the kernel has had time to read what it was asked for.
            let goes_on = before.replace(batch).is_none_or(|ready| self.hand_over(ready, sender));
            if is_last && let Some(last) = before.take().filter(|_| goes_on) {
                self.hand_over(last, sender);
            }
            if is_last || !goes_on {
                return;
            }
        }
    }

    fn read_batch(&mut self) -> Batch<'p> {
        let mut batch = Batch { records: Vec::with_capacity(BATCH_RECORDS), ..Batch::default() };
        let mut bytes = 0;
        while batch.records.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            match self.reader.next() {
                Ok(Next::Record(record)) => {
                    bytes += u64::from(record.len());
                    let timeline = self.reader.page_timeline();
                    batch.records.push(Ready { record, timeline, pins: Pins::new() });
                }
                Ok(Next::End(end)) => {
                    batch.end = Some(Ok(end));
                    break;
                }
                Err(error) => {
                    batch.end = Some(Err(error));
                    break;
                }
            }
        }
        batch
    }

    /// Pins the pages that are in the pool, and asks the kernel for the others.
    fn pin_pages(&mut self, batch: &mut Batch<'p>) {
        let counts = &self.engine.recovery.prefetch;
        for (index, Ready { record, pins, .. }) in batch.records.iter_mut().enumerate() {
            if is_about_files(record) {
                self.quiet_until = record.end();
            }
            if self.quiet_until > self.engine.recovery.redone.get() {
                continue;
            }
            for block in record.blocks().filter(|block| block.fork == Fork::Main) {
                let key = PageKey::new(block.rel, block.block);
                let lately = was_lately_met(&mut self.lately, key, self.number);
                if block.image.as_ref().is_some_and(|image| image.applies()) {
                    PrefetchCounts::count(&counts.skip_fpw);
                } else if block.will_init {
                    PrefetchCounts::count(&counts.skip_init);
                } else if lately {
                    PrefetchCounts::count(&counts.skip_rep);
                } else if let Some(pin) = self.pool.pin(key) {
                    PrefetchCounts::count(&counts.hit);
                    pins.push((block.id, pin));
                } else if self.engine.store.will_need(key) {
                    PrefetchCounts::count(&counts.prefetched);
                    batch.wanted.push((index, block.id, key));
                } else {
                    PrefetchCounts::count(&counts.skip_new);
                }
            }
        }
    }

    /// Loads a batch's pages and gives it to redo; false if that wants no more.
    fn hand_over(&self, mut batch: Batch<'p>, sender: &Sender<Batch<'p>>) -> bool {
        for (index, id, key) in batch.wanted.drain(..) {
            if self.engine.check_opening().is_err() {
                break;
            }
            // What goes wrong is redo's to find out.
            if let (Some(ready), Ok(pin)) = (batch.records.get_mut(index), self.pool.load(key, false)) {
                ready.pins.push((id, pin));
            }
        }
        sender.send(batch).is_ok()
    }
}

/// Whether a page was met in a batch that redo may not yet have done with. From now on it was.
fn was_lately_met(lately: &mut [Option<(PageKey, u64)>], key: PageKey, number: u64) -> bool {
    let place = (key.block.get() ^ key.rel.relation.rotate_left(5)) as usize % LATELY_MET;
    let met = lately.get_mut(place).and_then(|place| place.replace((key, number)));
    met.is_some_and(|(other, at)| other == key && at + BATCHES as u64 >= number)
}

/// Whether its redo cuts or removes files, or may do so.
fn is_about_files(record: &Record) -> bool {
    match record.rmgr() {
        Rmgr::SMGR => true,
        Rmgr::XACT => record.info() & wal::record::XLR_SPECIAL_REL_UPDATE != 0,
        _ => false,
    }
}
