//! Waiting until a position of the log is visible, redone, or part of what readers are shown.

use super::Database;
use crate::{Error, Interrupt, Sight, WaitEvent};
use wal::Lsn;

impl Database {
    /// Waits until every commit up to `lsn` is visible: what a result that evaluated them waits for before it
    /// leaves. On a standby: until it is redone.
    ///
    /// # Errors
    /// Fails if the wait is cancelled, or the server stops or is fenced.
    pub async fn wait_visible(&self, lsn: Lsn, interrupt: &Interrupt) -> Result<(), Error> {
        self.0.wait_visible(lsn, interrupt).await
    }

    /// Which commits are visible, for who keeps something until they are.
    pub fn sight(&self) -> Sight {
        self.0.sight.clone()
    }

    /// Waits until the log is redone up to `lsn` (on a standby; on a primary until it is visible).
    ///
    /// # Errors
    /// Fails if the wait is cancelled or the server stops.
    pub async fn wait_redone(&self, lsn: Lsn, interrupt: &Interrupt) -> Result<(), Error> {
        if !self.is_in_recovery() {
            return self.wait_visible(lsn, interrupt).await;
        }
        tokio::select! {
            biased;
            reached = self.0.recovery.redone.wait(lsn) => reached.map(drop).map_err(|_| Error::Shutdown),
            () = interrupt.cancelled() => Err(Error::Cancelled),
        }
    }

    /// Waits until a snapshot taken here includes every commit that ends at or before `lsn`: on a standby
    /// until that is redone, and confirmed if the snapshot is to be of what is `confirmed` alone
    /// ([`crate::Transaction::read_confirmed`]); on a primary, whose log must reach so far, until those
    /// commits are visible.
    ///
    /// # Errors
    /// Fails if the wait is cancelled, or the server stops or is fenced.
    pub async fn wait_included(&self, lsn: Lsn, confirmed: bool, interrupt: &Interrupt) -> Result<(), Error> {
        if self.is_in_recovery() {
            if self.0.recovery.redone.get() < lsn {
                let _waiting = interrupt.waiting(WaitEvent::Position);
                self.wait_redone(lsn, interrupt).await?;
            }
            // None of a server that is promoted meanwhile: it goes on as a primary.
            if !confirmed || self.0.wait_confirmed(lsn, interrupt).await?.is_some() {
                return Ok(());
            }
        }
        if self.0.levels.decided_of(lsn) < lsn {
            self.0.levels.wait_decided(interrupt).await?;
        }
        self.0.pipeline()?.publish_up_to(lsn);
        // What lies after the last commit shows nothing, so the visible position need not come there.
        let Some(end) = self.0.visibility.doubt_up_to(lsn) else { return Ok(()) };
        let _waiting = interrupt.waiting(WaitEvent::Position);
        self.wait_visible(end, interrupt).await
    }
}
