//! Pages of the target as they were at each record of its log: redone beside its files, which stay as they
//! are.
//!
//! A page comes from its image or its making in the log, and only where the log has neither, from the source
//! if that has it as it was at the fork ([`crate::untouched`]), or else from the file.
//! That one may be newer than the record ([`Applied::Ahead`]), as in recovery. Where a rewind that was broken
//! off may have overwritten it, the file may have another branch's page, and is not read: the log is, from
//! where that rewind overwrote what it names. Of the catalogue, whose pages are asked for before the log
//! comes to them, the first image in the log stands in for the file's page. Pages in memory are bounded;
//! those beyond lie in a file of the node's own folder, which goes with this.

use crate::error::{RewindError, io_error};
use crate::plan::{PAGE, place_of};
use crate::target::{Divergence, Target};
use host::{OpenMode, SharedFile};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use storage::page::leaf::{self, CHAIN, DELETED, LARGE};
use storage::page::{FIRST, Page};
use storage::records;
use storage::relation::SEGMENT_PAGES;
use wal::{BlockNumber, Lsn, Record, RelFile, Rmgr, Xid};

/// Pages in memory.
const PAGES_MAX: usize = 8192;
/// Where pages lie that memory has no room for.
pub(crate) const SPILL_FILE: &str = "plimsoll/rewind.pages";

type Key = (RelFile, u32);

/// How a page stands to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It is as the record left it.
    Exactly,
    /// It bears later changes, too.
    Ahead,
    /// There is none.
    Missing,
}

/// Rows of one tree: key and value.
pub type TreeRows = Vec<(Vec<u8>, Vec<u8>)>;

/// A value as a page has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// There is no such row.
    None,
    /// The row's bytes.
    Row(Vec<u8>),
    /// Nothing tells any more.
    Unknown,
}

/// Pages of the past.
pub(crate) struct Past<'t> {
    target: &'t Target,
    divergence: &'t Divergence,
    /// The first image in the log of pages that were overwritten.
    first: HashMap<Key, Box<Page>>,
    pages: HashMap<Key, Box<Page>>,
    spilled: HashMap<Key, u64>,
    spill: Option<SharedFile>,
    files: BTreeMap<PathBuf, Option<SharedFile>>,
}

impl<'t> Past<'t> {
    pub(crate) fn new(target: &'t Target, divergence: &'t Divergence) -> Self {
        let (first, pages, spilled) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { target, divergence, first, pages, spilled, spill: None, files: BTreeMap::new() }
    }

    /// Notes a record's images of relations that `wants` takes, to stand in for pages that a rewind which was
    /// broken off has overwritten.
    pub(crate) fn note_images(
        &mut self,
        record: &Record,
        wants: &dyn Fn(RelFile) -> bool,
    ) -> Result<(), RewindError> {
        if !matches!(record.rmgr(), Rmgr::ENGINE | Rmgr::XLOG) {
            return Ok(());
        }
        for block in record.blocks().filter(|block| block.fork == wal::Fork::Main && wants(block.rel)) {
            let key = (block.rel, block.block.get());
            let Some(image) = block.image.as_ref().filter(|image| image.applies()) else { continue };
            if self.first.contains_key(&key) {
                continue;
            }
            let mut page = Page::boxed();
            let restored = image.restore_into(page.bytes_mut());
            restored.map_err(|error| RewindError::Answer(error.to_string()))?;
            page.clear_sums();
            page.set_lsn(record.end());
            self.first.insert(key, page);
        }
        Ok(())
    }

