//! The engine's own records (resource manager 128): what each says, and what it does to each page that it names.
//!
//! [`apply`] is the one function that changes tree pages. The writer calls it under the page's latch before it logs the
//! record, redo calls it with the record: so pages are a function of the log alone. A page's change depends on that page and
//! the record only, so the pages of one record may be changed in any order, under all their latches.
//!
//! | info | record     | blocks                                  | main data                                                                    |
//! |------|------------|-----------------------------------------|------------------------------------------------------------------------------|
//! | 00   | INSERT     | 0 leaf                                  | index u16, key length u16, flags u8 (20: epoch u32 follows, 80: cid u32), key, value; see [`Like`] for 40 |
//! | 10   | SPLIT      | 0 left, 1 right (new), 2 parent, \[7\]  | level u16, split u16, parent index u16, right u32, separator length u16, separator |
//! | 20   | ROOT_SPLIT | 0 root, 1 left (new), 2 right (new), \[7\]| level u16, left u32, right u32, separator length u16, separator               |
//! | 30   | PRUNE      | 0 leaf, [7...]                          | horizon u64, count u16, index u16 each                                        |
//! | 40   | CHAIN_PUSH | 0 leaf, 1 overflow (new), \[7\]         | index u16, count u16, old chain u32, new chain u32, xid u64, key length u16, key |
//! | 50   | CHAIN_CUT  | 0 leaf (unchanged), 1 overflow, [7...]  | horizon u64, next u32                                                         |
//! | 60   | TREE_INIT  | 0 map (new), 1 root (new; not with a further map) |                                                                    |
//! | 70   | LARGE      | 0 overflow (new), \[7\]                 | next u32                                                                     |
//! | 80   | FREE       | 7...                                    |                                                                              |
//! | 90   | STATE      | 0 state page (new the first time)       | field u16, bytes                                                             |
//! | A0   | CHAIN_PRUNE| 0 leaf (unchanged), 1 overflow, [7...]  | as PRUNE                                                                      |
//! | B0   | UNLINK     | 0 parent, then for each level, the leaf's first: 1, 3, 5 the page (freed), 2, 4, 6 its left neighbour, if there is one; 7... | count u8, parent index u16, right link u32 of each page |
//! | C0   | TRIM       | 7 the last map                          | pages u32                                                                     |
//! | E0   | REPACK     | 0 parent, \[1\] the left neighbour, 2, 3 the pages that come of the siblings (new), 4, 5, 6 those that become free; 7... | level u16, parent index u16, siblings u8, count u8, the pages u32 each, separator length u16, separator |
//! | D0   | INSERT_MANY| 0 leaf                                  | epoch u32, cid u32, count u16, then for each, by rising key: index u16, flags u8, key length u16, value length u16, key, value |
//!
//! Blocks from 7 on are maps of free pages ([`crate::tree`] tells of them); the data is the block numbers, u32 each, that a record of
//! PRUNE, CHAIN_CUT, FREE, CHAIN_PRUNE and UNLINK gives, and that another takes; REPACK takes those that it packs into, and gives the others.
//! A new page's data is its items: count u16, then for each length u16 and bytes (tree pages begin with right link u32).
//! Blocks are latched by rising id, so a leaf comes before its overflow pages, as readers latch them.
//! The xid of INSERT and INSERT_MANY is the record's, which has its low half. A commit's own xid was taken right before its records, so its
//! full one is the nearest to the next xid. An early xid may be older than any distance that can be told from a half: its records
//! give its high half too, the epoch ([`full_xid`]). All other xids, in pages and in records, are full ones. PRUNE, CHAIN_CUT and CHAIN_PRUNE carry the horizon that a standby's snapshots must have passed.

mod reshape;

pub use reshape::{PACKED_MAX, REPACKED_MAX, Repack, UNLINKED_MAX, Unlink};

