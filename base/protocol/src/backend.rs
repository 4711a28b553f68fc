//! Messages from server to client: encoders straight into the write buffer, and the client's decoder.

use crate::cursor::{Cursor, ProtocolError};
use crate::frame::{message, put_count, put_cstr, with_length};
use crate::report::Report;
use crate::startup::CancelKey;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// How a value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// The type's text form.
    #[default]
    Text,
    /// The type's binary form.
    Binary,
}

impl Format {
    /// The format code on the wire.
    pub const fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// The transaction status of ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Not in a transaction block.
    Idle,
    /// In a transaction block.
    Block,
    /// In a failed transaction block.
    Failed,
}

impl TransactionStatus {
    /// The byte on the wire.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Block => b'T',
            Self::Failed => b'E',
        }
    }
}

/// One column of a RowDescription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDescription<'a> {
    /// The column's name.
    pub name: &'a str,
    /// OID of its table, or 0.
    pub table: u32,
    /// Its number in that table, or 0.
    pub column: i16,
    /// OID of its type.
    pub data_type: u32,
    /// The type's length in bytes, negative for variable width.
    pub type_len: i16,
    /// The type's modifier, or -1.
    pub type_modifier: i32,
    /// How its values are written.
    pub format: Format,
}

impl<'a> FieldDescription<'a> {
    /// A column that is no table's, without a modifier, written as text.
    pub const fn computed(name: &'a str, data_type: u32, type_len: i16) -> Self {
        Self { name, table: 0, column: 0, data_type, type_len, type_modifier: -1, format: Format::Text }
    }
}

/// Appends AuthenticationOk.
pub fn authentication_ok(out: &mut BytesMut) {
    message(out, b'R', |body| body.put_u32(0));
}

/// Appends AuthenticationCleartextPassword.
pub fn authentication_cleartext_password(out: &mut BytesMut) {
    message(out, b'R', |body| body.put_u32(3));
}

/// Appends AuthenticationSASL with these mechanisms.
pub fn authentication_sasl(out: &mut BytesMut, mechanisms: &[&str]) {
    message(out, b'R', |body| {
        body.put_u32(10);
        mechanisms.iter().for_each(|mechanism| put_cstr(body, mechanism));
        body.put_u8(0);
    });
}

/// Appends AuthenticationSASLContinue.
pub fn authentication_sasl_continue(out: &mut BytesMut, data: &[u8]) {
    message(out, b'R', |body| {
        body.put_u32(11);
        body.put_slice(data);
    });
}

/// Appends AuthenticationSASLFinal.
pub fn authentication_sasl_final(out: &mut BytesMut, data: &[u8]) {
    message(out, b'R', |body| {
        body.put_u32(12);
        body.put_slice(data);
    });
}

/// Appends NegotiateProtocolVersion: the newest minor version served and the extensions not understood.
pub fn negotiate_protocol_version<'a>(out: &mut BytesMut, unknown: impl ExactSizeIterator<Item = &'a str>) {
    message(out, b'v', |body| {
        // The newest version of the protocol that there is here, in full: 3.0.
        body.put_u32(3 << 16);
        body.put_u32(u32::try_from(unknown.len()).unwrap_or(u32::MAX));
        unknown.for_each(|name| put_cstr(body, name));
    });
}

/// Appends BackendKeyData.
pub fn backend_key_data(out: &mut BytesMut, key: CancelKey) {
    message(out, b'K', |body| {
        body.put_i32(key.pid);
        body.put_i32(key.secret);
    });
}

/// Appends ParameterStatus.
pub fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |body| {
        put_cstr(body, name);
        put_cstr(body, value);
    });
}

/// Appends ReadyForQuery.
#[inline]
pub fn ready_for_query(out: &mut BytesMut, status: TransactionStatus) {
    out.put_slice(&[b'Z', 0, 0, 0, 5, status.byte()]);
}

/// Appends ParseComplete.
#[inline]
pub fn parse_complete(out: &mut BytesMut) {
    out.put_slice(b"1\0\0\0\x04");
}

/// Appends BindComplete.
#[inline]
pub fn bind_complete(out: &mut BytesMut) {
    out.put_slice(b"2\0\0\0\x04");
}

/// Appends CloseComplete.
#[inline]
pub fn close_complete(out: &mut BytesMut) {
    out.put_slice(b"3\0\0\0\x04");
}

