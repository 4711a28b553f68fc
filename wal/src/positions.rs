//! How far the log has come: on a primary `inserted >= written >= flushed`, on a standby
//! `received >= flushed >= replayed >= settled` (redo may be ahead of `flushed`: what is durable counts).
//! Every position is an exclusive end. The order is asserted wherever one of them moves.

use crate::ids::Lsn;
pub use crate::watermark::Stopped;
use crate::watermark::Watermark;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// A primary's positions. Only its [`crate::WalWriter`] moves them.
#[derive(Debug)]
pub struct Positions {
    inserted: AtomicU64,
    written: Watermark,
    flushed: Watermark,
}

impl Positions {
    /// All three at `start`.
    pub fn new(start: Lsn) -> Self {
        Self {
            inserted: AtomicU64::new(start.get()),
            written: Watermark::new(start),
            flushed: Watermark::new(start),
        }
    }

    /// The end of the last record that has its place in the log (in memory, maybe nowhere else).
    pub fn inserted(&self) -> Lsn {
        Lsn::new(self.inserted.load(Ordering::Acquire))
    }
    /// What the kernel has; it survives a kill of the process.
    pub fn written(&self) -> Lsn {
        self.written.get()
    }
    /// What is durable; always the end of a record.
    pub fn flushed(&self) -> Lsn {
        self.flushed.get()
    }

    /// Waits until everything before `upto` is durable.
    ///
    /// # Errors
    /// Fails once no more comes: the writer has failed or was closed, or the branch was left.
    pub async fn wait_flushed(&self, upto: Lsn) -> Result<Lsn, Stopped> {
        self.flushed.wait(upto).await
    }
    /// Waits until something after `lsn` is durable: how a sender waits for more.
    ///
    /// # Errors
    /// Fails once no more comes: the writer has failed or was closed, or the branch was left.
    pub async fn wait_flushed_past(&self, lsn: Lsn) -> Result<Lsn, Stopped> {
        self.flushed.wait_past(lsn).await
    }
    /// Waits like [`Positions::wait_flushed`], blocking this thread.
    ///
    /// # Errors
    /// Fails once no more comes: the writer has failed or was closed, or the branch was left.
    pub fn wait_flushed_blocking(&self, upto: Lsn) -> Result<Lsn, Stopped> {
        self.flushed.wait_blocking(upto)
    }
    /// A channel that carries the newest flushed position.
    pub fn subscribe(&self) -> watch::Receiver<Lsn> {
        self.flushed.subscribe()
    }

    /// Called under the lock that gives records their places, so it never goes back.
    pub(crate) fn set_inserted(&self, to: Lsn) {
        debug_assert!(to >= self.inserted(), "inserted goes back from {} to {to}", self.inserted());
        self.inserted.store(to.get(), Ordering::Release);
    }
    pub(crate) fn set_written(&self, to: Lsn) {
        assert!(to <= self.inserted(), "{to} is written and only {} inserted", self.inserted());
        self.written.advance(to);
    }
    /// `first` is called before those are woken who waited for this.
    pub(crate) fn set_flushed(&self, to: Lsn, first: impl FnOnce()) {
        assert!(to <= self.written(), "{to} is flushed and only {} written", self.written());
        self.flushed.advance_and(to, first);
    }
    /// The writer failed or was closed: whoever still waits for more gets [`Stopped`].
    pub(crate) fn stop(&self) {
        self.written.stop();
        self.flushed.stop();
    }
}

/// A standby's positions. [`crate::RawWriter`] moves the first two, redo the others.
#[derive(Debug)]
pub struct StandbyPositions {
    received: Watermark,
    flushed: Watermark,
    replayed: Watermark,
    settled: Watermark,
}

impl StandbyPositions {
    /// All at `start`, which is the end of a record.
    pub fn new(start: Lsn) -> Self {
        Self {
            received: Watermark::new(start),
            flushed: Watermark::new(start),
            replayed: Watermark::new(start),
            settled: Watermark::new(start),
        }
    }