use crate::free_map;
use crate::page::leaf::{self, CHAIN, ITEM_HEADER, ItemHead};
use crate::page::{BadChange, FIRST, Page, PageKind};
use smallvec::SmallVec;
use std::fmt::Write;
use wal::codec::{Fields, PutFields, Short};
use wal::describe::RmgrDescriber;
use wal::{BlockNumber, Record, Rmgr, Xid};

/// xl_info of each record.
pub mod info {
    /// A version of a key.
    pub const INSERT: u8 = 0x00;
    /// A page and its new right neighbour, with the parent's downlink.
    pub const SPLIT: u8 = 0x10;
    /// The root's items go to two new pages.
    pub const ROOT_SPLIT: u8 = 0x20;
    /// Dead versions leave a leaf.
    pub const PRUNE: u8 = 0x30;
    /// A key's oldest versions move to an overflow page.
    pub const CHAIN_PUSH: u8 = 0x40;
    /// The pages between this one of a chain and another are dead.
    pub const CHAIN_CUT: u8 = 0x50;
    /// A new tree.
    pub const TREE_INIT: u8 = 0x60;
    /// A piece of a large value.
    pub const LARGE: u8 = 0x70;
    /// Pages that nothing leads to become free.
    pub const FREE: u8 = 0x80;
    /// A field of the state page.
    pub const STATE: u8 = 0x90;
    /// Versions of several keys of one leaf, by one command.
    pub const INSERT_MANY: u8 = 0xD0;
    /// Versions of aborted transactions leave an overflow page.
    pub const CHAIN_PRUNE: u8 = 0xA0;
    /// An empty leaf, with the ancestors that have no other child, leaves the tree.
    pub const UNLINK: u8 = 0xB0;
    /// Siblings side by side become fewer, or lie elsewhere.
    pub const REPACK: u8 = 0xE0;
    /// A file was cut: its map forgets the pages behind the end.
    pub const TRIM: u8 = 0xC0;

    /// Whether this record gives the pages that the blocks of its maps name; else it takes them.
    pub const fn frees(info: u8) -> bool {
        matches!(info, PRUNE | CHAIN_CUT | FREE | CHAIN_PRUNE | UNLINK)
    }

    /// Whether this record takes pages out of a tree to which a descent may be on its way.
    pub const fn reshapes(info: u8) -> bool {
        matches!(info, UNLINK | REPACK)
    }
}

/// The id of the first block reference to a map of free pages.
pub const MAP_ID: u8 = 7;
/// Maps that one record names at most.
pub const MAPS_MAX: usize = 8;
/// Block of the first map.
pub const META: BlockNumber = BlockNumber::new(0);
/// Block of the root, for good.
pub const ROOT: BlockNumber = BlockNumber::new(1);

const META_MAGIC: u32 = 0x504C_494D;
const META_VERSION: u32 = 2;
const HAS_CID: u8 = 0x80;
const IS_LIKE: u8 = 0x40;
const HAS_EPOCH: u8 = 0x20;
/// Flags of INSERT that say how it is written, and are no flags of the item.
const FORM: u8 = HAS_CID | IS_LIKE | HAS_EPOCH;
/// Where INSERT has the epoch, behind index, key length and flags.
const INSERT_EPOCH_AT: usize = 5;

/// A record does not fit the page it is applied to, or its own format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Too short.
    #[error("malformed record: {0}")]
    Short(#[from] Short),
    /// The page is not as the record expects.
    #[error("{0}")]
    Bad(#[from] BadChange),
    /// No such record or block.
    #[error("record {info:02X} has no block {id}")]
    Unknown {
        /// Its info.
        info: u8,
        /// Its block reference.
        id: u8,
    },
}

fn block(fields: &mut Fields<'_>) -> Result<BlockNumber, Short> {
    fields.u32().map(BlockNumber::new)
}

fn index(fields: &mut Fields<'_>) -> Result<usize, Short> {
    fields.u16().map(usize::from)
}

fn prefixed<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], Short> {
    let len = index(fields)?;
    fields.take(len)
}

/// A length or index inside a page; always below 2^16.
fn short(value: usize) -> u16 {
    debug_assert!(value <= usize::from(u16::MAX));
    value as u16
}

