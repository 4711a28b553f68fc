//! Relation files: `base/<database>/<relfilenode>[.segment]`, 1 GiB a segment, and how many pages each
//! relation has.
//!
//! The length known here is the one that the log has given the relation; the file may be shorter until its
//! last pages are written. Nothing is durable before [`Relations::sync`].

use super::candidates::Candidates;
use crate::Error;
use crate::pages::counts::TreeCounts;
use crate::pages::page::{PAGE_SIZE, Page};
use crate::pages::pool::KeyHasher;
use host::Mutex;
use host::sync::RwLock;
use host::{FileKind, OpenMode, SharedDisk, SharedFile};
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasherDefault;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use wal::{BlockNumber, Lsn, RelFile};

/// Pages of a segment file (RELSEG_SIZE).
pub const SEGMENT_PAGES: u32 = 131_072;

/// Space is reserved ahead for this share of a relation's pages, within these bounds.
const SPACE_AHEAD_SHARE: u32 = 8;
const SPACE_AHEAD_MIN: u32 = 16;
const SPACE_AHEAD_MAX: u32 = 2048;

#[derive(Debug, Default)]
struct Segment {
    file: Option<SharedFile>,
    /// Written to since the last sync.
    unsynced: bool,
    /// Its name is not yet durable.
    created: bool,
}

/// The files of one relation.
#[derive(Debug)]
pub struct Relation {
    id: RelFile,
    path: PathBuf,
    disk: SharedDisk,
    pages: AtomicU32,
    /// The first pages have their space on disk, so many.
    reserved: AtomicU32,
    dropped: AtomicBool,
    /// The log has dropped it, and its files are there for old snapshots: no record changes it any more.
    closed: AtomicBool,
    /// How often a page was taken out of the tree: whoever came by a page's number before may find another
    /// page there.
    reshaped: AtomicU64,
    /// The first map that may have a free page.
    map_hint: AtomicU32,
    /// The log has cut the relation to so many pages by a record that ends there; the files are still longer.
    cut: Mutex<Option<(u32, Lsn)>>,
    /// Searches for lost pages that are under way, and how many those are.
    searches: Mutex<Vec<Arc<Candidates>>>,
    search_count: AtomicUsize,
    pub(crate) counts: TreeCounts,
    segments: Mutex<Vec<Segment>>,
}

