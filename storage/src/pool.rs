//! The buffer pool.

use wal::{BlockNumber, RelFile};

/// Names one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageKey {
    /// The relation.
    pub rel: RelFile,
    /// The page in it.
    pub block: BlockNumber,
}

/// Keeps a page in the pool; not its latch.
#[derive(Debug)]
pub struct OwnedPin {}