/// What a new version shares with the one before it: most updates change a few bytes of a row.
///
/// In the record, flag 40 says that there is no key (it is that of the item at `index`), that the place of its length has the number
/// of bytes that the values share at their beginning, and that another u16, before the rest of the value, counts those at their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Like {
    /// Bytes at the beginning of the value.
    pub prefix: usize,
    /// Bytes at its end.
    pub suffix: usize,
}

impl Like {
    /// What a version of `key` with this value can share with the item that it is put before; None if nothing is gained.
    pub fn of(item: &[u8], key: &[u8], value: &[u8]) -> Option<Self> {
        let head = leaf::item_head(item);
        if head.flags != 0 || leaf::item_key(item) != key {
            return None;
        }
        let old = leaf::item_value(item);
        let most = old.len().min(value.len());
        let prefix = old.iter().zip(value).take_while(|(old, new)| old == new).count();
        let ends = old.iter().rev().zip(value.iter().rev()).take(most - prefix);
        let suffix = ends.take_while(|(old, new)| old == new).count();
        (key.len() + prefix + suffix > 2).then_some(Self { prefix, suffix })
    }
}

/// INSERT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insert<'a> {
    /// Where in the leaf.
    pub index: usize,
    /// The item's flags.
    pub flags: u16,
    /// The high half of the xid, if it is an early one.
    pub epoch: Option<u32>,
    /// The command.
    pub cid: u32,
    /// The key; empty with `like`.
    pub key: &'a [u8],
    /// The value; with `like` what is between the shared bytes.
    pub value: &'a [u8],
    /// What is taken from the item that is at `index` now.
    pub like: Option<Like>,
}

impl<'a> Insert<'a> {
    /// Appends the main data to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(short(self.index));
        out.put_u16(short(self.like.map_or(self.key.len(), |like| like.prefix)));
        let flags = (self.flags as u8) & !FORM;
        let flags = flags | if self.cid == 0 { 0 } else { HAS_CID };
        let flags = flags | if self.epoch.is_some() { HAS_EPOCH } else { 0 };
        out.put_u8(flags | if self.like.is_some() { IS_LIKE } else { 0 });
        if let Some(epoch) = self.epoch {
            out.put_u32(epoch);
        }
        if self.cid != 0 {
            out.put_u32(self.cid);
        }
        match self.like {
            Some(like) => out.put_u16(short(like.suffix)),
            None => out.put(self.key),
        }
        out.put(self.value);
    }
    /// Reads the main data.
    pub fn decode(main: &'a [u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(main);
        let (at, len, flags) = (index(&mut fields)?, index(&mut fields)?, fields.u8()?);
        let epoch = if flags & HAS_EPOCH != 0 { Some(fields.u32()?) } else { None };
        let cid = if flags & HAS_CID != 0 { fields.u32()? } else { 0 };
        let (key, like) = if flags & IS_LIKE != 0 {
            (&[][..], Some(Like { prefix: len, suffix: index(&mut fields)? }))
        } else {
            (fields.take(len)?, None)
        };
        let flags = u16::from(flags & !FORM);
        Ok(Self { index: at, flags, epoch, cid, key, value: fields.rest(), like })
    }
    fn apply(&self, page: &mut Page, xid: Xid) -> Result<(), BadChange> {
        if page.kind() != Some(PageKind::Leaf) || self.index < FIRST {
            return Err(BadChange("a version is inserted into a page that is no leaf"));
        }
        let head = ItemHead { xid, cid: self.cid, flags: self.flags };
        let Some(Like { prefix, suffix }) = self.like else {
            return page
                .insert_item(self.index, &[&head.encode(short(self.key.len())), self.key, self.value]);
        };
        // Copied, since the page moves under it.
        let old: SmallVec<[u8; 256]> = match self.index < page.item_count() {
            true => SmallVec::from_slice(page.item(self.index)),
            false => SmallVec::new(),
        };
        let (key, value) = (leaf::item_key(&old), leaf::item_value(&old));
        let ends = value.get(..prefix).zip(value.len().checked_sub(suffix).and_then(|at| value.get(at..)));
        match ends {
            Some((first, last)) if leaf::item_head(&old).flags == 0 && prefix + suffix <= value.len() => {
                let head = head.encode(short(key.len()));
                page.insert_item(self.index, &[&head, key, first, self.value, last])
            }
            _ => Err(BadChange("a version is like one that is not there")),
        }
    }
}