impl Relation {
    /// Which one.
    pub fn id(&self) -> RelFile {
        self.id
    }
    /// Pages that the relation has.
    pub fn page_count(&self) -> u32 {
        self.pages.load(Ordering::Acquire)
    }
    /// Lets the relation reach up to and with `block`.
    pub fn extend_to(&self, block: BlockNumber) {
        self.pages.fetch_max(block.get().saturating_add(1), Ordering::AcqRel);
    }
    /// Whether the disk has promised space for `more` pages behind the last one.
    pub fn has_space(&self, more: u32) -> bool {
        self.reserved.load(Ordering::Acquire) >= self.page_count().saturating_add(more)
    }
    /// Has the disk promise space for `more` pages behind the last one, and some for those who come next: so
    /// a full disk shows before a page is made, and never when a changed page must be written. Does not
    /// change the files' lengths.
    ///
    /// # Errors
    /// Fails if the disk is full or the file cannot be opened.
    pub fn reserve_space(&self, more: u32) -> Result<(), Error> {
        if self.has_space(more) || self.is_dropped() {
            return Ok(());
        }
        let pages = self.page_count();
        let ahead = (pages / SPACE_AHEAD_SHARE).clamp(SPACE_AHEAD_MIN, SPACE_AHEAD_MAX);
        let upto = pages.saturating_add(more).saturating_add(ahead);
        let from = self.reserved.load(Ordering::Acquire);
        let mut block = from;
        while block < upto {
            let end = upto.min((block / SEGMENT_PAGES + 1).saturating_mul(SEGMENT_PAGES));
            let (file, offset) = self.segment(BlockNumber::new(block), true)?;
            match file.reserve(offset, u64::from(end - block) * PAGE_SIZE as u64) {
                Ok(()) => {}
                // The file system makes no such promises: a full disk shows later.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(error) => return Err(Error::io("reserve space in file", &self.path, error)),
            }
            block = end;
        }
        // Unless it was cut meanwhile, which takes the promise back.
        let _ = self.reserved.compare_exchange(from, upto, Ordering::AcqRel, Ordering::Relaxed);
        Ok(())
    }
    /// How often a page was taken out of the tree. A descent during which this has moved may have gone
    /// astray.
    pub fn reshaped(&self) -> u64 {
        self.reshaped.load(Ordering::Acquire)
    }
    /// A page is about to leave the tree. Its latch, and those of all pages that lead to it, are held for
    /// writing.
    pub(crate) fn reshape(&self) {
        self.reshaped.fetch_add(1, Ordering::AcqRel);
    }
    /// No map before this one has a free page. Under the write lock.
    pub(crate) fn map_hint(&self) -> u32 {
        self.map_hint.load(Ordering::Relaxed)
    }
    pub(crate) fn set_map_hint(&self, map: u32) {
        self.map_hint.store(map, Ordering::Relaxed);
    }
    /// Begins a search for pages that nothing leads to, with no page so far.
    pub(crate) fn begin_search(&self) -> Arc<Candidates> {
        let candidates = Arc::new(Candidates::default());
        self.searches.lock().push(Arc::clone(&candidates));
        self.search_count.fetch_add(1, Ordering::AcqRel);
        candidates
    }
    pub(crate) fn end_search(&self, candidates: &Arc<Candidates>) {
        self.search_count.fetch_sub(1, Ordering::AcqRel);
        self.searches.lock().retain(|other| !Arc::ptr_eq(other, candidates));
    }
    /// These pages are taken, freed or made anew: they leave all searches. Under the write lock.
    pub(crate) fn was_not_lost(&self, blocks: &[BlockNumber]) {
        if self.search_count.load(Ordering::Acquire) > 0 {
            self.searches.lock().iter().for_each(|candidates| {
                candidates.remove(blocks);
            });
        }
    }
    /// Cuts the relation to `pages` pages, by a record of the log that ends at `end`: at once for all who use
    /// it, its files by [`Relation::finish_cut`]. The pool has forgotten the pages behind.
    pub(crate) fn begin_cut(&self, pages: u32, end: Lsn) {
        let mut cut = self.cut.lock();
        *cut = Some((cut.map_or(pages, |(earlier, _)| earlier.min(pages)), end));
        self.pages.store(pages, Ordering::Release);
    }
    /// Where the record ends by which the files are to be cut; None if they are not.
    pub(crate) fn pending_cut(&self) -> Option<Lsn> {
        self.cut.lock().map(|(_, end)| end)
    }
    /// Cuts the files if the record ends at or before `flushed`: another cut may have joined it meanwhile.
    pub(crate) fn finish_cut_before(&self, flushed: Lsn) -> Result<(), Error> {
        let mut cut = self.cut.lock();
        if let Some((pages, end)) = *cut
            && end <= flushed
        {
            self.cut_files(pages)?;
            *cut = None;
        }
        Ok(())
    }

    fn cut_files(&self, pages: u32) -> Result<(), Error> {
        let last = (pages / SEGMENT_PAGES) as usize;
        let mut segments = self.segments.lock();
        if self.is_dropped() {
            return Ok(());
        }
        self.reserved.store(0, Ordering::Release);
        for number in last.. {
            let path = self.segment_path(number);
            let keep = if number == last { u64::from(pages % SEGMENT_PAGES) * PAGE_SIZE as u64 } else { 0 };
            let cut = self.disk.open(&path, OpenMode::ReadWrite).and_then(|file| {
                // The file may be shorter than the relation: pages that were never written.
                if file.len()? > keep {
                    file.truncate(keep)?;
                }
                Ok(file)
            });
            match cut {
                Ok(file) => {
                    if segments.len() <= number {
                        segments.resize_with(number + 1, Segment::default);
                    }
                    // `created` stays: a name that was new before the cut is no more durable after it.
                    let segment = &mut segments[number];
                    segment.file = Some(file);
                    segment.unsynced = true;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(Error::io("truncate file", &path, error)),
            }
        }
        Ok(())
    }

    /// The log says from here on that the relation is gone: redo of a change behind that would make its files
    /// anew, or miss them. Under the write lock.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
    /// Whether the log says that it is gone. Some snapshots may read it still.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
    /// Whether its files are gone.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    fn segment_path(&self, segment: usize) -> PathBuf {
        if segment == 0 {
            return self.path.clone();
        }
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{segment}"));
        PathBuf::from(name)
    }

