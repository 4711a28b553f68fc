//! Messages as they stand in a buffer: a type byte, a length word that counts itself, a body.

use crate::cursor::ProtocolError;
use bytes::{BufMut, BytesMut};

/// The largest messages that a receiver takes, length words included. Anything over them is a protocol
/// violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// For messages that carry queries or data (Query, Parse, Bind, CopyData, FunctionCall, DataRow...).
    pub large: usize,
    /// For all others.
    pub small: usize,
}

impl FrameLimits {
    /// What a server allows: PostgreSQL's 10,000 bytes for small messages, 256 MiB for data.
    pub const SERVER: Self = Self { large: 256 << 20, small: 10_000 };
    /// What a server allows before authentication (password and SASL messages).
    pub const AUTHENTICATION: Self = Self { large: 10_000, small: 10_000 };
    /// Anything that PostgreSQL sends.
    pub const CLIENT: Self = Self { large: (1 << 30) - 1, small: (1 << 30) - 1 };

    fn of(self, kind: u8) -> usize {
        match kind {
            b'Q' | b'P' | b'B' | b'd' | b'F' | b'p' => self.large,
            _ => self.small,
        }
    }
}

/// The largest message of a kind that a client takes from a server, its length word included. Data are as
/// large as PostgreSQL's may be, those of a COPY only while one is under way; of the others most are as small
/// as libpq has it.
pub(crate) fn client_limit(kind: u8, copies: bool) -> usize {
    match kind {
        b'D' => FrameLimits::CLIENT.large,
        b'd' if copies => FrameLimits::CLIENT.large,
        b'E' | b'T' | b't' => 1 << 20,
        b'N' => 64 << 10,
        _ => 30_000,
    }
}

/// A message that lies whole at the head of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The type byte.
    pub kind: u8,
    /// Bytes of the whole message: type byte, length word and body.
    pub len: usize,
}

impl Frame {
    /// Bytes before the body.
    pub const HEADER: usize = 5;

    /// Looks at the message at the head of `buf`: None while it is not all there.
    ///
    /// The length word is checked as soon as it is there, so that a buffer never grows for a message over its
    /// limit.
    ///
    /// # Errors
    ///
    /// Fails if the length is impossible or above its bound.
    #[inline]
    pub fn peek(buf: &[u8], limits: FrameLimits) -> Result<Option<Self>, ProtocolError> {
        Self::peek_by(buf, |kind| limits.of(kind))
    }

    /// The same with a limit for each kind of message.
    ///
    /// # Errors
    ///
    /// As [`Frame::peek`].
    #[inline]
    pub fn peek_by(buf: &[u8], limit_of: impl Fn(u8) -> usize) -> Result<Option<Self>, ProtocolError> {
        let Some((&[kind, a, b, c, d], _)) = buf.split_first_chunk::<5>() else { return Ok(None) };
        let word = u32::from_be_bytes([a, b, c, d]);
        let limit = limit_of(kind);
        let len = usize::try_from(word).unwrap_or(usize::MAX);
        if len < 4 || len > limit {
            return Err(ProtocolError::Length {
                kind: char::from(kind),
                found: i64::from(word.cast_signed()),
                limit,
            });
        }
        let len = len + 1;
        Ok((buf.len() >= len).then_some(Self { kind, len }))
    }

    /// Bytes still missing of the message at the head of `buf` (which `peek` found incomplete), to reserve
    /// room for.
    #[inline]
    pub fn missing(buf: &[u8]) -> usize {
        match buf.split_first_chunk::<5>() {
            Some((&[_, a, b, c, d], _)) => {
                let word = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                word.saturating_add(1).saturating_sub(buf.len())
            }
            None => Self::HEADER - buf.len().min(Self::HEADER),
        }
    }

    /// The body of this message, which stands at the head of `buf`.
    #[inline]
    pub fn body<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        buf.get(Self::HEADER..self.len).unwrap_or_default()
    }
}

/// Appends a message whose body `fill` writes; the length word is set afterwards.
#[inline]
pub fn message(out: &mut BytesMut, kind: u8, fill: impl FnOnce(&mut BytesMut)) {
    out.reserve(64);
    out.put_u8(kind);
    with_length(out, fill);
}

/// Appends a length word and what `fill` writes; the word counts itself.
#[inline]
pub(crate) fn with_length(out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_u32(0);
    fill(out);
    let len = u32::try_from(out.len() - at).unwrap_or(u32::MAX);
    if let Some(word) = out.get_mut(at..at + 4) {
        word.copy_from_slice(&len.to_be_bytes());
    }
}

/// Appends a string and its terminating zero; the string ends at its first zero byte, if it holds one.
#[inline]
pub(crate) fn put_cstr(out: &mut BytesMut, text: &str) {
    let text = text.as_bytes();
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    out.put_slice(text.get(..end).unwrap_or_default());
    out.put_u8(0);
}

/// A count for a 16-bit field; the callers' lists are bounded far below its limit.
#[inline]
pub(crate) fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u16(u16::try_from(count).unwrap_or(u16::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_seen_only_when_whole() {
        let mut out = BytesMut::new();
        message(&mut out, b'Q', |body| put_cstr(body, "select 1"));
        for cut in 0..out.len() {
            assert_eq!(Frame::peek(&out[..cut], FrameLimits::SERVER), Ok(None));
        }
        let frame = Frame::peek(&out, FrameLimits::SERVER).unwrap().unwrap();
        assert_eq!((frame.kind, frame.len, frame.body(&out)), (b'Q', out.len(), &b"select 1\0"[..]));
        assert_eq!(Frame::missing(&out[..7]), out.len() - 7);
    }

    #[test]
    fn a_length_outside_its_bounds_is_refused_before_the_body_arrives() {
        for (header, bad) in [
            (*b"Q\0\0\0\x03", true),
            (*b"Q\xff\xff\xff\xff", true),
            (*b"Q\x7f\xff\xff\xff", true),
            (*b"S\0\0\x27\x11", true),
            (*b"S\0\0\x27\x10", false),
            (*b"Q\0\0\x27\x11", false),
        ] {
            assert_eq!(Frame::peek(&header, FrameLimits::SERVER).is_err(), bad, "{header:?}");
        }
    }
}
