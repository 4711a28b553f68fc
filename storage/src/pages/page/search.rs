//! Where a key stands among the keys of a page.

use super::{FIRST, Page, leaf};

/// Among so many items or more a search begins with a guess.
const GUESSED_FROM: usize = 8;

/// A key with its first bytes at hand: most keys differ from it there.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    key: &'a [u8],
    head: u64,
}

impl Wanted<'_> {
    /// Whether `other` is less.
    #[inline]
    fn is_above(self, other: &[u8]) -> bool {
        let head = head(other);
        if head == self.head { other < self.key } else { head < self.head }
    }
}

/// The first eight bytes as a number, with zeros after a shorter key. Where the heads of two keys differ they
/// are in the order of the keys.
#[inline]
fn head(key: &[u8]) -> u64 {
    match key.first_chunk() {
        Some(head) => u64::from_be_bytes(*head),
        None => {
            let head = key.iter().fold(0_u64, |head, byte| head << 8 | u64::from(*byte));
            head.checked_shl(u64::BITS - 8 * key.len() as u32).unwrap_or(0)
        }
    }
}

/// Where `key` would stand among `count` keys from `first` to `last` if they lay evenly: 0 up to `count - 1`.
fn guess(first: &[u8], last: &[u8], key: &[u8], count: usize) -> usize {
    let same = match head(first) ^ head(last) {
        0 => first.iter().zip(last).take_while(|(first, last)| first == last).count(),
        difference => difference.leading_zeros() as usize / 8,
    };
    let number = |key: &[u8]| head(key.get(same..).unwrap_or_default());
    let (first, last, key) = (number(first), number(last), number(key));
    // Few enough bits that the product of a distance and a number of items fits.
    let span = last.saturating_sub(first);
    let shift = 16_u32.saturating_sub(span.leading_zeros());
    let distance = key.saturating_sub(first).min(span) >> shift;
    (distance * (count as u64 - 1)).checked_div(span >> shift).unwrap_or(0) as usize
}

impl Page {
    /// The first data item whose key is not below `key`; the item count if there is none.
    pub fn lower_bound(&self, key: &[u8]) -> usize {
        if self.level() == 0 {
            self.bound_by(leaf::item_key, key)
        } else {
            self.bound_by(|item| item.get(4..).unwrap_or_default(), key)
        }
    }

    #[inline]
    fn bound_by<'a>(&'a self, key_of: impl Fn(&'a [u8]) -> &'a [u8], key: &[u8]) -> usize {
        let (mut low, mut high) = (FIRST, self.item_count().max(FIRST));
        let key_at = |index| key_of(self.item(index));
        let wanted = Wanted { key, head: head(key) };
        let is_below = |index| wanted.is_above(key_at(index));
        if high - low >= GUESSED_FROM {
            // Each look is at memory that is far away: so begin where the key would be if keys lay evenly,
            // and go on from there in growing steps. The first child of a level has no key to go by.
            let from = if key_at(low).is_empty() { low + 1 } else { low };
            let guess = from + guess(key_at(from), key_at(high - 1), key, high - from);
            let mut step = 1;
            if is_below(guess) {
                low = guess + 1;
                while low + step <= high && is_below(low + step - 1) {
                    low += step;
                    step *= 2;
                }
                high = high.min(low + step - 1);
            } else {
                high = guess;
                while high >= low + step && !is_below(high - step) {
                    high -= step;
                    step *= 2;
                }
                low = low.max((high + 1).saturating_sub(step));
            }
        }
        while low < high {
            let middle = low.midpoint(high);
            if is_below(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}