    /// Runs `work` on the segment that holds `block`, opened, and with `create` created.
    fn with_segment<T>(
        &self,
        block: BlockNumber,
        create: bool,
        work: impl FnOnce(&mut Segment, &SharedFile) -> T,
    ) -> Result<T, Error> {
        let number = (block.get() / SEGMENT_PAGES) as usize;
        let mut segments = self.segments.lock();
        if segments.len() <= number {
            segments.resize_with(number + 1, Segment::default);
        }
        let segment = &mut segments[number];
        let file = match &segment.file {
            Some(file) => file.clone(),
            // Looked at under the lock: else a file would be made again behind the back of who removes them.
            None if self.is_dropped() => return Err(Error::NoSuchTree(self.id)),
            None => {
                let path = self.segment_path(number);
                let file = match self.disk.open(&path, OpenMode::ReadWrite) {
                    Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                        segment.created = true;
                        self.disk.open(&path, OpenMode::Create)
                    }
                    other => other,
                };
                let file = file.map_err(|error| Error::io("open file", &path, error))?;
                segment.file = Some(file.clone());
                file
            }
        };
        Ok(work(segment, &file))
    }

    fn segment(&self, block: BlockNumber, create: bool) -> Result<(SharedFile, u64), Error> {
        let offset = u64::from(block.get() % SEGMENT_PAGES) * PAGE_SIZE as u64;
        Ok((self.with_segment(block, create, |_, file| file.clone())?, offset))
    }

    /// Asks the kernel to have a page at hand; false if the relation has none such.
    pub(crate) fn will_need(&self, block: BlockNumber) -> bool {
        if block.get() >= self.page_count() {
            return false;
        }
        // Whoever reads the page finds out what is wrong with it.
        if let Ok((file, offset)) = self.segment(block, false) {
            file.will_need(offset, PAGE_SIZE as u64);
        }
        true
    }

    /// Reads a page as it is on disk. False if the file ends before it.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub fn read(&self, block: BlockNumber, page: &mut Page) -> Result<bool, Error> {
        let (file, offset) = match self.segment(block, false) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        match file.read_exact_at(page.bytes_mut(), offset) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(Error::io("read file", &self.path, error)),
        }
    }

    /// Writes sealed pages, the first as `block` and the others behind it, all of one segment file. Does
    /// nothing on a dropped relation.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn write(&self, block: BlockNumber, pages: &[[u8; PAGE_SIZE]]) -> Result<(), Error> {
        if self.is_dropped() {
            return Ok(());
        }
        // A page that lies behind a cut came after it, so the log is flushed past the cut by now.
        let end = u64::from(block.get()) + pages.len() as u64;
        if self.cut.lock().is_some_and(|(left, _)| end > u64::from(left)) {
            self.finish_cut_before(Lsn::MAX)?;
        }
        let written = self.write_sealed(block, pages);
        // Whoever dropped it meanwhile needs no page of it.
        if self.is_dropped() { Ok(()) } else { written }
    }

    fn write_sealed(&self, block: BlockNumber, pages: &[[u8; PAGE_SIZE]]) -> Result<(), Error> {
        let (file, offset) = self.segment(block, true)?;
        let written = file.write_all_at(pages.as_flattened(), offset);
        // Only now: a sync that began before must not count as having covered this write.
        self.with_segment(block, false, |segment, _| segment.unsynced = true)?;
        written.map_err(|error| Error::io("write file", &self.path, error))
    }

    /// Syncs what was written; returns whether the folder has new names.
    ///
    /// # Errors
    /// Fails if a file or a folder cannot be synced.
    fn sync(&self) -> Result<bool, Error> {
        let (mut files, mut created) = (Vec::new(), false);
        for segment in self.segments.lock().iter_mut() {
            created |= std::mem::take(&mut segment.created);
            if std::mem::take(&mut segment.unsynced) {
                files.extend(segment.file.clone());
            }
        }
        if self.is_dropped() {
            return Ok(false);
        }
        for file in files.into_iter().filter(|_| !host::planted!("a checkpoint does not sync page files")) {
            file.sync().map_err(|error| Error::io("fsync file", &self.path, error))?;
        }
        Ok(created)
    }
}

/// All relations of the data directory.
#[derive(Debug)]
pub struct Relations {
    disk: SharedDisk,
    base: PathBuf,
    open: RwLock<HashMap<RelFile, Arc<Relation>, BuildHasherDefault<KeyHasher>>>,
    /// Database folders in which names came or went since the last sync.
    unsynced_folders: Mutex<BTreeSet<u32>>,
}

impl Relations {
    /// Finds the relations below `base/` of the data directory `dir`.
    ///
    /// # Errors
    /// Fails if a folder cannot be read.
    pub fn open(disk: SharedDisk, dir: &Path) -> Result<Self, Error> {
        let base = dir.join("base");
        let relations =
            Self { disk, base, open: RwLock::default(), unsynced_folders: Mutex::new(BTreeSet::new()) };
        relations.scan()?;
        Ok(relations)
    }

