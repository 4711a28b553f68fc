//! The first packet of a connection: no type byte, a length word, a version or request code.

use crate::cursor::{Cursor, ProtocolError};
use crate::frame::{put_cstr, with_length};
use bytes::{BufMut, BytesMut};

/// The largest startup packet, length word included.
pub const STARTUP_PACKET_BYTES_MAX: usize = 10_000;

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const VERSION_3_0: u32 = 3 << 16;

/// What a client asks first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Startup {
    /// SSLRequest: answer one byte, 'S' or 'N', and read another startup packet.
    Ssl,
    /// GSSENCRequest: answer one byte, 'G' or 'N', and read another startup packet.
    GssEncryption,
    /// CancelRequest: never answered.
    Cancel(CancelKey),
    /// A session.
    Session(StartupParameters),
}

/// What names a session in a CancelRequest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CancelKey {
    /// The process number of BackendKeyData.
    pub pid: i32,
    /// The secret of BackendKeyData.
    pub secret: i32,
}

/// The parameters of a session's startup packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartupParameters {
    /// Protocol version asked for: major in the high half, minor in the low.
    pub version: u32,
    /// Names and values in the order sent.
    pub parameters: Vec<(String, String)>,
}

/// What `replication` in the startup packet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicationMode {
    /// An ordinary session.
    Off,
    /// Physical replication commands, no database.
    Physical,
    /// Replication commands and SQL in a database (`replication=database`).
    Database,
}

impl StartupParameters {
    /// The last value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
    /// The major protocol version.
    pub const fn major(&self) -> u32 {
        self.version >> 16
    }
    /// The minor protocol version.
    pub const fn minor(&self) -> u32 {
        self.version & 0xFFFF
    }
    /// The `replication` parameter; Err holds a value that is neither a boolean nor "database".
    ///
    /// # Errors
    ///
    /// Fails with the value if it is no Boolean and not `database`.
    pub fn replication(&self) -> Result<ReplicationMode, String> {
        let Some(value) = self.get("replication") else { return Ok(ReplicationMode::Off) };
        if value == "database" {
            return Ok(ReplicationMode::Database);
        }
        // A Boolean's word, or what it begins with as long as that is no other's.
        let lower = value.to_ascii_lowercase();
        let begins = |words: &[&str]| !lower.is_empty() && words.iter().any(|word| word.starts_with(&lower));
        if begins(&["true", "yes"]) || lower == "on" || lower == "1" {
            Ok(ReplicationMode::Physical)
        } else if begins(&["false", "no"]) || lower == "off" || lower == "of" || lower == "0" {
            Ok(ReplicationMode::Off)
        } else {
            Err(value.to_owned())
        }
    }
    /// Parameters of protocol extensions (`_pq_.` names), none of which is known; for
    /// NegotiateProtocolVersion.
    pub fn extensions(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_."))
    }
}

/// Looks at the startup packet at the head of `buf`: its whole length, or None while it is not all there.
///
/// # Errors
///
/// Fails if the length is impossible or above its bound.
pub fn peek(buf: &[u8]) -> Result<Option<usize>, ProtocolError> {
    let Some((word, _)) = buf.split_first_chunk::<4>() else { return Ok(None) };
    let word = u32::from_be_bytes(*word);
    let len = usize::try_from(word).unwrap_or(usize::MAX);
    if !(8..=STARTUP_PACKET_BYTES_MAX).contains(&len) {
        return Err(ProtocolError::Length {
            kind: '0',
            found: i64::from(word.cast_signed()),
            limit: STARTUP_PACKET_BYTES_MAX,
        });
    }
    Ok((buf.len() >= len).then_some(len))
}

/// Reads a whole startup packet, length word included.
///
/// # Errors
///
/// Fails if the packet is malformed, or of an unknown version.
pub fn decode(packet: &[u8]) -> Result<Startup, ProtocolError> {
    let mut cursor = Cursor::new(b'0', packet);
    cursor.u32()?;
    match cursor.u32()? {
        SSL_REQUEST => cursor.finish().map(|()| Startup::Ssl),
        GSSENC_REQUEST => cursor.finish().map(|()| Startup::GssEncryption),
        CANCEL_REQUEST => {
            let key = CancelKey { pid: cursor.i32()?, secret: cursor.i32()? };
            cursor.finish().map(|()| Startup::Cancel(key))
        }
        version => {
            let mut parameters = Vec::new();
            if version >> 16 == 3 {
                loop {
                    let name = cursor.cstr()?;
                    if name.is_empty() {
                        break;
                    }
                    let value = match name {
                        // It is for people to read, and shown in ASCII.
                        "application_name" => readable(cursor.cstr_bytes()?),
                        _ => cursor.cstr()?.to_owned(),
                    };
                    parameters.push((name.to_owned(), value));
                }
                cursor.finish()?;
            }
            Ok(Startup::Session(StartupParameters { version, parameters }))
        }
    }
}