/// Appends NoData.
#[inline]
pub fn no_data(out: &mut BytesMut) {
    out.put_slice(b"n\0\0\0\x04");
}

/// Appends EmptyQueryResponse.
pub fn empty_query_response(out: &mut BytesMut) {
    out.put_slice(b"I\0\0\0\x04");
}

/// Appends PortalSuspended.
pub fn portal_suspended(out: &mut BytesMut) {
    out.put_slice(b"s\0\0\0\x04");
}

/// Appends CommandComplete.
#[inline]
pub fn command_complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |body| put_cstr(body, tag));
}

/// Appends ParameterDescription.
pub fn parameter_description(out: &mut BytesMut, types: impl ExactSizeIterator<Item = u32>) {
    message(out, b't', |body| {
        put_count(body, types.len());
        types.for_each(|oid| body.put_u32(oid));
    });
}

/// Appends RowDescription.
pub fn row_description<'a>(out: &mut BytesMut, fields: impl ExactSizeIterator<Item = FieldDescription<'a>>) {
    message(out, b'T', |body| {
        put_count(body, fields.len());
        for field in fields {
            put_cstr(body, field.name);
            body.put_u32(field.table);
            body.put_i16(field.column);
            body.put_u32(field.data_type);
            body.put_i16(field.type_len);
            body.put_i32(field.type_modifier);
            body.put_i16(field.format.code());
        }
    });
}

/// Appends a DataRow of `columns` values, which `fill` writes with [`null`] and [`value`].
#[inline]
pub fn data_row(out: &mut BytesMut, columns: usize, fill: impl FnOnce(&mut BytesMut)) {
    message(out, b'D', |body| {
        put_count(body, columns);
        fill(body);
    });
}

/// Appends a NULL to a DataRow.
#[inline]
pub fn null(row: &mut BytesMut) {
    row.put_i32(-1);
}

/// Appends a value to a DataRow; `fill` writes its bytes.
#[inline]
pub fn value(row: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    let at = row.len();
    row.put_u32(0);
    fill(row);
    let len = u32::try_from(row.len() - at - 4).unwrap_or(u32::MAX);
    if let Some(word) = row.get_mut(at..at + 4) {
        word.copy_from_slice(&len.to_be_bytes());
    }
}

/// Appends a DataRow of text values.
pub fn text_row(out: &mut BytesMut, values: &[Option<&str>]) {
    data_row(out, values.len(), |row| {
        for text in values {
            match text {
                Some(text) => value(row, |row| row.put_slice(text.as_bytes())),
                None => null(row),
            }
        }
    });
}

/// Which way a COPY goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyDirection {
    /// From client to server.
    In,
    /// From server to client.
    Out,
    /// Both ways (replication).
    Both,
}

/// Appends CopyInResponse, CopyOutResponse or CopyBothResponse.
pub fn copy_response(out: &mut BytesMut, direction: CopyDirection, format: Format, columns: usize) {
    let kind = match direction {
        CopyDirection::In => b'G',
        CopyDirection::Out => b'H',
        CopyDirection::Both => b'W',
    };
    message(out, kind, |body| {
        body.put_u8(u8::from(format == Format::Binary));
        put_count(body, columns);
        (0..columns).for_each(|_| body.put_i16(format.code()));
    });
}

/// Appends a CopyData whose payload `fill` writes.
#[inline]
pub fn copy_data(out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    out.put_u8(b'd');
    with_length(out, fill);
}

/// Appends the header of a CopyData whose `payload_len` bytes are sent by other means (from mapped WAL, say).
pub fn copy_data_header(out: &mut BytesMut, payload_len: u32) {
    out.put_u8(b'd');
    out.put_u32(payload_len.saturating_add(4));
}

/// Appends CopyDone.
pub fn copy_done(out: &mut BytesMut) {
    out.put_slice(b"c\0\0\0\x04");
}