    /// The positions of the log that ends at `kept`: nothing behind that counts as received.
    pub(crate) fn cut(&self, kept: Lsn) -> Self {
        let cut = |mark: &Watermark| Watermark::new(mark.get().min(kept));
        Self {
            received: cut(&self.received),
            flushed: cut(&self.flushed),
            replayed: cut(&self.replayed),
            settled: cut(&self.settled),
        }
    }

    /// What came in and was handed to the kernel.
    pub fn received(&self) -> Lsn {
        self.received.get()
    }
    /// What is durable here.
    pub fn flushed(&self) -> Lsn {
        self.flushed.get()
    }
    /// What redo has applied, as far as that is durable here, which may end within a record. Readers may see
    /// more, up to `received`.
    pub fn replayed(&self) -> Lsn {
        self.replayed.get()
    }
    /// The end of a record that is durable here with all before it, and redone: no crash takes any of that
    /// back, so that another log would follow it. It comes to where `replayed` is.
    pub fn settled(&self) -> Lsn {
        self.settled.get()
    }

    /// Waits until something after `lsn` is replayed.
    ///
    /// # Errors
    /// Fails once no more comes: the writer has failed or was closed, or the branch was left.
    pub async fn wait_replayed_past(&self, lsn: Lsn) -> Result<Lsn, Stopped> {
        self.replayed.wait_past(lsn).await
    }
    /// Waits until something after `lsn` is durable here: how a cascading sender waits for more.
    ///
    /// # Errors
    /// Fails once no more comes: the writer has failed or was closed, or the branch was left.
    pub async fn wait_flushed_past(&self, lsn: Lsn) -> Result<Lsn, Stopped> {
        self.flushed.wait_past(lsn).await
    }
    /// Waits until something after `lsn` is settled, and hurries nobody for that.
    ///
    /// # Errors
    /// Fails once no more comes: the writer has failed or was closed, or the branch was left.
    pub async fn wait_settled_past(&self, lsn: Lsn) -> Result<Lsn, Stopped> {
        self.settled.wait_past(lsn).await
    }
    /// Whether anybody waits for more to be replayed.
    pub fn replay_is_awaited(&self) -> bool {
        self.replayed.is_awaited()
    }

    /// WAL up to `to` was written, by the receiver or by recovery from an archive.
    pub fn set_received(&self, to: Lsn) {
        self.received.advance(to);
    }
    /// WAL up to `to` is durable.
    pub fn set_flushed(&self, to: Lsn) {
        assert!(to <= self.received(), "{to} is flushed and only {} received", self.received());
        self.flushed.advance(to);
    }
    /// Redo has applied everything before `to`, which is durable.
    pub fn set_replayed(&self, to: Lsn) {
        assert!(to <= self.flushed(), "{to} is replayed and only {} flushed", self.flushed());
        self.replayed.advance(to);
    }
    /// A record that ends at `end` is replayed, with all before it.
    pub fn set_settled(&self, end: Lsn) {
        assert!(end <= self.replayed(), "{end} is settled and only {} replayed", self.replayed());
        self.settled.advance(end);
    }
    /// The standby stops or is promoted: whoever still waits for more gets [`Stopped`].
    pub fn stop(&self) {
        self.received.stop();
        self.flushed.stop();
        self.replayed.stop();
        self.settled.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    #[test]
    fn a_wait_for_replay_is_known_while_it_lasts_and_one_for_the_flush_is_none() {
        let positions = StandbyPositions::new(Lsn::new(8));
        let mut context = Context::from_waker(Waker::noop());
        let mut flush = std::pin::pin!(positions.wait_flushed_past(Lsn::new(8)));
        assert!(flush.as_mut().poll(&mut context).is_pending());
        assert!(!positions.replay_is_awaited());
        {
            let mut replay = std::pin::pin!(positions.wait_replayed_past(Lsn::new(8)));
            assert!(replay.as_mut().poll(&mut context).is_pending());
            assert!(positions.replay_is_awaited());
        }
        assert!(!positions.replay_is_awaited());
    }
}