/// A text as it is; of one that is not UTF-8 each byte beyond ASCII is a question mark.
fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect(),
    }
}

/// Appends a session's startup packet, protocol 3.0.
pub fn encode_session<'a>(out: &mut BytesMut, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) {
    with_length(out, |body| {
        body.put_u32(VERSION_3_0);
        for (name, value) in parameters {
            put_cstr(body, name);
            put_cstr(body, value);
        }
        body.put_u8(0);
    });
}

/// Appends an SSLRequest.
pub fn encode_ssl_request(out: &mut BytesMut) {
    with_length(out, |body| body.put_u32(SSL_REQUEST));
}

/// Appends a CancelRequest.
pub fn encode_cancel(out: &mut BytesMut, key: CancelKey) {
    with_length(out, |body| {
        body.put_u32(CANCEL_REQUEST);
        body.put_i32(key.pid);
        body.put_i32(key.secret);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_arrive_as_sent_and_every_cut_is_refused_or_incomplete() {
        let mut out = BytesMut::new();
        encode_session(&mut out, [("user", "ann"), ("replication", "true"), ("user", "bob")]);
        assert_eq!(peek(&out), Ok(Some(out.len())));
        let Ok(Startup::Session(session)) = decode(&out) else { panic!("no session") };
        assert_eq!((session.major(), session.minor(), session.get("user")), (3, 0, Some("bob")));
        assert_eq!(session.replication(), Ok(ReplicationMode::Physical));
        let mode = |value: &str| {
            let parameters = vec![("replication".to_owned(), value.to_owned())];
            StartupParameters { parameters, ..session.clone() }.replication()
        };
        for value in ["tr", "Y", "ON", "1", "tRUE"] {
            assert_eq!(mode(value), Ok(ReplicationMode::Physical), "{value}");
        }
        for value in ["of", "F", "no", "0"] {
            assert_eq!(mode(value), Ok(ReplicationMode::Off), "{value}");
        }
        for value in ["o", "", "truee", "Database", "2"] {
            assert!(mode(value).is_err(), "{value}");
        }
        for cut in 8..out.len() {
            assert_eq!(peek(&out[..cut]), Ok(None));
            assert!(decode(&out[..cut]).is_err());
        }

        let key = CancelKey { pid: 4_200_000, secret: -5 };
        out.clear();
        encode_cancel(&mut out, key);
        assert_eq!(decode(&out), Ok(Startup::Cancel(key)));
        out.clear();
        encode_ssl_request(&mut out);
        assert_eq!(decode(&out), Ok(Startup::Ssl));
    }

    #[test]
    fn a_session_may_call_itself_what_is_no_utf_8() {
        let mut out = BytesMut::new();
        encode_session(&mut out, [("application_name", "a12b")]);
        let of = |value: &[u8; 2], name: &[u8]| {
            let mut packet = out.to_vec();
            let at = packet.windows(2).position(|window| window == b"12").unwrap();
            packet[at..at + 2].copy_from_slice(value);
            packet[8..8 + name.len()].copy_from_slice(name);
            decode(&packet)
        };
        for (value, shown) in [(b"\xff1", "a?1b"), (b"\xc3\xbc", "aüb"), (b"\xc3\xc3", "a??b")] {
            let Ok(Startup::Session(session)) = of(value, b"") else { panic!("no session") };
            assert_eq!(session.get("application_name"), Some(shown));
        }
        assert_eq!(of(b"\xff1", b"b"), Err(ProtocolError::NotUtf8('0')));
    }

    #[test]
    fn lengths_outside_their_bounds_are_refused() {
        for word in [0_u32, 7, 10_001, u32::MAX] {
            assert!(peek(&word.to_be_bytes()).is_err(), "{word}");
        }
    }
}
