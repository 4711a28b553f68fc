//! The right to change pages: one change is made, logged, and stamped on its pages here.

use crate::changes::records::{self, info};
use crate::changes::store::{Fault, Log, Logged, Store};
use crate::lock_order::Ranked;
use crate::pages::pool::{PageKey, Pin, Pool, WritePage};
use crate::pages::relation::Relation;
use crate::{Error, TreeId};
use host::MutexGuard;
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wal::smgr::SmgrRecord;
use wal::{BlockNumber, BlockRef, EncodedRecord, Fork, PageImage, RecordBuilder, Rmgr, Xid};

/// Memory that changes use again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    record: EncodedRecord,
    pub(crate) main: Vec<u8>,
}

/// A version to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewVersion<'a> {
    /// The command of the transaction that wrote it.
    pub cid: u32,
    /// The row's bytes; None for a deletion.
    pub value: Option<&'a [u8]>,
}

/// The right to change pages, of which there is one: the commit lock. Never held across an await.
pub struct Writer<'a> {
    pub(crate) store: &'a Store,
    pub(crate) scratch: Ranked<MutexGuard<'a, Scratch>>,
    log: Option<Arc<dyn Log>>,
    pub(crate) xid: Xid,
    is_early: bool,
    pub(crate) horizon: Xid,
    pub(crate) io: bool,
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("xid", &self.xid)
            .field("horizon", &self.horizon)
            .finish_non_exhaustive()
    }
}

