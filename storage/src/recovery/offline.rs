//! A data directory at rest, for tools: read as it is, and left so.

use crate::changes::state_page::STATE_EARLY;
use crate::changes::state_page::STATE_FILE;
use crate::changes::store::{Store, StoreOptions};
use crate::commit::early_list::EarlyList;
use crate::recovery::open::load_control;
use crate::recovery::own_files::LOCK_FILE;
use crate::tree::{Batch, Verified};
use crate::visibility::xid_set::XidSet;
use crate::{Direction, Error, KeyRange, TreeId};
use host::{Host, LockGuard};
use std::io;
use std::path::Path;
use wal::backup_label::BACKUP_LABEL_FILE;
use wal::{BlockNumber, RelFile};

/// Frames of its pool.
const FRAMES: usize = 4096;
/// Rows, and bytes of them, that are read at once.
const ROWS: usize = 1024;
const ROW_BYTES: usize = 1 << 20;

/// The trees of a server that was stopped cleanly. As long as it lives no server starts there.
pub struct Offline {
    store: Store,
    /// xids whose versions nobody sees.
    unseen: XidSet,
    _lock: Option<Box<dyn LockGuard>>,
}

impl std::fmt::Debug for Offline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offline").finish_non_exhaustive()
    }
}

impl Offline {
    /// Opens a directory. [`Error::Unusable`] if a server runs there, or it was not stopped cleanly: then its
    /// log has to be redone first.
    ///
    /// # Errors
    /// Fails if a server runs there, it was not stopped cleanly, or it is no database of this format.
    pub fn open(host: &Host, dir: &Path) -> Result<Self, Error> {
        let control = load_control(host, dir)?;
        let lock = lock(host, dir)?;
        let label = dir.join(BACKUP_LABEL_FILE);
        let is_backup = host.disk.exists(&label).map_err(|error| Error::io("access file", &label, error))?;
        if is_backup || !control.state.is_at_rest() {
            return Err(Error::Unusable(format!(
                "data directory \"{}\" was not stopped cleanly; start its server and stop it first",
                dir.display()
            )));
        }
        let options = StoreOptions {
            dir: dir.to_path_buf(),
            frames: FRAMES,
            checksums: control.data_checksums,
            full_page_writes: false,
        };
        let store = Store::open(host, options)?;
        store.check_state()?;
        let unseen = match store.run_blocking(|| store.state(STATE_EARLY))? {
            Some(bytes) => {
                let list = EarlyList::parse(&bytes).map_err(|error| {
                    Error::corrupt_page(STATE_FILE.file(), BlockNumber::new(0), error.to_string())
                })?;
                list.open().chain(list.aborted_xids()).collect()
            }
            None => XidSet::default(),
        };
        Ok(Self { store, unseen, _lock: lock })
    }

    /// All relation files, in order of database and number, with their pages.
    pub fn relations(&self) -> Vec<(RelFile, u32)> {
        let relations = self.store.relations().all();
        let mut all: Vec<_> =
            relations.iter().map(|relation| (relation.id(), relation.page_count())).collect();
        all.sort_unstable();
        all
    }

    /// Whether a file is a tree, and not the engine's own.
    pub fn is_tree(&self, file: RelFile) -> bool {
        file != STATE_FILE.file()
    }

    /// Holds a tree against its own rules, page by page. Blocks.
    ///
    /// # Errors
    /// Fails if there is no such tree or a page cannot be read.
    pub fn verify(&self, tree: TreeId) -> Result<Verified, Error> {
        self.store.tree(tree)?.verify()
    }

    /// Gives the rows of a range as of the last commit to `each`, in order. Blocks.
    ///
    /// # Errors
    /// Fails if a page is damaged or cannot be read, or with what `each` fails with.
    pub fn rows<E: From<Error>>(
        &self,
        tree: TreeId,
        range: KeyRange,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut scan = self.store.tree(tree)?.scan(range, Direction::Forward);
        let mut batch = Batch::default();
        loop {
            batch.clear();
            let more = self.store.run_blocking(|| {
                scan.next_batch(|version| !self.unseen.contains(version.xid), ROWS, ROW_BYTES, &mut batch)
            })?;
            for (key, value, _) in batch.rows() {
                each(key, value)?;
            }
            if !more {
                return Ok(());
            }
        }
    }
}

/// Takes the lock that keeps servers out. A directory in which no server ever ran has none.
fn lock(host: &Host, dir: &Path) -> Result<Option<Box<dyn LockGuard>>, Error> {
    let path = dir.join(LOCK_FILE);
    if !host.disk.exists(&path).map_err(|error| Error::io("access file", &path, error))? {
        return Ok(None);
    }
    host.disk.lock(&path).map(Some).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Unusable(format!(
            "data directory \"{}\" is in use by a server; stop it first",
            dir.display()
        )),
        _ => Error::io("lock file", &path, error),
    })
}