    /// Redoes a record on the pages of relations that `wants` takes; gives how its first block stands to it.
    pub(crate) fn redo(
        &mut self,
        record: &Record,
        xid: Xid,
        wants: &dyn Fn(RelFile) -> bool,
    ) -> Result<Applied, RewindError> {
        let mut first = Applied::Missing;
        if !matches!(record.rmgr(), Rmgr::ENGINE | Rmgr::XLOG) {
            return Ok(first);
        }
        for block in record.blocks().filter(|block| block.fork == wal::Fork::Main && wants(block.rel)) {
            let key = (block.rel, block.block.get());
            let image = block.image.as_ref().filter(|image| image.applies());
            let mut page = match (image.is_some() || block.will_init, self.take(key)?) {
                (true, _) => Page::boxed(),
                (false, Some(page)) => page,
                (false, None) => continue,
            };
            let mut stands = Applied::Exactly;
            if let Some(image) = image {
                let restored = image.restore_into(page.bytes_mut());
                restored.map_err(|error| RewindError::Answer(error.to_string()))?;
                page.clear_sums();
                page.set_lsn(record.end());
            } else if page.lsn() >= record.end() && !block.will_init {
                stands = if page.lsn() == record.end() { Applied::Exactly } else { Applied::Ahead };
            } else {
                let (info, main) = (record.rmgr_info(), record.main_data());
                // A page that does not fit is none of this log's: what it held is not told.
                if records::apply(info, block.id, &mut page, main, block.data, xid).is_err() {
                    continue;
                }
                page.set_lsn(record.end());
            }
            if block.id == 0 {
                first = stands;
            }
            self.put(key, page)?;
        }
        Ok(first)
    }

    fn put(&mut self, key: Key, page: Box<Page>) -> Result<(), RewindError> {
        self.pages.insert(key, page);
        if self.pages.len() <= PAGES_MAX {
            return Ok(());
        }
        let path = self.target.path(SPILL_FILE);
        let file = match &self.spill {
            Some(file) => file.clone(),
            None => {
                let file = self.target.disk.open(&path, OpenMode::Create).map_err(io_error(&path))?;
                self.spill.insert(file).clone()
            }
        };
        for (key, page) in self.pages.drain() {
            let next = self.spilled.len() as u64;
            let slot = *self.spilled.entry(key).or_insert(next);
            file.write_all_at(page.bytes(), slot * PAGE).map_err(io_error(&path))?;
        }
        Ok(())
    }

    fn take(&mut self, key: Key) -> Result<Option<Box<Page>>, RewindError> {
        match self.pages.remove(&key) {
            Some(page) => Ok(Some(page)),
            None => self.fetch(key),
        }
    }

    /// The page, as far as it is known.
    pub(crate) fn page(&mut self, rel: RelFile, block: BlockNumber) -> Result<Option<&Page>, RewindError> {
        let key = (rel, block.get());
        if !self.pages.contains_key(&key) {
            match self.fetch(key)? {
                Some(page) => self.put(key, page)?,
                None => return Ok(None),
            }
        }
        // It was put aside at once if it was one too many.
        if !self.pages.contains_key(&key)
            && let Some(page) = self.fetch(key)?
        {
            self.pages.insert(key, page);
        }
        Ok(self.pages.get(&key).map(|page| &**page))
    }

    /// A page that is not in memory.
    fn fetch(&mut self, key: Key) -> Result<Option<Box<Page>>, RewindError> {
        let mut page = Page::boxed();
        if let (Some(slot), Some(file)) = (self.spilled.get(&key), &self.spill) {
            let path = self.target.path(SPILL_FILE);
            file.read_exact_at(page.bytes_mut(), slot * PAGE).map_err(io_error(&path))?;
            return Ok(Some(page));
        }
        if let Some(page) = self.divergence.untouched.page(key)? {
            return Ok(Some(page));
        }
        let (rel, block) = key;
        let (name, offset) = place_of(rel, block);
        if self.is_overwritten(key, &name) {
            return Ok(self.first.get(&key).map(|page| copy_of(page)));
        }
        let path = self.target.path(&name);
        let disk = &self.target.disk;
        let file = self.files.entry(path.clone()).or_insert_with(|| disk.open(&path, OpenMode::Read).ok());
        let Some(file) = file else { return Ok(None) };
        if file.read_exact_at(page.bytes_mut(), offset).is_err() {
            return Ok(None);
        }
        // A page that a crash has torn tells nothing.
        let sound = page.unseal(BlockNumber::new(block), self.target.control.data_checksums).is_ok();
        Ok(Some(page).filter(|page| sound && !page.is_new()))
    }

