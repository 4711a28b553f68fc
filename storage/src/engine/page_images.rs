//! Which changes put whole pages into the log, and what the log itself says of that.
//!
//! A backup holds torn pages, and the images that redo finds from its redo point on mend them. A primary has
//! images made while a backup runs. A standby cannot: it judges by what its primary's log says. So from a
//! checkpoint or an XLOG_FPW_CHANGE that says "on" up to the next one that says "off", every page's first
//! change after a redo point has its image.
//!
//! Locks: the store's write lock, then [`Engine::images`]. The log is told "off" under the write lock, so no
//! redo point lies between that record and the first change without an image.

use crate::Error;
use crate::engine::Engine;
use std::sync::atomic::Ordering;
use wal::Lsn;
use wal::xlog::XlogRecord;

/// Why page images are made, or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageImages {
    /// full_page_writes as it is set.
    wanted: bool,
    /// As the log says it; None while this node does not write the log.
    logged: Option<bool>,
    /// Online backups that run.
    backups: u32,
}

impl PageImages {
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted, logged: None, backups: 0 }
    }

    /// Also while the log cannot be told that there are none any more.
    fn are_made(&self) -> bool {
        self.wanted || self.logged == Some(true) || self.backups > 0
    }

    /// What the log is to be told.
    fn news(&self) -> Option<bool> {
        (self.logged? != self.wanted).then_some(self.wanted)
    }
}

impl Engine {
    fn change_images<T>(&self, change: impl FnOnce(&mut PageImages) -> T) -> T {
        let mut images = self.images.lock();
        let done = change(&mut images);
        self.store.set_full_page_writes(images.are_made());
        done
    }

    /// Switches full_page_writes. On a standby the log is told when this node comes to write it.
    pub(crate) fn set_full_page_writes(&self, on: bool) -> Result<(), Error> {
        self.change_images(|images| images.wanted = on);
        self.log_full_page_writes()
    }

    /// This node writes the log from now on, which says `logged` so far.
    pub(crate) fn begin_logging_full_page_writes(&self, logged: bool) -> Result<(), Error> {
        self.change_images(|images| images.logged = Some(logged));
        self.log_full_page_writes()
    }

    /// Tells the log of full_page_writes if that was switched. After an error images are made, and the next
    /// checkpoint tries again.
    pub(crate) fn log_full_page_writes(&self) -> Result<(), Error> {
        if self.images.lock().news().is_none() {
            return Ok(());
        }
        let mut writer = self.store.writer();
        self.change_images(|images| {
            // Another may have been faster.
            let Some(on) = images.news() else { return Ok(()) };
            let record = XlogRecord::FpwChange(on).encode();
            let mut record = record.map_err(|error| Error::Log(error.to_string().into()))?;
            writer.insert_record(&mut record)?;
            images.logged = Some(on);
            Ok(())
        })
    }

    /// What a checkpoint says of full_page_writes. Asked at its redo point: images that a running backup
    /// forces do not count, since that may end at any time.
    pub(crate) fn logged_full_page_writes(&self) -> bool {
        self.images.lock().logged == Some(true)
    }

    /// One backup more, which needs images.
    pub(crate) fn claim_images(&self) {
        self.change_images(|images| images.backups += 1);
    }

    /// One backup less.
    pub(crate) fn release_images(&self) {
        self.change_images(|images| images.backups = images.backups.saturating_sub(1));
    }

    /// Redo met a record that says what the log has from there on.
    pub(crate) fn redone_full_page_writes(&self, on: bool, at: Lsn) {
        if !on {
            self.recovery.images_end.fetch_max(at.get(), Ordering::AcqRel);
        }
    }

    /// Whether redo has met a record at or after `start` from which on the log has no images.
    pub(crate) fn images_ended_since(&self, start: Lsn) -> bool {
        start.get() <= self.recovery.images_end.load(Ordering::Acquire)
    }
}