/// One page of a change.
pub(crate) struct Target<'t, 'p> {
    pub(crate) id: u8,
    pub(crate) block: BlockNumber,
    /// Made anew.
    pub(crate) init: bool,
    pub(crate) data: &'t [u8],
    pub(crate) page: &'t mut WritePage<'p>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(store: &'a Store, scratch: Ranked<MutexGuard<'a, Scratch>>) -> Self {
        let log = store.0.log.read().clone();
        Self { store, scratch, log, xid: Xid::INVALID, is_early: false, horizon: Xid::INVALID, io: false }
    }
    /// The store.
    pub fn store(&self) -> &'a Store {
        self.store
    }
    /// The transaction whose versions follow: it commits with them.
    pub fn set_xid(&mut self, xid: Xid) {
        (self.xid, self.is_early) = (xid, false);
    }
    /// The early xid whose versions follow, however long ago it was given out.
    pub(crate) fn set_early_xid(&mut self, xid: Xid) {
        (self.xid, self.is_early) = (xid, true);
    }
    /// What records of versions say of an early xid besides its low half.
    pub(crate) fn early_epoch(&self) -> Option<u32> {
        self.is_early.then(|| self.xid.epoch())
    }
    /// Every snapshot, here and on standbys, sees all xids below this one: versions under such a one are
    /// dead.
    pub fn set_horizon(&mut self, horizon: Xid) {
        self.horizon = horizon;
    }
    /// Allows this writer to read and write pages under the lock: for a transaction too large to be prepared,
    /// and once the first record of a transaction is out, since it then must come to its end.
    pub fn allow_io(&mut self, allowed: bool) {
        self.io = allowed;
    }

    pub(crate) fn pool(&self) -> &'a Arc<Pool> {
        &self.store.0.pool
    }

    /// Pins a page; one that is not in the pool is a miss, or is loaded if I/O is allowed.
    pub(crate) fn pin(&self, relation: &Relation, block: BlockNumber) -> Result<Pin<'a>, Fault> {
        let key = PageKey::new(relation.id(), block);
        match self.pool().pin(key) {
            Some(pin) => Ok(pin),
            None if self.io => Ok(self.pool().load(key, true)?),
            None if block.get() >= relation.page_count() => Err(beyond_the_end(relation, block)),
            None => Err(Fault::Miss(key)),
        }
    }

    fn log(&self) -> Result<&Arc<dyn Log>, Error> {
        match &self.log {
            Some(log) => Ok(log),
            None => Err(Error::ReadOnly),
        }
    }

    /// Appends a record that changes no pages.
    ///
    /// # Errors
    /// Fails if there is no log, or it takes no more records.
    pub fn insert_record(&mut self, record: &mut EncodedRecord) -> Result<Logged, Error> {
        self.log()?.insert(record)
    }

    /// Makes and logs one change: `main` is the record's main data, `targets` its pages by rising id, all
    /// latched.
    ///
    /// Nothing has happened after an error: a record without page images goes to the log before the pages
    /// change, and where an image must show the changed page, the old bytes are put back if the log refuses
    /// the record. A relation that the log has dropped takes none.
    pub(crate) fn change(
        &mut self,
        info: u8,
        relation: &Relation,
        main: &[u8],
        targets: &mut [Target<'_, 'a>],
    ) -> Result<(), Error> {
        self.pool().check_poison()?;
        check_changeable(relation)?;
        let log = Arc::clone(self.log()?);
        let redo = log.redo_point();
        let images = self.store.0.full_page_writes.load(Ordering::Acquire);
        let needs_image = |target: &Target<'_, '_>| images && !target.init && target.page.lsn() <= redo;
        let imaged: SmallVec<[bool; 4]> = targets.iter().map(needs_image).collect();
        // Only versions belong to a transaction: a page stays split whatever becomes of the one that it was
        // split for.
        let xid = if matches!(info, info::INSERT | info::INSERT_MANY) { self.xid } else { Xid::INVALID };

        let mut before: SmallVec<[Box<crate::pages::page::Page>; 4]> = SmallVec::new();
        if imaged.contains(&true) {
            before = targets.iter().map(|target| Box::new((**target.page).clone())).collect();
            if let Err(error) = apply_all(info, main, xid, targets) {
                put_back(targets, &before);
                return Err(error);
            }
        }
        let mut builder = RecordBuilder::new(Rmgr::ENGINE, info, xid.low());
        if imaged.contains(&true) {
            builder = builder.compression(self.store.image_compression());
        }
        for (target, imaged) in targets.iter().zip(&imaged) {
            let image = imaged.then(|| PageImage { page: target.page.bytes(), standard: true, apply: true });
            builder = builder.block(BlockRef {
                id: target.id,
                rel: relation.id(),
                fork: Fork::Main,
                block: target.block,
                will_init: target.init,
                image,
                data: if *imaged { &[] } else { target.data },
            });
        }
        let record = &mut self.scratch.record;
        let inserted = builder
            .main_data(main)
            .encode_into(record)
            .map_err(|error| Error::Log(error.to_string().into()))
            .and_then(|()| log.insert(record));
        let place = match inserted {
            Ok(place) => place,
            Err(error) => {
                put_back(targets, &before);
                return Err(error);
            }
        };
        if before.is_empty()
            && let Err(error) = apply_all(info, main, xid, targets)
        {
            // The log says what the page could not take: they part here, so nothing may reach the disk.
            self.pool().poison(error.clone());
            return Err(error);
        }
        for target in targets {
            target.page.changed_by(place.start, place.end);
            relation.extend_to(target.block);
        }
        Ok(())
    }

    /// Creates an empty tree: logs SMGR_CREATE and its first two pages.
    ///
    /// # Errors
    /// Fails if the files cannot be created, frames are short, or the log takes no record.
    pub fn create_tree(&mut self, tree: TreeId) -> Result<(), Fault> {
        let relation = self.store.0.relations.create(tree.file())?;
        relation.reserve_space(2)?;
        self.log_creation(&relation)?;
        let mut meta = self.new_page(&relation, records::META)?;
        let mut root = self.new_page(&relation, records::ROOT)?;
        let targets = &mut [
            Target { id: 0, block: records::META, init: true, data: &[], page: &mut meta },
            Target { id: 1, block: records::ROOT, init: true, data: &[], page: &mut root },
        ];
        Ok(self.change(info::TREE_INIT, &relation, &[], targets)?)
    }

    pub(crate) fn log_creation(&mut self, relation: &Relation) -> Result<(), Error> {
        let mut record = SmgrRecord::Create { rel: relation.id(), fork: Fork::Main }
            .encode(0)
            .map_err(|error| Error::Log(error.to_string().into()))?;
        self.insert_record(&mut record).map(|_| ())
    }

    /// A latched frame for a page about to be made anew, without one set aside.
    pub(crate) fn new_page(&self, relation: &Relation, block: BlockNumber) -> Result<WritePage<'a>, Fault> {
        let key = PageKey::new(relation.id(), block);
        self.pool().create(key, None, self.io)?.ok_or(Fault::NeedFrames)
    }
}

/// Nothing may be logged of a relation behind the record that drops it, though snapshots may read it still.
pub(crate) fn check_changeable(relation: &Relation) -> Result<(), Error> {
    if relation.is_closed() { Err(Error::NoSuchTree(relation.id())) } else { Ok(()) }
}

/// A link leads to a page that the relation does not have.
#[cold]
pub(crate) fn beyond_the_end(relation: &Relation, block: BlockNumber) -> Fault {
    let what = format!("a link leads here, but the relation has {} pages", relation.page_count());
    Fault::Failed(Error::corrupt_page(relation.id(), block, what))
}

fn apply_all(info: u8, main: &[u8], xid: Xid, targets: &mut [Target<'_, '_>]) -> Result<(), Error> {
    for target in targets {
        records::apply(info, target.id, target.page, main, target.data, xid).map_err(|error| {
            Error::corrupt(format!("change {info:02X} of block {}", target.block), None, error.to_string())
        })?;
    }
    Ok(())
}

fn put_back(targets: &mut [Target<'_, '_>], before: &[Box<crate::pages::page::Page>]) {
    for (target, before) in targets.iter_mut().zip(before) {
        (**target.page).clone_from(before);
    }
}
