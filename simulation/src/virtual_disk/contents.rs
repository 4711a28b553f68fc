//! A file's bytes: what programs see, what a power cut leaves, and the changes between the two.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Granularity in which contents are shared between copies of a disk.
const PAGE: usize = 4096;
/// A page that takes no memory.
static ZEROS: [u8; PAGE] = [0; PAGE];
/// What a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;

/// 4 KiB of a file, with their hash once somebody asked for it.
#[derive(Debug)]
struct Page {
    bytes: [u8; PAGE],
    hash: OnceLock<u128>,
}

impl Clone for Page {
    fn clone(&self) -> Self {
        // Cloned to be changed, so the hash does not come along.
        Self { bytes: self.bytes, hash: OnceLock::new() }
    }
}

impl Page {
    fn zeroed() -> Self {
        Self { bytes: [0; PAGE], hash: OnceLock::new() }
    }
    fn is_zero(&self) -> bool {
        are_zeros(&self.bytes)
    }
}

/// Compared as a block: new segments of the log are written full of zeros.
fn are_zeros(bytes: &[u8]) -> bool {
    bytes.chunks(PAGE).all(|part| ZEROS.get(..part.len()) == Some(part))
}

/// Bytes of a file; pages of zeros take no memory, others are shared between clones.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    len: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Contents {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let left = self.len.saturating_sub(offset);
        let len = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buf = buf.get_mut(..len).unwrap_or_default();
        let mut done = 0;
        for (page, within, part) in pieces(offset, len) {
            let target = buf.get_mut(done..done + part).unwrap_or_default();
            match self.pages.get(&page).and_then(|page| page.bytes.get(within..within + part)) {
                Some(source) => target.copy_from_slice(source),
                None => target.fill(0),
            }
            done += part;
        }
        len
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut rest = bytes;
        for (page, within, part) in pieces(offset, bytes.len()) {
            let (now, later) = rest.split_at(part);
            self.write_in_page(page, within, now);
            rest = later;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    fn write_in_page(&mut self, number: u64, within: usize, bytes: &[u8]) {
        let zeros = are_zeros(bytes);
        if zeros && (bytes.len() == PAGE || !self.pages.contains_key(&number)) {
            self.pages.remove(&number);
            return;
        }
        if let Ok(whole) = <&[u8; PAGE]>::try_from(bytes)
            && self.pages.get(&number).is_none_or(|page| Arc::strong_count(page) > 1)
        {
            // Nobody needs a copy of what is written over.
            self.pages.insert(number, Arc::new(Page { bytes: *whole, hash: OnceLock::new() }));
            return;
        }
        let page = self.pages.entry(number).or_insert_with(|| Arc::new(Page::zeroed()));
        let page = Arc::make_mut(page);
        page.hash.take();
        if let Some(target) = page.bytes.get_mut(within..within + bytes.len()) {
            target.copy_from_slice(bytes);
        }
        if zeros && page.is_zero() {
            self.pages.remove(&number);
        }
    }

    fn page(&self, number: u64) -> &[u8; PAGE] {
        self.pages.get(&number).map_or(&ZEROS, |page| &page.bytes)
    }

    /// Whether a page is one and the same in both, or in neither.
    fn shares(&self, page: u64, other: &Self) -> bool {
        match (self.pages.get(&page), other.pages.get(&page)) {
            (Some(own), Some(others)) => Arc::ptr_eq(own, others),
            (own, others) => own.is_none() && others.is_none(),
        }
    }

    /// Takes a page as another has it.
    fn share(&mut self, page: u64, other: &Self) {
        match other.pages.get(&page) {
            Some(others) => self.pages.insert(page, others.clone()),
            None => self.pages.remove(&page),
        };
    }

    /// Whether both have the same bytes in a range, and end at the same place if they end in it.
    fn equals(&self, other: &Self, range: &Range<u64>) -> bool {
        let end = |of: &Self| of.len.clamp(range.start, range.end.max(range.start));
        let len = usize::try_from(end(self) - range.start).unwrap_or(usize::MAX);
        end(self) == end(other)
            && pieces(range.start, len).all(|(page, within, part)| {
                let within = within..within + part;
                self.shares(page, other)
                    || self.page(page).get(within.clone()) == other.page(page).get(within)
            })
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let keep = len.div_ceil(PAGE as u64);
            self.pages.split_off(&keep);
            let within = usize::try_from(len % PAGE as u64).unwrap_or(0);
            if within != 0 {
                self.write_in_page(len / PAGE as u64, within, &[0; PAGE][within..]);
            }
        }
        self.len = len;
    }

    /// A number that differs, as far as 128 bits go, where the bytes differ.
    pub(super) fn hash(&self) -> u128 {
        let mut hash = Fnv::default();
        hash.word(self.len);
        for (number, page) in &self.pages {
            hash.word(*number);
            let page = page.hash.get_or_init(|| {
                let mut hash = Fnv::default();
                hash.bytes(&page.bytes);
                hash.0
            });
            hash.wide(*page);
        }
        hash.0
    }
}