    /// Whether the file of this name may have another branch's page.
    fn is_overwritten(&self, (rel, block): Key, name: &str) -> bool {
        let Some(touched) = &self.divergence.overwritten else { return false };
        let is_new = touched.get(name).is_some_and(|from| block % SEGMENT_PAGES >= *from);
        is_new || self.divergence.blocks.contains(rel, BlockNumber::new(block))
    }

    /// What an item of a leaf holds that is as at a position of the log. A page that is newer may have become
    /// another value's.
    pub(crate) fn version(&mut self, rel: RelFile, item: &[u8], at: Lsn) -> Result<Version, RewindError> {
        let (flags, value) = (leaf::item_head(item).flags, leaf::item_value(item));
        if flags & CHAIN != 0 {
            // The newest of those that moved.
            let Some(page) = self.page(rel, leaf::chain_start(value))? else { return Ok(Version::Unknown) };
            let moved = (0..page.item_count()).map(|at| page.item(at).to_vec()).next();
            return match moved {
                Some(moved) if leaf::item_head(&moved).flags & CHAIN == 0 => self.version(rel, &moved, at),
                _ => Ok(Version::Unknown),
            };
        }
        if flags & DELETED != 0 {
            return Ok(Version::None);
        }
        if flags & LARGE == 0 {
            return Ok(Version::Row(value.to_vec()));
        }
        let length = leaf::large_len(value) as usize;
        let (mut next, mut bytes) = (leaf::chain_start(value), Vec::new());
        while bytes.len() < length {
            let page = self.page(rel, next)?.filter(|page| page.lsn() <= at);
            let Some(page) = page else { return Ok(Version::Unknown) };
            let piece = if page.item_count() == 1 { page.item(0) } else { &[] };
            if piece.is_empty() {
                return Ok(Version::Unknown);
            }
            bytes.extend_from_slice(piece);
            next = page.right();
        }
        Ok(if bytes.len() == length { Version::Row(bytes) } else { Version::Unknown })
    }

    /// All rows of each of these trees.
    pub(crate) fn rows_of(
        &mut self,
        trees: &[RelFile],
        is_seen: &dyn Fn(Xid) -> bool,
    ) -> Result<Vec<TreeRows>, RewindError> {
        trees.iter().map(|tree| self.rows(*tree, is_seen)).collect()
    }

    /// All rows of a tree: of each key the newest version that `is_seen`, in the order of keys.
    fn rows(&mut self, rel: RelFile, is_seen: &dyn Fn(Xid) -> bool) -> Result<TreeRows, RewindError> {
        let mut block = records::ROOT;
        loop {
            let Some(page) = self.page(rel, block)? else { return Ok(Vec::new()) };
            if page.level() == 0 {
                break;
            }
            block = page.child(FIRST);
        }
        let (mut rows, mut last): (Vec<_>, Option<Vec<u8>>) = (Vec::new(), None);
        while block.is_valid() {
            let Some(page) = self.page(rel, block)? else { break };
            let items: Vec<Vec<u8>> = page.items().skip(FIRST).map(<[u8]>::to_vec).collect();
            block = page.right();
            for item in items {
                let head = leaf::item_head(&item);
                let key = leaf::item_key(&item).to_vec();
                if last.as_ref() == Some(&key) || head.flags & CHAIN == 0 && !is_seen(head.xid) {
                    continue;
                }
                last = Some(key.clone());
                if let Version::Row(value) = self.version(rel, &item, Lsn::MAX)? {
                    rows.push((key, value));
                }
            }
        }
        Ok(rows)
    }
}

fn copy_of(page: &Page) -> Box<Page> {
    let mut copy = Page::boxed();
    copy.bytes_mut().copy_from_slice(page.bytes());
    copy
}

impl Drop for Past<'_> {
    fn drop(&mut self) {
        if self.spill.take().is_some() {
            // What is left of it goes with the node's own files.
            let _ = self.target.disk.remove_file(&self.target.path(SPILL_FILE));
        }
    }
}
