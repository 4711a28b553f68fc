//! The payloads of CopyData messages while WAL streams.

use super::WireLsn;
use crate::cursor::{Cursor, ProtocolError};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use host::Timestamp;

/// Bytes of an XLogData payload before the WAL itself: 'w', start, end, clock.
pub const XLOG_DATA_HEADER_BYTES: usize = 1 + 8 + 8 + 8;

/// A message from primary to standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromPrimary {
    /// XLogData: WAL bytes.
    Data {
        /// Position of the first byte.
        start: WireLsn,
        /// The end of WAL on the server, exclusive.
        end: WireLsn,
        /// The server's clock.
        clock: Timestamp,
        /// The bytes.
        wal: Bytes,
    },
    /// A keepalive.
    Keepalive(Keepalive),
    /// A message between Plimsoll nodes: its type byte, in upper case, and the rest.
    Extension(u8, Bytes),
}

/// A keepalive of the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// The end of WAL on the server, exclusive.
    pub end: WireLsn,
    /// The server's clock.
    pub clock: Timestamp,
    /// Answer with a status update at once.
    pub reply_requested: bool,
}

/// A message from standby to primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromStandby {
    /// How far the standby is.
    Status(StatusUpdate),
    /// What its queries still need.
    Feedback(HotStandbyFeedback),
    /// A message between Plimsoll nodes: its type byte, in upper case, and the rest.
    Extension(u8, Bytes),
}

/// How far a standby is. All positions are exclusive: one past the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusUpdate {
    /// Written to its files.
    pub written: WireLsn,
    /// Durable.
    pub flushed: WireLsn,
    /// Replayed; the protocol's word for it is this one.
    pub applied: WireLsn,
    /// The standby's clock.
    pub clock: Timestamp,
    /// Answer with a keepalive at once.
    pub reply_requested: bool,
}

/// The oldest transactions that a standby's queries still see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotStandbyFeedback {
    /// The standby's clock.
    pub clock: Timestamp,
    /// Oldest xid its queries need; 0 turns feedback off.
    pub xmin: u32,
    /// Epoch of `xmin`.
    pub xmin_epoch: u32,
    /// Oldest xid that its slots' catalogues need.
    pub catalog_xmin: u32,
    /// Epoch of `catalog_xmin`.
    pub catalog_epoch: u32,
}

fn after(payload: &Bytes, len: usize) -> Bytes {
    let mut rest = payload.clone();
    rest.advance(len.min(rest.len()));
    rest
}

impl FromPrimary {
    /// Reads the payload of a CopyData; the WAL bytes are shared with it.
    ///
    /// # Errors
    ///
    /// Fails if the payload is cut off, or of an unknown type.
    pub fn decode(payload: &Bytes) -> Result<Self, ProtocolError> {
        let mut cursor = Cursor::new(b'd', payload);
        match cursor.u8()? {
            b'w' => {
                let (start, end) = (WireLsn::new(cursor.u64()?), WireLsn::new(cursor.u64()?));
                let clock = Timestamp::from_micros(cursor.i64()?);
                Ok(Self::Data { start, end, clock, wal: after(payload, XLOG_DATA_HEADER_BYTES) })
            }
            b'k' => {
                let end = WireLsn::new(cursor.u64()?);
                let clock = Timestamp::from_micros(cursor.i64()?);
                let reply_requested = cursor.u8()? != 0;
                cursor.finish()?;
                Ok(Self::Keepalive(Keepalive { end, clock, reply_requested }))
            }
            kind if kind.is_ascii_uppercase() => Ok(Self::Extension(kind, after(payload, 1))),
            _ => Err(cursor.malformed("unknown replication message type")),
        }
    }
}

impl FromStandby {
    /// Reads the payload of a CopyData.
    ///
    /// # Errors
    ///
    /// Fails if the payload is cut off, or of an unknown type.
    pub fn decode(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut cursor = Cursor::new(b'd', payload);
        let decoded = match cursor.u8()? {
            b'r' => Self::Status(StatusUpdate {
                written: WireLsn::new(cursor.u64()?),
                flushed: WireLsn::new(cursor.u64()?),
                applied: WireLsn::new(cursor.u64()?),
                clock: Timestamp::from_micros(cursor.i64()?),
                reply_requested: cursor.u8()? != 0,
            }),
            b'h' => Self::Feedback(HotStandbyFeedback {
                clock: Timestamp::from_micros(cursor.i64()?),
                xmin: cursor.u32()?,
                xmin_epoch: cursor.u32()?,
                catalog_xmin: cursor.u32()?,
                catalog_epoch: cursor.u32()?,
            }),
            kind if kind.is_ascii_uppercase() => Self::Extension(kind, Bytes::copy_from_slice(cursor.rest())),
            _ => return Err(cursor.malformed("unknown replication message type")),
        };
        cursor.finish()?;
        Ok(decoded)
    }
}