/// Cuts a range of a file at page borders: page number, offset in it, length.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = usize::try_from(at % PAGE as u64).unwrap_or(0);
        let part = (PAGE - within).min(len - done);
        done += part;
        Some((at / PAGE as u64, within, part))
    })
}

/// FNV-1a with 128 bits, taking in eight bytes a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fnv(pub(super) u128);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fnv {
    pub(super) fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ u128::from(word)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    pub(super) fn wide(&mut self, wide: u128) {
        self.word((wide & u128::from(u64::MAX)) as u64);
        self.word((wide >> 64) as u64);
    }
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.word(u64::from(*byte) | 1 << 32));
        self.word(bytes.len() as u64);
    }
}

/// A change that a program made and that no sync has made durable yet.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Arc<[u8]> },
    Zeros { offset: u64, len: u64 },
    Length { len: u64 },
}

impl Change {
    fn apply(&self, contents: &mut Contents) {
        match self {
            Self::Write { offset, bytes } => contents.write(bytes, *offset),
            Self::Zeros { offset, len } => write_zeros(contents, *offset, *len),
            Self::Length { len } => contents.set_len(*len),
        }
    }

    /// Applies it to what has all changes before it, and gets all those that `last` has.
    fn apply_shared(&self, contents: &mut Contents, last: &Contents) {
        let (offset, len) = match self {
            Self::Write { offset, bytes } => (*offset, bytes.len()),
            Self::Zeros { offset, len } => (*offset, usize::try_from(*len).unwrap_or(usize::MAX)),
            Self::Length { .. } => return self.apply(contents),
        };
        let mut done = 0;
        for (page, within, part) in pieces(offset, len) {
            if part == PAGE {
                contents.share(page, last);
            } else if !contents.shares(page, last) {
                let bytes = match self {
                    Self::Write { bytes, .. } => bytes.get(done..done + part),
                    _ => ZEROS.get(..part),
                };
                contents.write_in_page(page, within, bytes.unwrap_or_default());
            }
            done += part;
        }
        contents.len = contents.len.max(self.end());
    }

    /// Applies to the sectors for which `keep` says so; a length is applied as a whole.
    fn apply_torn(&self, contents: &mut Contents, keep: &mut impl FnMut(u64) -> bool) {
        let (offset, len) = match self {
            Self::Write { offset, bytes } => (*offset, bytes.len() as u64),
            Self::Zeros { offset, len } => (*offset, *len),
            Self::Length { .. } => return self.apply(contents),
        };
        let mut at = offset;
        while at < offset + len {
            let sector = at / SECTOR as u64;
            let end = ((sector + 1) * SECTOR as u64).min(offset + len);
            if keep(sector) {
                match self {
                    Self::Write { bytes, .. } => {
                        let from = usize::try_from(at - offset).unwrap_or(0);
                        let to = usize::try_from(end - offset).unwrap_or(0);
                        contents.write(bytes.get(from..to).unwrap_or_default(), at);
                    }
                    _ => write_zeros(contents, at, end - at),
                }
            }
            at = end;
        }
    }

    /// The end of what it writes.
    fn end(&self) -> u64 {
        match self {
            Self::Write { offset, bytes } => offset + bytes.len() as u64,
            Self::Zeros { offset, len } => offset + len,
            Self::Length { len } => *len,
        }
    }
}

fn write_zeros(contents: &mut Contents, mut offset: u64, len: u64) {
    let end = offset + len;
    while offset < end {
        let part = (PAGE as u64 - offset % PAGE as u64).min(end - offset);
        contents.write(&[0; PAGE][..usize::try_from(part).unwrap_or(0)], offset);
        offset += part;
    }
}

/// What becomes of a file's unsynced changes at a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// None reaches the disk.
    Lost,
    /// All reach it.
    Kept,
    /// The first ones reach it, the next one some of its sectors, the later ones none.
    Prefix,
    /// Each sector gets a state of its own between the durable one and the newest.
    Shuffled,
}

/// A file with its two lives.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    live: Contents,
    durable: Contents,
    unsynced: Vec<Change>,
    /// A sync has failed: programs see what the disk never gets.
    has_lost: bool,
    /// Space is promised up to here. A power cut may take the promise back.
    reserved: u64,
    pub(super) modified_tick: u64,
    pub(super) permissions: u32,
}

impl Inode {
    pub(super) fn empty(permissions: u32, tick: u64) -> Self {
        Self {
            live: Contents::default(),
            durable: Contents::default(),
            unsynced: Vec::new(),
            has_lost: false,
            reserved: 0,
            modified_tick: tick,
            permissions,
        }
    }
    /// A file that has these bytes durably.
    pub(super) fn durable_from(bytes: &[u8], permissions: u32, tick: u64) -> Self {
        let mut contents = Contents::default();
        contents.write(bytes, 0);
        Self { live: contents.clone(), durable: contents, ..Self::empty(permissions, tick) }
    }

