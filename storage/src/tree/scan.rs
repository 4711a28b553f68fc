//! Scans: each batch descends anew, so a scan holds no page between batches and no split can lead it astray.

use super::{Tree, VersionHead};
use crate::changes::records::ROOT;
use crate::changes::store::Fault;
use crate::pages::page::leaf::{run_end, run_start};
use crate::pages::page::{FIRST, PageKind};
use crate::pages::pool::{PageKey, ReadPage};
use crate::{Direction, KeyRange};
use wal::BlockNumber;

/// Rows of a scan, in one piece of memory that is used again.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    key_at: usize,
    value_at: usize,
    end: usize,
    head: VersionHead,
}

impl Batch {
    /// Rows in order: key, value, who wrote the value.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8], VersionHead)> {
        self.rows.iter().map(|row| {
            let key = self.bytes.get(row.key_at..row.value_at).unwrap_or_default();
            (key, self.bytes.get(row.value_at..row.end).unwrap_or_default(), row.head)
        })
    }
    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
    /// Forgets the rows, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }
}

/// Leaves that are looked at in one go, though none has a row that is seen: then the thread is others' for a
/// moment.
const LEAVES_AT_ONCE: usize = 256;

/// Where a scan stands; owns no pages between batches.
#[derive(Debug)]
pub struct TreeScan {
    tree: Tree,
    /// Keys from here on (inclusive) are still to come.
    low: Vec<u8>,
    /// Keys below this are still to come; None for all.
    high: Option<Vec<u8>>,
    direction: Direction,
    done: bool,
}

/// How a batch goes on after a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Left,
    Full,
}

struct Filling<'b, F> {
    choose: F,
    rows_max: usize,
    bytes_max: usize,
    batch: &'b mut Batch,
}

impl<F: FnMut(VersionHead) -> bool> Filling<'_, F> {
    /// Takes the chosen version of the key whose items are `start..end`.
    fn take(&mut self, tree: &Tree, page: &ReadPage<'_>, start: usize, end: usize) -> Result<Room, Fault> {
        let key_at = self.batch.bytes.len();
        let key = page.key(start);
        self.batch.bytes.extend_from_slice(key);
        let value_at = self.batch.bytes.len();
        for index in start..end {
            match tree.offer(page.item(index), &mut self.choose, &mut self.batch.bytes) {
                Ok(None) => {}
                Ok(Some(head)) if !head.deleted => {
                    let end = self.batch.bytes.len();
                    self.batch.rows.push(Row { key_at, value_at, end, head });
                    let full = self.batch.rows.len() >= self.rows_max || end >= self.bytes_max;
                    return Ok(if full { Room::Full } else { Room::Left });
                }
                Ok(Some(_)) => break,
                Err(fault) => {
                    self.batch.bytes.truncate(key_at);
                    return Err(fault);
                }
            }
        }
        self.batch.bytes.truncate(key_at);
        Ok(Room::Left)
    }
}

impl TreeScan {
    pub(super) fn new(tree: Tree, range: KeyRange, direction: Direction) -> Self {
        let done = range.end.as_ref().is_some_and(|end| *end <= range.start);
        Self { tree, low: range.start.to_vec(), high: range.end.map(|end| end.to_vec()), direction, done }
    }

    /// Appends the next rows to `batch`, of each key the newest version for which `choose` says true, unless
    /// it is a deletion. Stops when the batch has `rows_max` rows or `bytes_max` bytes. False: that was the
    /// end.
    ///
    /// Rows found before a missing page, or a pause that is due, stay in the batch, and the scan goes on
    /// behind them.
    ///
    /// # Errors
    /// Fails if a page is not in the pool or is damaged, or after many rows that were not chosen.
    pub fn next_batch(
        &mut self,
        choose: impl FnMut(VersionHead) -> bool,
        rows_max: usize,
        bytes_max: usize,
        batch: &mut Batch,
    ) -> Result<bool, Fault> {
        let mut filling = Filling { choose, rows_max: rows_max.max(1), bytes_max: bytes_max.max(1), batch };
        let mut leaves = 0;
        while !self.done {
            if leaves == LEAVES_AT_ONCE {
                return Err(Fault::Pause);
            }
            leaves += 1;
            let room = match self.direction {
                Direction::Forward => self.forward(&mut filling)?,
                Direction::Backward => self.backward(&mut filling)?,
            };
            if room == Room::Full {
                break;
            }
        }
        Ok(!self.done)
    }

