//! New rows on their way into a tree, many at a time.

/// Rows that a statement is about to insert into one tree: their keys and values side by side in one piece of
/// memory.
#[derive(Debug, Default)]
pub struct RowBatch {
    bytes: Vec<u8>,
    rows: Vec<Place>,
    /// The keys rise.
    ordered: bool,
}

/// Where a row is in the memory.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    value: usize,
    end: usize,
    tag: u64,
}

impl RowBatch {
    /// Adds a row of which `key` and `value` append the bytes, or none where one of them fails. `tag` is for
    /// the caller, and rises.
    ///
    /// # Errors
    /// Fails with what `key` or `value` fails with.
    pub fn push<E>(
        &mut self,
        tag: u64,
        key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        value: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        if let Err(error) = key(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        let middle = self.bytes.len();
        if let Err(error) = value(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        let place = Place { start, value: middle, end: self.bytes.len(), tag };
        self.ordered = match self.rows.last() {
            Some(last) => self.ordered && self.key(*last) < self.key(place),
            None => true,
        };
        self.rows.push(place);
        Ok(())
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.bytes.clear();
    }
    /// Key, value and tag of each row, by rising tag.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], &[u8], u64)> {
        self.rows.iter().map(|place| (self.key(*place), self.value(*place), place.tag))
    }

    fn key(&self, place: Place) -> &[u8] {
        self.bytes.get(place.start..place.value).unwrap_or_default()
    }
    fn value(&self, place: Place) -> &[u8] {
        self.bytes.get(place.value..place.end).unwrap_or_default()
    }

    /// Puts the rows in the order of their keys, equal ones in that of their tags. Whether they stood in that
    /// order.
    pub(super) fn sort(&mut self) -> bool {
        if self.ordered {
            return true;
        }
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort_by(|left, right| self.key(*left).cmp(self.key(*right)));
        self.rows = rows;
        false
    }
    /// Keys and values in the order in which [`RowBatch::sort`] left them.
    pub(super) fn items(&self) -> Vec<super::large::KeyValue<'_>> {
        self.rows.iter().map(|place| (self.key(*place), Some(self.value(*place)))).collect()
    }
    /// Forgets the first rows of that order; the others are in the order of their tags again.
    pub(super) fn forget_first(&mut self, count: usize) {
        self.rows.drain(..count);
        if self.rows.is_empty() {
            self.bytes.clear();
        }
        self.rows.sort_by_key(|place| place.tag);
        // Looked at anew where rows are added.
        self.ordered = self.rows.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(batch: &mut RowBatch, tag: u64, key: &str, value: &str) {
        let bytes = |text: &str| {
            let text = text.to_owned();
            move |out: &mut Vec<u8>| -> Result<(), ()> {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
        };
        batch.push(tag, bytes(key), bytes(value)).unwrap();
    }

    #[test]
    fn what_is_left_stands_in_the_order_in_which_it_came() {
        let mut batch = RowBatch::default();
        for (tag, key) in (1..).zip(["c", "a", "c", "b", "d"]) {
            push(&mut batch, tag, key, &format!("{key}{tag}"));
        }
        batch.sort();
        let keys: Vec<&[u8]> = batch.items().iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, [&b"a"[..], b"b", b"c", b"c", b"d"]);
        batch.forget_first(2);
        let left: Vec<_> = batch.rows().map(|(_, value, tag)| (value.to_vec(), tag)).collect();
        assert_eq!(left, [(b"c1".to_vec(), 1), (b"c3".to_vec(), 3), (b"d5".to_vec(), 5)]);
    }

    #[test]
    fn a_row_that_fails_leaves_nothing() {
        let mut batch = RowBatch::default();
        push(&mut batch, 1, "a", "1");
        let write = |out: &mut Vec<u8>| -> Result<(), ()> {
            out.push(b'x');
            Ok(())
        };
        let fail = |out: &mut Vec<u8>| -> Result<(), ()> {
            out.push(b'y');
            Err(())
        };
        batch.push(2, write, fail).unwrap_err();
        batch.push(3, fail, write).unwrap_err();
        push(&mut batch, 4, "b", "2");
        let rows: Vec<_> = batch.rows().map(|(key, value, _)| [key, value].concat()).collect();
        assert_eq!(rows, [b"a1".to_vec(), b"b2".to_vec()]);
    }
}