/// INSERT_MANY, one version at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsertMany;

impl InsertMany {
    /// Begins the main data; the count is set by [`InsertMany::end`].
    pub fn begin(xid: Xid, cid: u32, out: &mut Vec<u8>) {
        out.put_u32(xid.epoch());
        out.put_u32(cid);
        out.put_u16(0);
    }
    /// Appends one version; `index` is its place once those before it are in the page.
    pub fn put(index: usize, flags: u16, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
        out.put_u16(short(index));
        out.put_u8(flags as u8);
        out.put_u16(short(key.len()));
        out.put_u16(short(value.len()));
        out.put(key);
        out.put(value);
    }
    /// Sets the count.
    pub fn end(count: usize, out: &mut [u8]) {
        if let Some(bytes) = out.get_mut(8..10) {
            bytes.copy_from_slice(&short(count).to_le_bytes());
        }
    }
    fn apply(page: &mut Page, main: &[u8], xid: Xid) -> Result<(), ApplyError> {
        let mut fields = Fields::new(main);
        let (_epoch, cid, count) = (fields.u32()?, fields.u32()?, fields.u16()?);
        for _ in 0..count {
            let (index, flags) = (index(&mut fields)?, fields.u8()?);
            let (key_len, value_len) = (self::index(&mut fields)?, self::index(&mut fields)?);
            let (key, value) = (fields.take(key_len)?, fields.take(value_len)?);
            let flags = u16::from(flags);
            Insert { index, flags, epoch: None, cid, key, value, like: None }.apply(page, xid)?;
        }
        Ok(())
    }
}

/// SPLIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// Of the page that is split.
    pub level: u16,
    /// The first item that goes to the right.
    pub split: usize,
    /// Where in the parent the new downlink goes.
    pub parent_index: usize,
    /// The new page.
    pub right: BlockNumber,
    /// The left page's new high key, and the downlink's key.
    pub separator: &'a [u8],
}

impl<'a> Split<'a> {
    /// Appends the main data to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(self.level);
        out.put_u16(short(self.split));
        out.put_u16(short(self.parent_index));
        out.put_u32(self.right.get());
        out.put_u16(short(self.separator.len()));
        out.put(self.separator);
    }
    /// Reads the main data.
    pub fn decode(main: &'a [u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(main);
        Ok(Self {
            level: fields.u16()?,
            split: index(&mut fields)?,
            parent_index: index(&mut fields)?,
            right: block(&mut fields)?,
            separator: prefixed(&mut fields)?,
        })
    }
    fn apply(&self, id: u8, page: &mut Page, data: &[u8]) -> Result<(), ApplyError> {
        match id {
            0 => {
                page.repack(|index, _| index != 0 && index < self.split);
                page.insert_item(0, &[self.separator])?;
                // Once more, so that the high key lies where a fresh page has it.
                page.repack(|_, _| true);
                page.set_right(self.right);
                Ok(())
            }
            1 => build_tree_page(page, self.level, data),
            2 => {
                // A page that took over the keys of one on its left has a first item whose key is not its low bound.
                if self.parent_index == FIRST + 1 && page.key(FIRST) >= self.separator {
                    let first = page.child(FIRST).get().to_le_bytes();
                    page.replace_item(FIRST, &first)?;
                }
                let child = self.right.get().to_le_bytes();
                Ok(page.insert_item(self.parent_index, &[&child, self.separator])?)
            }
            id => Err(ApplyError::Unknown { info: info::SPLIT, id }),
        }
    }
}