    fn scan(&self) -> Result<(), Error> {
        let list =
            |path: &Path| self.disk.list(path).map_err(|error| Error::io("read directory", path, error));
        for folder in list(&self.base)? {
            let Some(database) = parse_number(&folder.name).filter(|_| folder.kind == FileKind::Directory)
            else {
                continue;
            };
            for entry in list(&self.base.join(&folder.name))? {
                let (name, segment) = entry.name.split_once('.').unwrap_or((&entry.name, "0"));
                let (Some(number), Some(segment)) = (parse_number(name), segment.parse::<u32>().ok()) else {
                    continue;
                };
                let path = self.base.join(&folder.name).join(&entry.name);
                let found =
                    self.disk.metadata(&path).map_err(|error| Error::io("stat file", &path, error))?;
                let pages = u32::try_from(found.len / PAGE_SIZE as u64).unwrap_or(u32::MAX);
                if pages == 0 && segment > 0 {
                    // What a cut leaves.
                    continue;
                }
                let pages = segment.saturating_mul(SEGMENT_PAGES).saturating_add(pages);
                self.entry(RelFile::new(database, number)).pages.fetch_max(pages, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    fn path_of(&self, id: RelFile) -> PathBuf {
        self.base.join(id.database.to_string()).join(id.relation.to_string())
    }

    fn entry(&self, id: RelFile) -> Arc<Relation> {
        let fresh = || {
            Arc::new(Relation {
                id,
                path: self.path_of(id),
                disk: self.disk.clone(),
                pages: AtomicU32::new(0),
                reserved: AtomicU32::new(0),
                dropped: AtomicBool::new(false),
                closed: AtomicBool::new(false),
                reshaped: AtomicU64::new(0),
                map_hint: AtomicU32::new(0),
                cut: Mutex::new(None),
                searches: Mutex::default(),
                search_count: AtomicUsize::new(0),
                counts: TreeCounts::default(),
                segments: Mutex::default(),
            })
        };
        self.open.write().entry(id).or_insert_with(fresh).clone()
    }

    /// A relation that exists.
    pub fn get(&self, id: RelFile) -> Option<Arc<Relation>> {
        self.open.read().get(&id).cloned()
    }

    /// How many pages a relation has; 0 if it does not exist.
    pub fn page_count(&self, id: RelFile) -> u32 {
        self.open.read().get(&id).map_or(0, |relation| relation.page_count())
    }

    /// All relations that exist.
    pub fn all(&self) -> Vec<Arc<Relation>> {
        self.open.read().values().cloned().collect()
    }

    /// Creates the relation's first file, and its database's folder if that is missing. An existing one
    /// stays.
    ///
    /// # Errors
    /// Fails if the file cannot be created.
    pub fn create(&self, id: RelFile) -> Result<Arc<Relation>, Error> {
        let relation = self.entry(id);
        let opened = match relation.segment(BlockNumber::new(0), true) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let folder = self.base.join(id.database.to_string());
                self.disk
                    .create_dir_all(&folder)
                    .map_err(|error| Error::io("create directory", &folder, error))?;
                self.disk
                    .sync_dir(&self.base)
                    .map_err(|error| Error::io("fsync directory", &self.base, error))?;
                relation.segment(BlockNumber::new(0), true)
            }
            other => other,
        };
        if let Err(error) = opened {
            self.open.write().remove(&id);
            return Err(error);
        }
        self.unsynced_folders.lock().insert(id.database);
        Ok(relation)
    }

    /// Forgets the relation and removes its files; none is no error.
    ///
    /// # Errors
    /// Fails if a file cannot be removed.
    pub fn remove(&self, id: RelFile) -> Result<(), Error> {
        let relation = self.entry(id);
        relation.dropped.store(true, Ordering::Release);
        self.open.write().remove(&id);
        self.unsynced_folders.lock().insert(id.database);
        let opened = std::mem::take(&mut *relation.segments.lock()).len();
        let mut count = opened.max(relation.page_count().div_ceil(SEGMENT_PAGES) as usize).max(1);
        let exists = |number| {
            let path = relation.segment_path(number);
            self.disk.exists(&path).map_err(|error| Error::io("stat file", &path, error))
        };
        while exists(count)? {
            count += 1;
        }
        // The first one last: as long as it is there, whoever comes after a crash finds the relation.
        for number in (0..count).rev() {
            let path = relation.segment_path(number);
            match self.disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove file", &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Cuts the relation to `pages` pages, its files too.
    ///
    /// # Errors
    /// Fails if a file cannot be cut.
    pub fn truncate(&self, id: RelFile, pages: u32) -> Result<(), Error> {
        let Some(relation) = self.get(id) else { return Ok(()) };
        relation.begin_cut(pages, Lsn::INVALID);
        relation.finish_cut_before(Lsn::MAX)
    }

    /// Makes all writes, creations and removals so far durable. After a failure nothing is known of what was
    /// written: the caller must stop and never call again. `goes_on` is asked before each relation.
    ///
    /// # Errors
    /// Fails if a file or a folder cannot be synced, or `goes_on` fails.
    pub fn sync(&self, goes_on: &dyn Fn() -> Result<(), Error>) -> Result<(), Error> {
        let mut folders = std::mem::take(&mut *self.unsynced_folders.lock());
        for relation in self.all() {
            goes_on()?;
            if relation.sync()? {
                folders.insert(relation.id.database);
            }
        }
        for database in folders {
            if host::planted!("a checkpoint does not sync the names of new files") {
                continue;
            }
            let folder = self.base.join(database.to_string());
            self.disk.sync_dir(&folder).map_err(|error| Error::io("fsync directory", &folder, error))?;
        }
        Ok(())
    }
}

/// A file or folder name that is a number written plainly.
fn parse_number(name: &str) -> Option<u32> {
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    if plain { name.parse().ok().filter(|number: &u32| *number != 0) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::Disk;
    use simulation::{Call, CrashPolicy, Fault, FaultKind, VirtualDisk};

    #[test]
    fn whoever_still_writes_a_page_of_a_dropped_relation_makes_no_file_of_it_again() {
        let disk = VirtualDisk::new();
        disk.create_dir_all(Path::new("/data/base")).unwrap();
        let relations = Relations::open(Arc::new(disk.clone()), Path::new("/data")).unwrap();
        let relation = relations.create(RelFile::new(5, 16384)).unwrap();
        relations.remove(relation.id()).unwrap();
        let page = [[0; PAGE_SIZE]];
        // As one does who looked whether it is dropped before it was.
        assert!(matches!(relation.write_sealed(BlockNumber::new(0), &page), Err(Error::NoSuchTree(_))));
        assert!(!disk.exists(Path::new("/data/base/5/16384")).unwrap());
        relation.write(BlockNumber::new(0), &page).unwrap();
    }

    #[test]
    fn the_name_of_a_new_segment_file_outlives_a_power_cut_though_its_relation_was_cut_meanwhile() {
        for cut_to in [SEGMENT_PAGES + 1, SEGMENT_PAGES, 1] {
            let (disk, id) = (VirtualDisk::new(), RelFile::new(5, 16384));
            disk.create_dir_all(Path::new("/data/base/5")).unwrap();
            for folder in ["/", "/data", "/data/base"] {
                disk.sync_dir(Path::new(folder)).unwrap();
            }
            let relations = Relations::open(Arc::new(disk.clone()), Path::new("/data")).unwrap();
            let relation = relations.create(id).unwrap();
            relations.sync(&|| Ok(())).unwrap();
            let write = |byte: u8| {
                relation.extend_to(BlockNumber::new(SEGMENT_PAGES));
                relation.write(BlockNumber::new(SEGMENT_PAGES), &[[byte; PAGE_SIZE]]).unwrap();
            };
            write(1);
            relations.truncate(id, cut_to).unwrap();
            write(2);
            relations.sync(&|| Ok(())).unwrap();
            let left = disk.crash(CrashPolicy::LoseUnsynced).read(Path::new("/data/base/5/16384.1"), 1 << 20);
            assert!(left.is_ok_and(|left| left == [2; PAGE_SIZE]), "cut to {cut_to}");
        }
    }

    #[test]
    fn a_removal_that_broke_off_is_finished_by_the_next_one() {
        for fails_at in 1..=3 {
            let disk = VirtualDisk::new();
            disk.create_dir_all(Path::new("/data/base/5")).unwrap();
            for name in ["16384", "16384.1", "16384.2", "16385", "163840"] {
                disk.open(&Path::new("/data/base/5").join(name), OpenMode::Create).unwrap();
            }
            let open = || Relations::open(Arc::new(disk.clone()), Path::new("/data")).unwrap();
            disk.inject(Fault::once(Call::RemoveFile, "16384", fails_at, FaultKind::Io));
            open().remove(RelFile::new(5, 16384)).unwrap_err();
            // Redo comes by the same record again, in another process.
            open().remove(RelFile::new(5, 16384)).unwrap();
            let mut left: Vec<String> =
                disk.list(Path::new("/data/base/5")).unwrap().into_iter().map(|entry| entry.name).collect();
            left.sort();
            assert_eq!(left, ["163840", "16385"], "after a failure of removal {fails_at}");
        }
    }
}
