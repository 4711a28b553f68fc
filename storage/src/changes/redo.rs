//! Redo of records that change files and pages.
//!
//! Every record may be applied again: a page that already bears a record's end, or a later one, is left
//! alone. All pages of a record are latched before the first changes. A record for a page that is not there
//! is remembered: its relation must be dropped or cut by a later record, and [`Store::check_missing`] holds
//! that once the data is consistent.

use crate::Error;
use crate::changes::records::{self, info};
use crate::changes::store::Store;
use crate::pages::pool::{PageKey, Pin, WritePage};
use smallvec::SmallVec;
use std::sync::atomic::Ordering;
use wal::record::Block;
use wal::smgr::{SmgrRecord, TRUNCATE_MAIN};
use wal::{BlockNumber, Fork, Record, Rmgr, Xid};

/// What is to be done to a latched page.
enum Step<'r> {
    Image,
    Change(&'r [u8]),
}

/// Pages that a record changes, pinned before its redo, by their block references. They are there, and stay
/// so until then.
pub(crate) type Pins<'p> = SmallVec<[(u8, Pin<'p>); 1]>;

/// Where the page is that a record changes.
enum Found<'p> {
    Page(Pin<'p>),
    /// Redo makes it, whatever it was.
    Anew,
    Missing,
}

impl Store {
    /// Redoes a record of SMGR, of the engine, or a page image of XLOG; all others do nothing here. `xid` is
    /// the record's, widened. Called by one thread.
    ///
    /// # Errors
    /// Fails if the record or a page is damaged, or a file cannot be read or changed.
    pub fn redo(&self, record: &Record, xid: Xid) -> Result<(), Error> {
        self.redo_pinned(record, xid, Pins::new())
    }