/// ROOT_SPLIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootSplit<'a> {
    /// Of the two new pages; the root goes one up.
    pub level: u16,
    /// The lower half.
    pub left: BlockNumber,
    /// The upper half.
    pub right: BlockNumber,
    /// Between them.
    pub separator: &'a [u8],
}

impl<'a> RootSplit<'a> {
    /// Appends the main data to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(self.level);
        out.put_u32(self.left.get());
        out.put_u32(self.right.get());
        out.put_u16(short(self.separator.len()));
        out.put(self.separator);
    }
    /// Reads the main data.
    pub fn decode(main: &'a [u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(main);
        Ok(Self {
            level: fields.u16()?,
            left: block(&mut fields)?,
            right: block(&mut fields)?,
            separator: prefixed(&mut fields)?,
        })
    }
    fn apply(&self, id: u8, page: &mut Page, data: &[u8]) -> Result<(), ApplyError> {
        match id {
            0 => {
                page.init_tree_page(self.level.saturating_add(1), BlockNumber::INVALID, b"")?;
                page.insert_item(FIRST, &[&self.left.get().to_le_bytes()])?;
                Ok(page.insert_item(FIRST + 1, &[&self.right.get().to_le_bytes(), self.separator])?)
            }
            1 | 2 => build_tree_page(page, self.level, data),
            id => Err(ApplyError::Unknown { info: info::ROOT_SPLIT, id }),
        }
    }
}

/// CHAIN_PUSH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainPush<'a> {
    /// The first version that moves.
    pub index: usize,
    /// How many move (with the old chain's item, if there is one).
    pub count: usize,
    /// The chain so far; the new page leads on to it.
    pub old: BlockNumber,
    /// The new page.
    pub new: BlockNumber,
    /// Of the newest version that moves.
    pub xid: Xid,
    /// Whose versions.
    pub key: &'a [u8],
}

impl<'a> ChainPush<'a> {
    /// Appends the main data to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(short(self.index));
        out.put_u16(short(self.count));
        out.put_u32(self.old.get());
        out.put_u32(self.new.get());
        out.put_u64(self.xid.get());
        out.put_u16(short(self.key.len()));
        out.put(self.key);
    }
    /// Reads the main data.
    pub fn decode(main: &'a [u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(main);
        Ok(Self {
            index: index(&mut fields)?,
            count: index(&mut fields)?,
            old: block(&mut fields)?,
            new: block(&mut fields)?,
            xid: fields.u64().map(Xid::new)?,
            key: prefixed(&mut fields)?,
        })
    }
    fn apply(&self, id: u8, page: &mut Page, data: &[u8]) -> Result<(), ApplyError> {
        match id {
            0 => {
                let moved = self.index..self.index + self.count;
                page.repack(|index, _| !moved.contains(&index));
                let head = ItemHead { xid: self.xid, cid: 0, flags: CHAIN }.encode(short(self.key.len()));
                let first = self.new.get().to_le_bytes();
                Ok(page.insert_item(self.index, &[&head, self.key, &first])?)
            }
            1 => {
                page.init(PageKind::Overflow, 0, self.old);
                put_items(page, &mut Fields::new(data))
            }
            id => Err(ApplyError::Unknown { info: info::CHAIN_PUSH, id }),
        }
    }
}

/// PRUNE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prune {
    /// All snapshots see the xids below.
    pub horizon: Xid,
    /// The items that go, rising.
    pub dead: Vec<u16>,
}

impl Prune {
    /// Appends the main data to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.horizon.get());
        out.put_u16(short(self.dead.len()));
        for index in &self.dead {
            out.put_u16(*index);
        }
    }
    /// Reads the main data.
    pub fn decode(main: &[u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(main);
        let (horizon, count) = (fields.u64().map(Xid::new)?, fields.u16()?);
        let dead = (0..count).map(|_| fields.u16()).collect::<Result<_, _>>()?;
        Ok(Self { horizon, dead })
    }
    fn apply(&self, page: &mut Page) {
        let mut dead = self.dead.iter().copied().map(usize::from).peekable();
        page.repack(|index, _| dead.next_if_eq(&index).is_none());
    }
}

