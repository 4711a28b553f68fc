//! Little-endian fields in byte slices, without indexing that could panic.

/// Fewer bytes were there than a field needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} bytes expected at offset {offset}, {left} are left")]
pub struct Short {
    /// Where the field starts, from the start of the slice.
    pub offset: usize,
    /// Its length in bytes.
    pub wanted: usize,
    /// Bytes that are there.
    pub left: usize,
}

/// Text of several lines as one: `\\` stands for a backslash, `\n` and `\r` for the ends of lines.
pub fn one_line(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

/// The text that [`one_line`] made `line` of; None if it made no such line.
pub fn of_one_line(line: &str) -> Option<String> {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        text.push(match char {
            '\\' => match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            },
            char => char,
        });
    }
    Some(text)
}

/// Reads fields one after the other from a slice.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Fields<'a> {
    /// At the first byte of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }
    /// Bytes read so far.
    pub const fn offset(&self) -> usize {
        self.offset
    }
    /// Bytes that are left.
    pub const fn left(&self) -> usize {
        self.bytes.len() - self.offset
    }
    /// The next `len` bytes.
    ///
    /// # Errors
    /// Fails if fewer bytes are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let end = self.offset.checked_add(len);
        match end.and_then(|end| self.bytes.get(self.offset..end)) {
            Some(found) => {
                self.offset += len;
                Ok(found)
            }
            None => Err(Short { offset: self.offset, wanted: len, left: self.left() }),
        }
    }
    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// Fails if fewer bytes are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let short = Short { offset: self.offset, wanted: N, left: self.left() };
        self.take(N)?.try_into().map_err(|_| short)
    }
    /// Leaves out `len` bytes (padding).
    ///
    /// # Errors
    /// Fails if fewer bytes are left.
    pub fn skip(&mut self, len: usize) -> Result<(), Short> {
        self.take(len).map(|_| ())
    }
    /// All bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        self.offset = self.bytes.len();
        rest
    }
    /// An unsigned byte.
    ///
    /// # Errors
    /// Fails if fewer bytes are left.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Short> {
        self.array().map(|[byte]| byte)
    }
    /// A C bool: 0 is false, all else true.
    ///
    /// # Errors
    /// Fails if fewer bytes are left.
    pub fn bool(&mut self) -> Result<bool, Short> {
        self.u8().map(|byte| byte != 0)
    }
    /// Two bytes.
    ///
    /// # Errors
    /// Fails if fewer bytes are left.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_le_bytes)
    }
    /// Four bytes.
    ///
    /// # Errors
    /// Fails if fewer bytes are left.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_le_bytes)
    }
    /// Four bytes, signed.
    ///
    /// # Errors
    /// Fails if fewer bytes are left.
    pub fn i32(&mut self) -> Result<i32, Short> {
        self.array().map(i32::from_le_bytes)
    }
    /// Eight bytes.
    ///
    /// # Errors
    /// Fails if fewer bytes are left.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_le_bytes)
    }
    /// Eight bytes, signed.
    ///
    /// # Errors
    /// Fails if fewer bytes are left.
    pub fn i64(&mut self) -> Result<i64, Short> {
        self.array().map(i64::from_le_bytes)
    }
}

/// Appends little-endian fields to a buffer.
pub trait PutFields {
    /// Appends raw bytes.
    fn put(&mut self, bytes: &[u8]);
    /// Appends one byte.
    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }
    /// Appends two bytes.
    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }
    /// Appends four bytes.
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
    /// Appends four bytes, signed.
    fn put_i32(&mut self, value: i32) {
        self.put(&value.to_le_bytes());
    }
    /// Appends eight bytes.
    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
    /// Appends eight bytes, signed.
    fn put_i64(&mut self, value: i64) {
        self.put(&value.to_le_bytes());
    }
    /// Appends `len` zero bytes (padding).
    fn put_zeros(&mut self, len: usize) {
        for _ in 0..len {
            self.put(&[0]);
        }
    }
}

impl PutFields for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl<const N: usize> PutFields for smallvec::SmallVec<[u8; N]> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Ends a small text file of ours, whole lines, with one of their CRC-32 that tells damage.
pub fn seal_text(mut lines: String) -> String {
    let crc = crc32fast::hash(lines.as_bytes());
    lines.push_str(&format!("crc={crc:08x}\n"));
    lines
}

/// The lines of such a file; None if it is damaged.
pub fn sealed_text(text: &str) -> Option<&str> {
    let (lines, crc) = text.strip_suffix('\n')?.rsplit_once("crc=")?;
    (crc.len() == 8 && u32::from_str_radix(crc, 16).ok()? == crc32fast::hash(lines.as_bytes()))
        .then_some(lines)
}

/// The lines `key=value` of such a file, in their order, behind a first line that says what it is.
#[derive(Clone, Debug)]
pub struct SealedLines<'t>(std::str::Lines<'t>);

impl<'t> SealedLines<'t> {
    /// Those of a file with this first line; None if it is damaged, or another.
    pub fn of(text: &'t str, first_line: &str) -> Option<Self> {
        let mut lines = sealed_text(text)?.lines();
        (lines.next() == Some(first_line)).then_some(Self(lines))
    }
    /// The value of the next line; None if there is none, or one of another key.
    pub fn value(&mut self, key: &str) -> Option<&'t str> {
        self.0.next()?.strip_prefix(key)?.strip_prefix('=')
    }
    /// The same as what it is the text of; None, too, if it is not.
    pub fn parsed<T: std::str::FromStr>(&mut self, key: &str) -> Option<T> {
        self.value(key)?.parse().ok()
    }
}