/// A message from a server, as a client reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum BackendMessage {
    /// An Authentication message.
    Authentication(Authentication),
    /// BackendKeyData.
    BackendKeyData(CancelKey),
    /// ParameterStatus: name and value.
    ParameterStatus(String, String),
    /// ReadyForQuery.
    ReadyForQuery(TransactionStatus),
    /// ErrorResponse.
    Error(Box<Report>),
    /// NoticeResponse.
    Notice(Box<Report>),
    /// RowDescription.
    RowDescription(Vec<Column>),
    /// DataRow.
    DataRow(Row),
    /// CommandComplete with its tag.
    CommandComplete(String),
    /// EmptyQueryResponse.
    EmptyQuery,
    /// CopyInResponse, CopyOutResponse or CopyBothResponse.
    Copy(CopyDirection),
    /// CopyData.
    CopyData(Bytes),
    /// CopyDone.
    CopyDone,
    /// ParseComplete.
    ParseComplete,
    /// BindComplete.
    BindComplete,
    /// CloseComplete.
    CloseComplete,
    /// PortalSuspended.
    PortalSuspended,
    /// ParameterDescription: type OIDs.
    ParameterDescription(Vec<u32>),
    /// NoData.
    NoData,
    /// NegotiateProtocolVersion, NotificationResponse and whatever else changes nothing for this client.
    Other(u8),
}

/// What a server asks of a client that authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Nothing more.
    Ok,
    /// The password in clear.
    Cleartext,
    /// One of these SASL mechanisms.
    Sasl(Vec<String>),
    /// The next SASL step.
    SaslContinue(Bytes),
    /// The last SASL step.
    SaslFinal(Bytes),
    /// A method that this client does not know, by its code.
    Unknown(u32),
}

/// One column of a result, as a client learns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: String,
    /// OID of its type.
    pub data_type: u32,
    /// The type's modifier, or -1.
    pub type_modifier: i32,
}

/// One row of a result, its values shared with the read buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    values: Vec<Option<Bytes>>,
}

