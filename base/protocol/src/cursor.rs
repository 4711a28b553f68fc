//! Bounded reading of a message body.

/// What is wrong with a message that a peer sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A length word outside its bounds.
    #[error("invalid message length {found} of message type \"{kind}\", the limit is {limit}")]
    Length {
        /// Message type byte, or '0' for a startup packet.
        kind: char,
        /// The length word as sent, counting itself.
        found: i64,
        /// The largest accepted.
        limit: usize,
    },
    /// A message type that does not exist or does not belong here.
    #[error("invalid frontend message type {0}")]
    UnknownType(u8),
    /// A body that ends early, runs on, or holds an impossible value.
    #[error("malformed message \"{kind}\": {what}")]
    Malformed {
        /// Message type byte, or '0' for a startup packet.
        kind: char,
        /// What did not fit.
        what: &'static str,
    },
    /// Text that is not UTF-8.
    #[error("invalid byte sequence for encoding \"UTF8\" in message \"{0}\"")]
    NotUtf8(char),
}

/// Reads big-endian fields from a message body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    kind: char,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(kind: u8, body: &'a [u8]) -> Self {
        Self { kind: char::from(kind), rest: body }
    }

    pub(crate) fn malformed(&self, what: &'static str) -> ProtocolError {
        ProtocolError::Malformed { kind: self.kind, what }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], ProtocolError> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.malformed("insufficient data left"));
        };
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.malformed("insufficient data left"));
        };
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ProtocolError> {
        self.array::<1>().map(|[byte]| byte)
    }
    pub(crate) fn i16(&mut self) -> Result<i16, ProtocolError> {
        self.array().map(i16::from_be_bytes)
    }
    /// A count of items: never negative, and no more than `bytes_each` of what is left allow.
    pub(crate) fn count(&mut self, bytes_each: usize) -> Result<usize, ProtocolError> {
        let count = usize::from(u16::from_be_bytes(self.array()?));
        if count.saturating_mul(bytes_each) > self.rest.len() {
            return Err(self.malformed("more items announced than sent"));
        }
        Ok(count)
    }
    pub(crate) fn i32(&mut self) -> Result<i32, ProtocolError> {
        self.array().map(i32::from_be_bytes)
    }
    pub(crate) fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.array().map(u32::from_be_bytes)
    }
    pub(crate) fn i64(&mut self) -> Result<i64, ProtocolError> {
        self.array().map(i64::from_be_bytes)
    }
    pub(crate) fn u64(&mut self) -> Result<u64, ProtocolError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Bytes up to a zero byte, which is consumed.
    pub(crate) fn cstr_bytes(&mut self) -> Result<&'a [u8], ProtocolError> {
        let Some(end) = self.rest.iter().position(|byte| *byte == 0) else {
            return Err(self.malformed("string without its terminating zero"));
        };
        let (head, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(head)
    }

    pub(crate) fn cstr(&mut self) -> Result<&'a str, ProtocolError> {
        let (kind, bytes) = (self.kind, self.cstr_bytes()?);
        // Most names are those of what has none.
        if bytes.is_empty() {
            return Ok("");
        }
        std::str::from_utf8(bytes).map_err(|_| ProtocolError::NotUtf8(kind))
    }

    /// A value after its length word; -1 is NULL.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Option<&'a [u8]>, ProtocolError> {
        match self.i32()? {
            -1 => Ok(None),
            len => match usize::try_from(len) {
                Ok(len) => self.take(len).map(Some),
                Err(_) => Err(self.malformed("negative value length")),
            },
        }
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn finish(&self) -> Result<(), ProtocolError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed("extra data after its fields")) }
    }
}