/// Appends an XLogData payload up to its WAL bytes, which the caller appends or sends itself.
pub fn encode_xlog_data_header(out: &mut BytesMut, start: WireLsn, end: WireLsn, clock: Timestamp) {
    out.put_u8(b'w');
    out.put_u64(start.get());
    out.put_u64(end.get());
    out.put_i64(clock.micros());
}

/// Appends a keepalive payload.
pub fn encode_keepalive(out: &mut BytesMut, keepalive: &Keepalive) {
    out.put_u8(b'k');
    out.put_u64(keepalive.end.get());
    out.put_i64(keepalive.clock.micros());
    out.put_u8(u8::from(keepalive.reply_requested));
}

/// Appends a status update payload.
pub fn encode_status_update(out: &mut BytesMut, status: &StatusUpdate) {
    out.put_u8(b'r');
    out.put_u64(status.written.get());
    out.put_u64(status.flushed.get());
    out.put_u64(status.applied.get());
    out.put_i64(status.clock.micros());
    out.put_u8(u8::from(status.reply_requested));
}

/// Appends a hot standby feedback payload.
pub fn encode_feedback(out: &mut BytesMut, feedback: &HotStandbyFeedback) {
    out.put_u8(b'h');
    out.put_i64(feedback.clock.micros());
    out.put_u32(feedback.xmin);
    out.put_u32(feedback.xmin_epoch);
    out.put_u32(feedback.catalog_xmin);
    out.put_u32(feedback.catalog_epoch);
}

/// Appends a payload between Plimsoll nodes; `kind` is an upper-case letter.
pub fn encode_extension(out: &mut BytesMut, kind: u8, rest: &[u8]) {
    debug_assert!(kind.is_ascii_uppercase(), "lower-case letters are PostgreSQL's");
    out.put_u8(kind);
    out.put_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_sent_and_every_cut_of_a_fixed_one_is_refused() {
        let clock = Timestamp::from_micros(-7);
        let mut out = BytesMut::new();
        encode_xlog_data_header(&mut out, WireLsn::new(5), WireLsn::new(9), clock);
        assert_eq!(out.len(), XLOG_DATA_HEADER_BYTES);
        out.put_slice(b"wal!");
        let got = FromPrimary::decode(&out.split().freeze());
        let (start, end, wal) = (WireLsn::new(5), WireLsn::new(9), Bytes::from_static(b"wal!"));
        assert_eq!(got, Ok(FromPrimary::Data { start, end, clock, wal }));

        let keepalive = Keepalive { end, clock, reply_requested: true };
        encode_keepalive(&mut out, &keepalive);
        let payload = out.split().freeze();
        assert_eq!(FromPrimary::decode(&payload), Ok(FromPrimary::Keepalive(keepalive)));
        for cut in 0..payload.len() {
            assert!(FromPrimary::decode(&payload.slice(..cut)).is_err());
        }

        let status = StatusUpdate {
            written: WireLsn::new(3),
            flushed: WireLsn::new(2),
            applied: WireLsn::new(1),
            clock,
            reply_requested: false,
        };
        encode_status_update(&mut out, &status);
        let payload = out.split();
        assert_eq!(FromStandby::decode(&payload), Ok(FromStandby::Status(status)));
        for cut in 0..payload.len() {
            assert!(FromStandby::decode(&payload[..cut]).is_err());
        }

        let feedback =
            HotStandbyFeedback { clock, xmin: 4, xmin_epoch: 1, catalog_xmin: 0, catalog_epoch: 0 };
        encode_feedback(&mut out, &feedback);
        assert_eq!(FromStandby::decode(&out.split()), Ok(FromStandby::Feedback(feedback)));
        encode_extension(&mut out, b'H', b"x");
        let extension = FromStandby::Extension(b'H', Bytes::from_static(b"x"));
        assert_eq!(FromStandby::decode(&out), Ok(extension));
    }
}