    pub(super) fn live(&self) -> &Contents {
        &self.live
    }
    /// All that a power cut leaves if it loses what is not synced.
    pub(super) fn durable_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.durable.len()).unwrap_or(0)];
        self.durable.read(&mut bytes, 0);
        bytes
    }
    /// Whether a power cut that loses all that is not synced leaves these bytes as they are.
    pub(super) fn is_durable(&self, range: Range<u64>) -> bool {
        self.live.equals(&self.durable, &range)
    }
    /// The bytes in this range, as programs see them; fewer behind the file's end.
    pub(super) fn read(&self, range: Range<u64>) -> Vec<u8> {
        Self::range_of(&self.live, range)
    }
    /// Whether a power cut that loses all that is not synced leaves these bytes there.
    pub(super) fn keeps(&self, bytes: &[u8], range: Range<u64>) -> bool {
        Self::range_of(&self.durable, range) == bytes
    }
    fn range_of(contents: &Contents, range: Range<u64>) -> Vec<u8> {
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0);
        let mut bytes = vec![0; len];
        let read = contents.read(&mut bytes, range.start);
        bytes.truncate(read);
        bytes
    }
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let change = if are_zeros(bytes) {
            Change::Zeros { offset, len: bytes.len() as u64 }
        } else {
            Change::Write { offset, bytes: Arc::from(bytes) }
        };
        self.change(change);
    }
    /// Bytes that it takes from the disk's capacity.
    pub(super) fn space(&self) -> u64 {
        self.live.len().max(self.reserved)
    }
    pub(super) fn reserve(&mut self, upto: u64) {
        self.reserved = self.reserved.max(upto);
    }
    pub(super) fn set_len(&mut self, len: u64) {
        // A file that is cut loses what was promised behind its end.
        if len < self.live.len() {
            self.reserved = 0;
        }
        self.change(Change::Length { len });
    }
    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.unsynced.push(change);
    }
    pub(super) fn sync(&mut self) {
        let is_cut = |change: &Change| matches!(change, Change::Length { len } if *len < self.durable.len);
        let replays = self.has_lost || self.unsynced.iter().any(is_cut);
        for change in self.unsynced.drain(..) {
            if replays {
                change.apply(&mut self.durable);
            } else {
                change.apply_shared(&mut self.durable, &self.live);
            }
        }
    }
    /// A sync that failed: the changes are no longer dirty, and never reach the disk by themselves.
    pub(super) fn lose_dirty(&mut self) {
        self.has_lost |= !self.unsynced.is_empty();
        self.unsynced.clear();
    }
    pub(super) fn is_dirty(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Flips a bit in both lives, as decay on the medium does.
    pub(super) fn flip(&mut self, offset: u64, bit: u8) -> bool {
        for contents in [&mut self.live, &mut self.durable] {
            let mut byte = [0];
            if contents.read(&mut byte, offset) == 1 {
                contents.write(&[byte[0] ^ (1 << (bit % 8))], offset);
            }
        }
        offset < self.live.len()
    }

    /// The file as a power cut leaves it.
    pub(super) fn after_power_cut(&self, fate: Fate, random: &mut fastrand::Rng) -> Self {
        let mut contents = self.durable.clone();
        match fate {
            Fate::Lost => {}
            Fate::Kept => self.unsynced.iter().for_each(|change| change.apply(&mut contents)),
            Fate::Prefix if self.unsynced.is_empty() => {}
            Fate::Prefix => {
                let whole = random.usize(..=self.unsynced.len());
                let (kept, lost) = self.unsynced.split_at(whole);
                kept.iter().for_each(|change| change.apply(&mut contents));
                if let Some(torn) = lost.first() {
                    torn.apply_torn(&mut contents, &mut |_| random.bool());
                }
            }
            Fate::Shuffled => self.shuffle_into(&mut contents, random),
        }
        Self {
            live: contents.clone(),
            durable: contents,
            unsynced: Vec::new(),
            has_lost: false,
            reserved: 0,
            modified_tick: self.modified_tick,
            permissions: self.permissions,
        }
    }

    /// Lets each sector stop at a change of its own, and the length at one too.
    fn shuffle_into(&self, contents: &mut Contents, random: &mut fastrand::Rng) {
        let changes = self.unsynced.len();
        let seed = random.u64(..);
        let stop_of = |sector: u64| {
            // Many sectors at the newest or the durable state, the others between.
            let mut random = fastrand::Rng::with_seed(seed ^ sector.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            match random.u8(..4) {
                0 => 0,
                1 | 2 => changes,
                _ => random.usize(..=changes),
            }
        };
        let mut lengths = vec![contents.len()];
        let mut len = contents.len();
        for (number, change) in self.unsynced.iter().enumerate() {
            len = if matches!(change, Change::Length { .. }) { change.end() } else { len.max(change.end()) };
            lengths.push(len);
            if !matches!(change, Change::Length { len } if *len >= contents.len()) {
                change.apply_torn(contents, &mut |sector| number < stop_of(sector));
            }
        }
        if let Some(len) = random.choice(&lengths) {
            contents.set_len(*len);
        }
    }
}
