//! Records of versions that come to a leaf, move to an overflow page, and leave: INSERT, INSERT_MANY,
//! CHAIN_PUSH, PRUNE.

use super::{ApplyError, block, index, info, prefixed, put_items, short};
use crate::pages::page::leaf::{self, CHAIN, ItemHead};
use crate::pages::page::{BadChange, FIRST, Page, PageKind};
use smallvec::SmallVec;
use wal::codec::{Fields, PutFields, Short};
use wal::{BlockNumber, Xid};

const HAS_CID: u8 = 0x80;
const IS_LIKE: u8 = 0x40;
pub(super) const HAS_EPOCH: u8 = 0x20;
/// Flags of INSERT that say how it is written, and are no flags of the item.
const FORM: u8 = HAS_CID | IS_LIKE | HAS_EPOCH;
/// Where INSERT has the epoch, behind index, key length and flags.
pub(super) const INSERT_EPOCH_AT: usize = 5;

/// What a new version shares with the one before it: most updates change a few bytes of a row.
///
/// In the record, flag 40 says that there is no key (it is that of the item at `index`), that the place of
/// its length has the number of bytes that the values share at their beginning, and that another u16, before
/// the rest of the value, counts those at their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Like {
    /// Bytes at the beginning of the value.
    pub prefix: usize,
    /// Bytes at its end.
    pub suffix: usize,
}

impl Like {
    /// What a version of `key` with this value can share with the item that it is put before; None if nothing
    /// is gained.
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
    ///
    /// # Errors
    /// Fails if the data is too short.
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
    pub(super) fn apply(&self, page: &mut Page, xid: Xid) -> Result<(), BadChange> {
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
    pub(super) fn apply(page: &mut Page, main: &[u8], xid: Xid) -> Result<(), ApplyError> {
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
    ///
    /// # Errors
    /// Fails if the data is too short.
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
    pub(super) fn apply(&self, id: u8, page: &mut Page, data: &[u8]) -> Result<(), ApplyError> {
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
    ///
    /// # Errors
    /// Fails if the data is too short.
    pub fn decode(main: &[u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(main);
        let (horizon, count) = (fields.u64().map(Xid::new)?, fields.u16()?);
        let dead = (0..count).map(|_| fields.u16()).collect::<Result<_, _>>()?;
        Ok(Self { horizon, dead })
    }
    pub(super) fn apply(&self, page: &mut Page) {
        let mut dead = self.dead.iter().copied().map(usize::from).peekable();
        page.repack(|index, _| dead.next_if_eq(&index).is_none());
    }
}