    /// The same, with pages that are pinned already.
    pub(crate) fn redo_pinned<'s, 'p: 's>(
        &'s self,
        record: &Record,
        xid: Xid,
        pins: Pins<'p>,
    ) -> Result<(), Error> {
        match record.rmgr() {
            Rmgr::SMGR => self.redo_file(record),
            Rmgr::ENGINE => self.redo_pages(record, xid, pins),
            Rmgr::XLOG if record.blocks().len() > 0 => self.redo_pages(record, xid, pins),
            _ => Ok(()),
        }
    }

    fn redo_file(&self, record: &Record) -> Result<(), Error> {
        let parsed = SmgrRecord::parse(record).map_err(|error| damaged(record, error.to_string()))?;
        match parsed {
            SmgrRecord::Create { rel, fork: Fork::Main } => self.0.relations.create(rel).map(|_| ()),
            SmgrRecord::Create { .. } => Ok(()),
            SmgrRecord::Truncate { rel, length, flags } if flags & TRUNCATE_MAIN != 0 => {
                let pages = length.get();
                self.0.missing.lock().retain(|key, _| key.rel != rel || key.block.get() < pages);
                self.0.pool.before_write(record.end())?;
                self.0.pool.forget(rel, pages);
                self.0.relations.truncate(rel, pages)
            }
            SmgrRecord::Truncate { .. } => Ok(()),
        }
    }

    fn redo_pages<'s, 'p: 's>(&'s self, record: &Record, xid: Xid, mut pins: Pins<'p>) -> Result<(), Error> {
        let end = record.end();
        // Whatever must be read is read before the first latch, so that readers never wait for the disk.
        let mut found: SmallVec<[(Block<'_>, Found<'_>); 4]> = SmallVec::new();
        for block in record.blocks().filter(|block| block.fork == Fork::Main) {
            let pinned = pins.iter().position(|(id, _)| *id == block.id);
            let page = match pinned {
                Some(at) => Found::Page(pins.swap_remove(at).1),
                None => self.find_for_redo(&block)?,
            };
            found.push((block, page));
        }
        let mut latched: SmallVec<[(WritePage<'_>, Block<'_>, Step<'_>); 4]> = SmallVec::new();
        for (block, page) in found {
            let Some((page, step)) = self.latch_for_redo(record, &block, page)? else { continue };
            let lsn = page.lsn();
            if lsn < end {
                latched.push((page, block, step));
            } else if lsn > end {
                // It was written when it bore more than is redone yet.
                self.0.newest_met.fetch_max(lsn.get(), Ordering::Relaxed);
            }
        }
        if record.rmgr() == Rmgr::ENGINE
            && info::reshapes(record.rmgr_info())
            && let Some((_, block, _)) = latched.first()
            && let Some(relation) = self.0.relations.get(block.rel)
        {
            relation.reshape();
        }
        if host::planted!("of a split only the first page is redone") && record.rmgr() == Rmgr::ENGINE {
            latched.truncate(1);
        }
        for (page, block, step) in &mut latched {
            match step {
                Step::Image => {
                    let image = block.image.as_ref().ok_or_else(|| damaged(record, "an image is missing"))?;
                    image
                        .restore_into(page.bytes_mut())
                        .map_err(|error| damaged(record, error.to_string()))?;
                    page.clear_sums();
                    page.check_layout().map_err(|fault| damaged(record, format!("page image: {fault}")))?;
                }
                Step::Change(data) => {
                    records::apply(record.rmgr_info(), block.id, page, record.main_data(), data, xid)
                        .map_err(|error| misfit(record, block, &error.to_string()))?;
                }
            }
        }
        for (page, ..) in &mut latched {
            page.changed_by(record.start(), end);
        }
        Ok(())
    }

    /// Pins a page that a record changes, reading it if it must be.
    fn find_for_redo(&self, block: &Block<'_>) -> Result<Found<'_>, Error> {
        if is_made_anew(block) {
            return Ok(Found::Anew);
        }
        if block.block.get() >= self.page_count(block.rel) {
            return Ok(Found::Missing);
        }
        self.0.pool.load_for_redo(PageKey::new(block.rel, block.block)).map(Found::Page)
    }

    /// Latches a page that a record changes; None if it is not there.
    fn latch_for_redo<'s, 'r>(
        &'s self,
        record: &Record,
        block: &Block<'r>,
        found: Found<'s>,
    ) -> Result<Option<(WritePage<'s>, Step<'r>)>, Error> {
        let key = PageKey::new(block.rel, block.block);
        match found {
            Found::Anew => {
                let relation = match self.0.relations.get(block.rel) {
                    Some(relation) => relation,
                    // Dropped by a later record, or its creation is not redone again.
                    None => self.0.relations.create(block.rel)?,
                };
                let page = self.0.pool.create(key, None, true)?.ok_or(Error::PoolExhausted)?;
                relation.extend_to(block.block);
                self.0.missing.lock().remove(&key);
                let step = if has_image(block) { Step::Image } else { Step::Change(block.data) };
                return Ok(Some((page, step)));
            }
            Found::Page(pin) => {
                let page = pin.write();
                if !page.is_new() {
                    return Ok(Some((page, Step::Change(block.data))));
                }
            }
            Found::Missing => {}
        }
        self.0.missing.lock().entry(key).or_insert_with(|| record.start());
        Ok(None)
    }

    /// To be called once redo has reached a consistent state: every page that a record missed has been
    /// dropped since.
    ///
    /// # Errors
    /// Fails if a record changed a page that does not exist and was not dropped later.
    pub fn check_missing(&self) -> Result<(), Error> {
        match self.0.missing.lock().first_key_value() {
            None => Ok(()),
            Some((key, lsn)) => {
                let what = format!("the log at {lsn} changes it, but it does not exist");
                Err(Error::corrupt_page(key.rel, key.block, what))
            }
        }
    }

    /// Asks the kernel for a page that redo will come to; false if it is not there.
    pub(crate) fn will_need(&self, key: PageKey) -> bool {
        let relation = self.0.relations.get(key.rel);
        relation.is_some_and(|relation| relation.will_need(key.block))
    }

    /// How many pages of a relation redo or the log has given it; 0 for none.
    pub fn page_count(&self, rel: wal::RelFile) -> u32 {
        self.0.relations.page_count(rel)
    }
}

fn has_image(block: &Block<'_>) -> bool {
    block.image.as_ref().is_some_and(|image| image.applies())
}

/// Whether redo needs nothing of what the page was.
fn is_made_anew(block: &Block<'_>) -> bool {
    has_image(block) || block.will_init
}

fn damaged(record: &Record, what: impl Into<String>) -> Error {
    Error::corrupt("write-ahead log", Some(record.start()), what)
}

fn misfit(record: &Record, block: &Block<'_>, what: &str) -> Error {
    let place = place_of(block.rel.to_string(), block.block);
    let name = records::name(record.info()).unwrap_or("unknown");
    Error::corrupt(place, Some(record.start()), format!("record {name} does not fit the page: {what}"))
}

fn place_of(rel: String, block: BlockNumber) -> String {
    format!("block {block} of relation {rel}")
}