/// Appends the items `range` of a page as a new page's data.
pub fn encode_items<'a>(items: impl ExactSizeIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    out.put_u16(short(items.len()));
    for item in items {
        out.put_u16(short(item.len()));
        out.put(item);
    }
}

fn put_items(page: &mut Page, fields: &mut Fields<'_>) -> Result<(), ApplyError> {
    for index in 0..index(fields)? {
        page.insert_item(index, &[prefixed(fields)?])?;
    }
    Ok(())
}

fn build_tree_page(page: &mut Page, level: u16, data: &[u8]) -> Result<(), ApplyError> {
    let mut fields = Fields::new(data);
    let right = block(&mut fields)?;
    page.init(if level == 0 { PageKind::Leaf } else { PageKind::Inner }, level, right);
    put_items(page, &mut fields)
}

fn apply_state(page: &mut Page, main: &[u8]) -> Result<(), ApplyError> {
    if page.kind() != Some(PageKind::State) {
        page.init(PageKind::State, 0, BlockNumber::INVALID);
    }
    let field = Fields::new(main).u16()?.to_le_bytes();
    let found = page.items().position(|item| item.starts_with(&field));
    match found {
        Some(index) => page.replace_item(index, main)?,
        None => page.insert_item(page.item_count(), &[main])?,
    }
    Ok(())
}

/// The xid of a record: the one with this epoch if it says one (any early xid), else the nearest to `near`, the next xid as
/// the log before it has it, which is right within 2^31 (any xid that a commit takes).
pub fn full_xid(record: &Record, near: Xid) -> Xid {
    let main = record.main_data();
    let epoch = match (record.rmgr() == Rmgr::ENGINE, record.rmgr_info()) {
        (true, info::INSERT) if main.get(INSERT_EPOCH_AT - 1).is_some_and(|flags| flags & HAS_EPOCH != 0) => {
            main.get(INSERT_EPOCH_AT..).and_then(<[u8]>::first_chunk)
        }
        (true, info::INSERT_MANY) => main.first_chunk(),
        _ => None,
    };
    match epoch {
        Some(epoch) => Xid::from_halves(u32::from_le_bytes(*epoch), record.xid_low()),
        None => Xid::from_low(record.xid_low(), near),
    }
}

/// Changes one page as the record says: `info` and `main` are the record's, `id` and `data` the block reference's, `xid`
/// the record's ([`full_xid`]). The page's LSN is the caller's business. After an error the page is unspecified.
pub fn apply(
    info: u8,
    id: u8,
    page: &mut Page,
    main: &[u8],
    data: &[u8],
    xid: Xid,
) -> Result<(), ApplyError> {
    match (info, id) {
        (info::TRIM, MAP_ID) => free_map::trim(page, Fields::new(main).u32()?),
        (info::REPACK, MAP_ID..) => Repack::decode(main)?.apply_to_map(page, data),
        (_, MAP_ID..) => free_map::apply(page, data, info::frees(info)),
        (info::INSERT, 0) => Ok(Insert::decode(main)?.apply(page, xid)?),
        (info::INSERT_MANY, 0) => InsertMany::apply(page, main, xid),
        (info::SPLIT, id) => Split::decode(main)?.apply(id, page, data),
        (info::ROOT_SPLIT, id) => RootSplit::decode(main)?.apply(id, page, data),
        (info::PRUNE, 0) | (info::CHAIN_PRUNE, 1) => {
            Prune::decode(main)?.apply(page);
            Ok(())
        }
        (info::CHAIN_PUSH, id) => ChainPush::decode(main)?.apply(id, page, data),
        (info::CHAIN_CUT, 1) => {
            let mut fields = Fields::new(main);
            fields.skip(8)?;
            page.set_right(block(&mut fields)?);
            Ok(())
        }
        // The leaf is there to be latched: whoever reads a chain holds its leaf.
        (info::CHAIN_CUT | info::CHAIN_PRUNE, 0) => Ok(()),
        (info::TREE_INIT, 0) => {
            page.init(PageKind::Meta, 0, BlockNumber::INVALID);
            let mut item = Vec::with_capacity(12);
            item.put_u32(META_MAGIC);
            item.put_u32(META_VERSION);
            item.put_u32(ROOT.get());
            page.insert_item(0, &[&item])?;
            Ok(page.insert_item(1, &[])?)
        }
        (info::TREE_INIT, 1) => Ok(page.init_tree_page(0, BlockNumber::INVALID, b"")?),
        (info::LARGE, 0) => {
            page.init(PageKind::Large, 0, block(&mut Fields::new(main))?);
            Ok(page.insert_item(0, &[data])?)
        }
        (info::UNLINK, id) => Unlink::decode(main)?.apply(id, page),
        (info::REPACK, id) => Repack::decode(main)?.apply(id, page, data),
        (info::STATE, 0) => apply_state(page, main),
        (info, id) => Err(ApplyError::Unknown { info, id }),
    }
}