    /// Takes rows from the leaf that covers `low`, and moves `low` behind what was taken.
    fn forward<F: FnMut(VersionHead) -> bool>(
        &mut self,
        filling: &mut Filling<'_, F>,
    ) -> Result<Room, Fault> {
        let found = self.tree.descend(&self.low, 0, None)?;
        let page = found.page;
        let mut index = page.lower_bound(&self.low);
        while index < page.item_count() {
            let key = page.key(index);
            if self.high.as_deref().is_some_and(|high| key >= high) {
                self.done = true;
                return Ok(Room::Left);
            }
            let end = run_end(&page, index);
            let taken = filling.take(&self.tree, &page, index, end);
            if !matches!(taken, Ok(Room::Left)) {
                // Behind this key if it was taken, at it if a page was missing.
                self.low.clear();
                self.low.extend_from_slice(key);
                if taken.is_ok() {
                    self.low.push(0);
                }
                return taken;
            }
            index = end;
        }
        match page.high_key() {
            Some(high) if self.high.as_deref().is_none_or(|end| high < end) => {
                self.low.clear();
                self.low.extend_from_slice(high);
            }
            _ => self.done = true,
        }
        Ok(Room::Left)
    }

    /// Takes rows from the leaf that covers the keys right below `high`, and moves `high` down.
    fn backward<F: FnMut(VersionHead) -> bool>(
        &mut self,
        filling: &mut Filling<'_, F>,
    ) -> Result<Room, Fault> {
        let mut fence = Vec::new();
        let tree = self.tree.clone();
        let page = tree.descend_below(self.high.as_deref(), &mut fence)?;
        let mut end = self.high.as_deref().map_or(page.item_count(), |high| page.lower_bound(high));
        while end > FIRST {
            let key = page.key(end - 1);
            if key < self.low.as_slice() {
                self.done = true;
                return Ok(Room::Left);
            }
            let start = run_start(&page, end - 1);
            let taken = filling.take(&tree, &page, start, end);
            if !matches!(taken, Ok(Room::Left)) {
                let mut high = key.to_vec();
                if taken.is_err() {
                    high.push(0);
                }
                self.high = Some(high);
                return taken;
            }
            end = start;
        }
        if fence.is_empty() || fence <= self.low {
            self.done = true;
        } else {
            self.high = Some(fence);
        }
        Ok(Room::Left)
    }
}

impl TreeScan {
    /// Up to `count` leaves that a scan forward will come to after the one where it stands, and that are not
    /// in the pool; none if it has to be read where they are.
    pub(crate) fn upcoming(&self, count: usize) -> Vec<BlockNumber> {
        let mut blocks = Vec::new();
        if self.direction == Direction::Backward || self.done || count == 0 {
            return blocks;
        }
        if let Ok(parent) = self.tree.descend(&self.low, 1, None) {
            let page = parent.page;
            let first = page.child_index(&self.low) + 1;
            let wanted = (first..page.item_count().min(first + count))
                .take_while(|index| self.high.as_deref().is_none_or(|high| page.key(*index) < high));
            blocks.extend(wanted.map(|index| page.child(index)));
        }
        blocks.retain(|block| !self.tree.store.0.pool.has(PageKey::new(self.tree.relation.id(), *block)));
        blocks
    }
}

impl Tree {
    /// The greatest key of which there is any version, a deletion or one of an open transaction among them;
    /// None if there is none.
    ///
    /// # Errors
    /// Fails if a page is not in the pool or is damaged.
    pub(crate) fn last_key(&self) -> Result<Option<Vec<u8>>, Fault> {
        let (mut below, mut fence) = (None::<Vec<u8>>, Vec::new());
        loop {
            let page = self.descend_below(below.as_deref(), &mut fence)?;
            let end = below.as_deref().map_or(page.item_count(), |high| page.lower_bound(high));
            if end > FIRST {
                return Ok(Some(page.key(end - 1).to_vec()));
            }
            if fence.is_empty() {
                return Ok(None);
            }
            below = Some(std::mem::take(&mut fence));
        }
    }

    /// Finds the leaf that covers the keys right below `bound` (None: the last leaf); its low bound goes to
    /// `fence`.
    fn descend_below(&self, bound: Option<&[u8]>, fence: &mut Vec<u8>) -> Result<ReadPage<'_>, Fault> {
        self.unless_reshaped(|| {
            let (mut block, mut steps) = (ROOT, super::Steps::default());
            fence.clear();
            loop {
                steps.next(self, block)?;
                let page = self.pin(block)?.read();
                let moves = match (page.high_key(), bound) {
                    (Some(high), Some(bound)) => high < bound,
                    (high, None) => high.is_some(),
                    (None, _) => false,
                };
                if moves {
                    fence.clear();
                    fence.extend_from_slice(page.item(0));
                    block = page.right();
                    continue;
                }
                match page.kind() {
                    Some(PageKind::Leaf) => return Ok(page),
                    Some(PageKind::Inner) => {
                        let index = page.child_index_below(bound);
                        if index > FIRST {
                            fence.clear();
                            fence.extend_from_slice(page.key(index));
                        }
                        block = page.child(index);
                    }
                    _ => return Err(self.broken(block, "not the page of the tree that links lead to")),
                }
            }
        })
    }
}