impl Row {
    /// The values' bytes; None is NULL.
    pub fn values(&self) -> &[Option<Bytes>] {
        &self.values
    }
    /// Value `at` as bytes; None if it is NULL or absent.
    pub fn bytes(&self, at: usize) -> Option<&[u8]> {
        self.values.get(at)?.as_deref()
    }
    /// Value `at` as text; None if it is NULL, absent or not UTF-8.
    pub fn text(&self, at: usize) -> Option<&str> {
        std::str::from_utf8(self.bytes(at)?).ok()
    }
    /// How many values it has.
    pub fn len(&self) -> usize {
        self.values.len()
    }
    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl BackendMessage {
    /// Reads the body of a message of this kind.
    ///
    /// # Errors
    ///
    /// Fails if the message is too short, too long or malformed.
    pub fn decode(kind: u8, body: Bytes) -> Result<Self, ProtocolError> {
        let mut cursor = Cursor::new(kind, &body);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let decoded = match kind {
            b'R' => Self::Authentication(Authentication::decode(&mut cursor, &body)?),
            b'K' => Self::BackendKeyData(CancelKey { pid: cursor.i32()?, secret: cursor.i32()? }),
            b'S' => Self::ParameterStatus(text(cursor.cstr_bytes()?), text(cursor.cstr_bytes()?)),
            b'Z' => Self::ReadyForQuery(match cursor.u8()? {
                b'I' => TransactionStatus::Idle,
                b'T' => TransactionStatus::Block,
                b'E' => TransactionStatus::Failed,
                _ => return Err(cursor.malformed("unknown transaction status")),
            }),
            b'E' => return Report::decode(kind, &body).map(|report| Self::Error(Box::new(report))),
            b'N' => return Report::decode(kind, &body).map(|report| Self::Notice(Box::new(report))),
            b'T' => {
                let count = cursor.count(19)?;
                let mut columns = Vec::with_capacity(count);
                for _ in 0..count {
                    let name = text(cursor.cstr_bytes()?);
                    cursor.take(6)?;
                    let data_type = cursor.u32()?;
                    cursor.i16()?;
                    let type_modifier = cursor.i32()?;
                    cursor.i16()?;
                    columns.push(Column { name, data_type, type_modifier });
                }
                Self::RowDescription(columns)
            }
            b'D' => {
                let count = cursor.count(4)?;
                let mut values = Vec::with_capacity(count);
                for _ in 0..count {
                    values.push(cursor.value()?.map(|value| body.slice_ref(value)));
                }
                Self::DataRow(Row { values })
            }
            b'C' => Self::CommandComplete(text(cursor.cstr_bytes()?)),
            b'I' => Self::EmptyQuery,
            b'G' | b'H' | b'W' => {
                cursor.rest();
                Self::Copy(match kind {
                    b'G' => CopyDirection::In,
                    b'H' => CopyDirection::Out,
                    _ => CopyDirection::Both,
                })
            }
            b'd' => return Ok(Self::CopyData(body)),
            b'c' => Self::CopyDone,
            b'1' => Self::ParseComplete,
            b'2' => Self::BindComplete,
            b'3' => Self::CloseComplete,
            b's' => Self::PortalSuspended,
            b't' => {
                let count = cursor.count(4)?;
                Self::ParameterDescription((0..count).map(|_| cursor.u32()).collect::<Result<_, _>>()?)
            }
            b'n' => Self::NoData,
            b'A' | b'v' => {
                cursor.rest();
                Self::Other(kind)
            }
            _ => return Err(ProtocolError::UnknownType(kind)),
        };
        cursor.finish()?;
        Ok(decoded)
    }
}

impl Authentication {
    fn decode(cursor: &mut Cursor<'_>, body: &Bytes) -> Result<Self, ProtocolError> {
        let code = cursor.u32()?;
        let rest = || {
            let mut rest = body.clone();
            rest.advance(4.min(rest.len()));
            rest
        };
        Ok(match code {
            0 => Self::Ok,
            3 => Self::Cleartext,
            10 => {
                let mut mechanisms = Vec::new();
                loop {
                    let name = cursor.cstr()?;
                    if name.is_empty() {
                        break;
                    }
                    mechanisms.push(name.to_owned());
                }
                Self::Sasl(mechanisms)
            }
            11 => {
                cursor.rest();
                Self::SaslContinue(rest())
            }
            12 => {
                cursor.rest();
                Self::SaslFinal(rest())
            }
            other => {
                cursor.rest();
                Self::Unknown(other)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, FrameLimits};

    fn round(fill: impl FnOnce(&mut BytesMut)) -> BackendMessage {
        let mut out = BytesMut::new();
        fill(&mut out);
        let frame = Frame::peek(&out, FrameLimits::CLIENT).unwrap().unwrap();
        assert_eq!(frame.len, out.len(), "one message, whole");
        let body = out.split_off(5).freeze();
        for cut in 0..body.len() {
            let cut_short = BackendMessage::decode(frame.kind, body.slice(..cut));
            assert!(
                cut_short.is_err() || matches!(frame.kind, b'd' | b'R' | b'G' | b'H' | b'W'),
                "kind {} cut at {cut} of {}",
                frame.kind,
                body.len()
            );
        }
        BackendMessage::decode(frame.kind, body).unwrap()
    }

    #[test]
    fn rows_arrive_with_their_nulls() {
        let BackendMessage::DataRow(row) = round(|out| text_row(out, &[Some("a"), None, Some("")])) else {
            panic!("no row")
        };
        assert_eq!((row.text(0), row.text(1), row.text(2), row.len()), (Some("a"), None, Some(""), 3));
    }

    #[test]
    fn descriptions_and_statuses_arrive_as_sent() {
        let field = FieldDescription {
            name: "n",
            table: 16384,
            column: 1,
            data_type: 23,
            type_len: 4,
            type_modifier: -1,
            format: Format::Text,
        };
        let got = round(|out| row_description(out, [field].into_iter()));
        let column = Column { name: "n".into(), data_type: 23, type_modifier: -1 };
        assert_eq!(got, BackendMessage::RowDescription(vec![column]));
        let got = round(|out| ready_for_query(out, TransactionStatus::Failed));
        assert_eq!(got, BackendMessage::ReadyForQuery(TransactionStatus::Failed));
        let got = round(|out| authentication_sasl(out, &["SCRAM-SHA-256"]));
        let sasl = Authentication::Sasl(vec!["SCRAM-SHA-256".into()]);
        assert_eq!(got, BackendMessage::Authentication(sasl));
        let got = round(|out| copy_response(out, CopyDirection::Both, Format::Text, 0));
        assert_eq!(got, BackendMessage::Copy(CopyDirection::Both));
        let key = CancelKey { pid: 5_000_000, secret: -1 };
        assert_eq!(round(|out| backend_key_data(out, key)), BackendMessage::BackendKeyData(key));
        let got = round(|out| command_complete(out, "INSERT 0 1"));
        assert_eq!(got, BackendMessage::CommandComplete("INSERT 0 1".into()));
    }
}