/// The horizon of a record that removes versions: snapshots that do not see all xids below it may miss some afterwards.
pub fn horizon(record: &Record) -> Option<Xid> {
    let prunes = record.rmgr() == Rmgr::ENGINE
        && matches!(record.rmgr_info(), info::PRUNE | info::CHAIN_CUT | info::CHAIN_PRUNE);
    let bytes = record.main_data().first_chunk::<8>().filter(|_| prunes)?;
    Some(Xid::new(u64::from_le_bytes(*bytes)))
}

/// The name of a record, as pg_waldump's rmgr_desc column has for built-in ones.
pub fn name(info: u8) -> Option<&'static str> {
    Some(match info & 0xF0 {
        info::INSERT => "INSERT",
        info::INSERT_MANY => "INSERT_MANY",
        info::SPLIT => "SPLIT",
        info::ROOT_SPLIT => "ROOT_SPLIT",
        info::PRUNE => "PRUNE",
        info::CHAIN_PUSH => "CHAIN_PUSH",
        info::CHAIN_CUT => "CHAIN_CUT",
        info::TREE_INIT => "TREE_INIT",
        info::LARGE => "LARGE",
        info::FREE => "FREE",
        info::STATE => "STATE",
        info::CHAIN_PRUNE => "CHAIN_PRUNE",
        info::UNLINK => "UNLINK",
        info::REPACK => "REPACK",
        info::TRIM => "TRIM",
        _ => return None,
    })
}

/// Bytes as text where they are plain, in hexadecimal elsewhere.
fn bytes_text(bytes: &[u8]) -> String {
    const SHOWN: usize = 64;
    let shown = bytes.get(..SHOWN).unwrap_or(bytes);
    let mut text = String::with_capacity(shown.len() + 16);
    if !shown.is_empty() && shown.iter().all(|byte| (0x20..0x7F).contains(byte) && *byte != b'\'') {
        text.push('\'');
        text.extend(shown.iter().map(|byte| char::from(*byte)));
        text.push('\'');
    } else {
        text.push_str("\\x");
        for byte in shown {
            let _ = write!(text, "{byte:02x}");
        }
    }
    if bytes.len() > SHOWN {
        let _ = write!(text, "... ({} bytes)", bytes.len());
    }
    text
}

/// Puts records of resource manager 128 into words for waldump.
#[derive(Clone, Copy, Debug, Default)]
pub struct EngineDescriber;

impl RmgrDescriber for EngineDescriber {
    fn rmgr(&self) -> Rmgr {
        Rmgr::ENGINE
    }
    fn name(&self) -> &str {
        "Plimsoll"
    }
    fn identify(&self, info: u8) -> Option<&str> {
        name(info)
    }
    fn describe(&self, record: &Record, out: &mut String) {
        match describe(record) {
            Ok(text) => out.push_str(&text),
            Err(error) => {
                let _ = write!(out, "malformed: {error}");
            }
        }
    }
}

/// One line that says what a record of resource manager 128 does.
fn describe(record: &Record) -> Result<String, Short> {
    let main = record.main_data();
    let mut fields = Fields::new(main);
    Ok(match record.rmgr_info() {
        info::INSERT => {
            let insert = Insert::decode(main)?;
            let kind = match insert.flags {
                leaf::DELETED => " deleted",
                leaf::LARGE => " large",
                _ => "",
            };
            let (index, cid, len) = (insert.index, insert.cid, insert.value.len());
            match insert.like {
                Some(Like { prefix, suffix }) => {
                    format!(
                        "off: {index}, cid: {cid}, value: {prefix} + {len} + {suffix} bytes, like the one before"
                    )
                }
                None => {
                    let key = bytes_text(insert.key);
                    format!("off: {index}, cid: {cid}, key: {key}, value: {len} bytes{kind}")
                }
            }
        }
        info::INSERT_MANY => {
            let (_epoch, cid, count) = (fields.u32()?, fields.u32()?, fields.u16()?);
            let (first, _) = (fields.u16()?, fields.u8()?);
            let (key_len, _) = (fields.u16()?, fields.u16()?);
            let key = bytes_text(fields.take(usize::from(key_len))?);
            format!("off: {first}, cid: {cid}, versions: {count}, first key: {key}")
        }
        info::SPLIT => {
            let split = Split::decode(main)?;
            let (level, at, right) = (split.level, split.split, split.right);
            let separator = bytes_text(split.separator);
            format!(
                "level: {level}, off: {at}, right: {right}, parent off: {}, separator: {separator}",
                split.parent_index
            )
        }
        info::ROOT_SPLIT => {
            let split = RootSplit::decode(main)?;
            let separator = bytes_text(split.separator);
            format!(
                "level: {}, left: {}, right: {}, separator: {separator}",
                split.level, split.left, split.right
            )
        }
        info::PRUNE | info::CHAIN_PRUNE => {
            let prune = Prune::decode(main)?;
            format!("horizon: {}, dead: {:?}", prune.horizon, prune.dead)
        }
        info::CHAIN_PUSH => {
            let push = ChainPush::decode(main)?;
            let (key, old) = (bytes_text(push.key), push.old.get() as i32);
            format!(
                "off: {}, moved: {}, chain: {}, next: {old}, key: {key}",
                push.index, push.count, push.new
            )
        }
        info::CHAIN_CUT => {
            let horizon = fields.u64()?;
            format!("horizon: {horizon}, next: {}", fields.u32()? as i32)
        }
        info::LARGE => format!("next: {}", fields.u32()? as i32),
        info::FREE => {
            let maps = record.blocks().filter(|block| block.id >= MAP_ID);
            format!("pages: {}", maps.map(|block| block.data.len() / 4).sum::<usize>())
        }
        info::UNLINK => {
            let unlink = Unlink::decode(main)?;
            format!("pages: {}, parent off: {}", unlink.rights.len(), unlink.parent_index)
        }
        info::REPACK => {
            let Repack { level, parent_index, count, packed, separator } = Repack::decode(main)?;
            let packed: SmallVec<[u32; PACKED_MAX]> = packed.iter().map(|block| block.get()).collect();
            let separator = if packed.len() > 1 { bytes_text(separator) } else { "none".to_owned() };
            format!(
                "level: {level}, siblings: {count}, packed: {packed:?}, parent off: {parent_index}, separator: {separator}"
            )
        }
        info::TRIM => format!("pages: {}", fields.u32()?),
        info::STATE => {
            let field = fields.u16()?;
            format!("field: {field}, value: {}", bytes_text(fields.rest()))
        }
        _ => String::new(),
    })
}

/// The bytes that a version takes in a leaf, with its line pointer.
pub const fn version_space(key_len: usize, value_len: usize) -> usize {
    ITEM_HEADER + key_len + value_len + crate::page::POINTER_SIZE
}
