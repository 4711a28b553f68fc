//! Messages from client to server. Decoding borrows from the read buffer and allocates nothing.

use crate::backend::Format;
use crate::cursor::{Cursor, ProtocolError};
use crate::frame::{message, put_count, put_cstr};
use bytes::{BufMut, BytesMut};

/// A message from a client.
#[derive(Clone, Debug, PartialEq)]
pub enum FrontendMessage<'a> {
    /// Run these statements (simple query).
    Query(&'a str),
    /// Prepare a statement.
    Parse(Parse<'a>),
    /// Make a portal of a prepared statement.
    Bind(Bind<'a>),
    /// Describe a statement or portal.
    Describe(StatementOrPortal<'a>),
    /// Close a statement or portal.
    Close(StatementOrPortal<'a>),
    /// Run a portal.
    Execute {
        /// The portal's name, "" for the unnamed one.
        portal: &'a str,
        /// Most rows to return; 0 for all.
        rows_max: u32,
    },
    /// Send what is pending.
    Flush,
    /// End of an extended-query series.
    Sync,
    /// A piece of COPY data.
    CopyData(&'a [u8]),
    /// End of COPY data.
    CopyDone,
    /// The client gives up its COPY.
    CopyFail(&'a str),
    /// PasswordMessage, SASLInitialResponse or SASLResponse; which one, the state of authentication says.
    Password(&'a [u8]),
    /// A fast-path function call (not offered).
    FunctionCall,
    /// The client leaves.
    Terminate,
}

/// A Parse message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parse<'a> {
    /// Name of the statement, "" for the unnamed one.
    pub name: &'a str,
    /// Its text.
    pub sql: &'a str,
    types: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Types of parameters that the client declares, as OIDs; 0 leaves one open.
    pub fn types(&self) -> impl ExactSizeIterator<Item = u32> + 'a {
        self.types.chunks_exact(4).map(|oid| oid.try_into().map(u32::from_be_bytes).unwrap_or(0))
    }
}

/// A statement or a portal by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementOrPortal<'a> {
    /// A prepared statement.
    Statement(&'a str),
    /// A portal.
    Portal(&'a str),
}

/// A Bind message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bind<'a> {
    /// Name of the new portal.
    pub portal: &'a str,
    /// Name of its statement.
    pub statement: &'a str,
    /// Formats of the parameters.
    pub parameter_formats: Formats<'a>,
    parameters: &'a [u8],
    count: usize,
    /// Formats of the result's columns.
    pub result_formats: Formats<'a>,
}

impl<'a> Bind<'a> {
    /// How many parameter values came.
    pub const fn parameter_count(&self) -> usize {
        self.count
    }
    /// The parameter values in order; None is NULL.
    pub fn parameters(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let mut cursor = Cursor::new(b'B', self.parameters);
        (0..self.count).map(move |_| cursor.value().unwrap_or(None))
    }
}

/// A list of format codes as Bind carries it: none (all text), one (for all), or one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Formats<'a>(&'a [u8]);

impl Formats<'_> {
    /// How many codes were sent.
    pub const fn len(&self) -> usize {
        self.0.len() / 2
    }
    /// Whether none was sent.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Whether the list fits `columns` values.
    pub const fn fits(&self, columns: usize) -> bool {
        self.len() <= 1 || self.len() == columns
    }
    /// The first code that is neither text's nor binary's.
    #[inline]
    pub fn unsupported(&self) -> Option<i16> {
        let codes = self.0.chunks_exact(2).map(|code| code.try_into().map_or(0, i16::from_be_bytes));
        codes.into_iter().find(|code| !matches!(code, 0 | 1))
    }
    /// The format of value `at`.
    #[inline]
    pub fn of(&self, at: usize) -> Format {
        let at = if self.len() <= 1 { 0 } else { at };
        match self.0.get(2 * at + 1) {
            Some(1) => Format::Binary,
            _ => Format::Text,
        }
    }
}

fn formats<'a>(cursor: &mut Cursor<'a>) -> Result<Formats<'a>, ProtocolError> {
    let count = cursor.count(2)?;
    cursor.take(2 * count).map(Formats)
}

impl<'a> FrontendMessage<'a> {
    /// Reads the body of a message of this kind.
    ///
    /// # Errors
    ///
    /// Fails if the message is too short, too long or malformed.
    pub fn decode(kind: u8, body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut cursor = Cursor::new(kind, body);
        let decoded = match kind {
            b'Q' => Self::Query(cursor.cstr()?),
            b'P' => {
                let (name, sql) = (cursor.cstr()?, cursor.cstr()?);
                let count = cursor.count(4)?;
                Self::Parse(Parse { name, sql, types: cursor.take(4 * count)? })
            }
            b'B' => {
                let (portal, statement) = (cursor.cstr()?, cursor.cstr()?);
                let parameter_formats = formats(&mut cursor)?;
                let count = cursor.count(4)?;
                let mut ahead = cursor;
                let before = ahead.len();
                for _ in 0..count {
                    ahead.value()?;
                }
                let parameters = cursor.take(before - ahead.len())?;
                let result_formats = formats(&mut cursor)?;
                Self::Bind(Bind { portal, statement, parameter_formats, parameters, count, result_formats })
            }
            b'D' | b'C' => {
                let what = cursor.u8()?;
                let name = cursor.cstr()?;
                let target = match what {
                    b'S' => StatementOrPortal::Statement(name),
                    b'P' => StatementOrPortal::Portal(name),
                    _ => return Err(cursor.malformed("neither a statement nor a portal")),
                };
                if kind == b'D' { Self::Describe(target) } else { Self::Close(target) }
            }
            b'E' => {
                let portal = cursor.cstr()?;
                Self::Execute { portal, rows_max: u32::try_from(cursor.i32()?).unwrap_or(0) }
            }
            b'H' => Self::Flush,
            b'S' => Self::Sync,
            b'X' => Self::Terminate,
            b'd' => Self::CopyData(cursor.rest()),
            b'c' => Self::CopyDone,
            b'f' => Self::CopyFail(cursor.cstr()?),
            b'p' => Self::Password(cursor.rest()),
            b'F' => {
                cursor.rest();
                Self::FunctionCall
            }
            _ => return Err(ProtocolError::UnknownType(kind)),
        };
        cursor.finish()?;
        Ok(decoded)
    }
}

/// Reads a SASLInitialResponse: the mechanism and the client's first message, if it sent one.
///
/// # Errors
///
/// Fails if the message is too short, too long or malformed.
pub fn decode_sasl_initial(body: &[u8]) -> Result<(&str, Option<&[u8]>), ProtocolError> {
    let mut cursor = Cursor::new(b'p', body);
    let mechanism = cursor.cstr()?;
    let response = cursor.value()?;
    cursor.finish()?;
    Ok((mechanism, response))
}

/// Appends a Query.
pub fn query(out: &mut BytesMut, sql: &str) {
    message(out, b'Q', |body| put_cstr(body, sql));
}

/// Appends a Parse.
pub fn parse(out: &mut BytesMut, name: &str, sql: &str, types: &[u32]) {
    message(out, b'P', |body| {
        put_cstr(body, name);
        put_cstr(body, sql);
        put_count(body, types.len());
        types.iter().for_each(|oid| body.put_u32(*oid));
    });
}

/// Appends a Bind with parameters of one format; results come in `result_format`.
pub fn bind(
    out: &mut BytesMut,
    portal: &str,
    statement: &str,
    parameters: &[Option<&[u8]>],
    parameter_format: Format,
    result_format: Format,
) {
    message(out, b'B', |body| {
        put_cstr(body, portal);
        put_cstr(body, statement);
        body.put_u16(1);
        body.put_i16(parameter_format.code());
        put_count(body, parameters.len());
        for parameter in parameters {
            match parameter {
                Some(value) => {
                    body.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
                    body.put_slice(value);
                }
                None => body.put_i32(-1),
            }
        }
        body.put_u16(1);
        body.put_i16(result_format.code());
    });
}

fn target(body: &mut BytesMut, target: StatementOrPortal<'_>) {
    let (kind, name) = match target {
        StatementOrPortal::Statement(name) => (b'S', name),
        StatementOrPortal::Portal(name) => (b'P', name),
    };
    body.put_u8(kind);
    put_cstr(body, name);
}

/// Appends a Describe.
pub fn describe(out: &mut BytesMut, what: StatementOrPortal<'_>) {
    message(out, b'D', |body| target(body, what));
}

/// Appends a Close.
pub fn close(out: &mut BytesMut, what: StatementOrPortal<'_>) {
    message(out, b'C', |body| target(body, what));
}

/// Appends an Execute; `rows_max` 0 asks for all rows.
pub fn execute(out: &mut BytesMut, portal: &str, rows_max: u32) {
    message(out, b'E', |body| {
        put_cstr(body, portal);
        body.put_u32(rows_max);
    });
}

/// Appends a Sync.
pub fn sync(out: &mut BytesMut) {
    message(out, b'S', |_| {});
}

/// Appends a Flush.
pub fn flush(out: &mut BytesMut) {
    message(out, b'H', |_| {});
}

/// Appends a Terminate.
pub fn terminate(out: &mut BytesMut) {
    message(out, b'X', |_| {});
}

/// Appends a CopyData.
pub fn copy_data(out: &mut BytesMut, data: &[u8]) {
    message(out, b'd', |body| body.put_slice(data));
}

/// Appends a CopyDone.
pub fn copy_done(out: &mut BytesMut) {
    message(out, b'c', |_| {});
}

/// Appends a CopyFail.
pub fn copy_fail(out: &mut BytesMut, why: &str) {
    message(out, b'f', |body| put_cstr(body, why));
}

/// Appends a PasswordMessage.
pub fn password(out: &mut BytesMut, password: &str) {
    message(out, b'p', |body| put_cstr(body, password));
}

/// Appends a SASLInitialResponse.
pub fn sasl_initial(out: &mut BytesMut, mechanism: &str, response: &[u8]) {
    message(out, b'p', |body| {
        put_cstr(body, mechanism);
        body.put_u32(u32::try_from(response.len()).unwrap_or(u32::MAX));
        body.put_slice(response);
    });
}

/// Appends a SASLResponse.
pub fn sasl_response(out: &mut BytesMut, response: &[u8]) {
    message(out, b'p', |body| body.put_slice(response));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, FrameLimits};

    fn encoded(fill: impl FnOnce(&mut BytesMut)) -> BytesMut {
        let mut out = BytesMut::new();
        fill(&mut out);
        let frame = Frame::peek(&out, FrameLimits::SERVER).unwrap().unwrap();
        assert_eq!(frame.len, out.len(), "one message, whole");
        out
    }

    fn decoded(out: &BytesMut) -> FrontendMessage<'_> {
        FrontendMessage::decode(out[0], &out[5..]).unwrap()
    }

    #[test]
    fn messages_arrive_as_sent() {
        let out = encoded(|out| parse(out, "s", "select $1", &[23, 0]));
        let FrontendMessage::Parse(got) = decoded(&out) else { panic!("{out:?}") };
        assert_eq!((got.name, got.sql, got.types().collect::<Vec<_>>()), ("s", "select $1", vec![23, 0]));

        let out =
            encoded(|out| bind(out, "p", "s", &[Some(b"ab"), None, Some(b"")], Format::Binary, Format::Text));
        let FrontendMessage::Bind(got) = decoded(&out) else { panic!("{out:?}") };
        assert_eq!((got.portal, got.statement, got.parameter_count()), ("p", "s", 3));
        assert_eq!(got.parameters().collect::<Vec<_>>(), [Some(&b"ab"[..]), None, Some(&b""[..])]);
        assert_eq!((got.parameter_formats.of(2), got.result_formats.of(9)), (Format::Binary, Format::Text));

        let out = encoded(|out| execute(out, "", 5));
        assert_eq!(decoded(&out), FrontendMessage::Execute { portal: "", rows_max: 5 });
        let out = encoded(|out| close(out, StatementOrPortal::Portal("p")));
        assert_eq!(decoded(&out), FrontendMessage::Close(StatementOrPortal::Portal("p")));
        let out = encoded(|out| sasl_initial(out, "SCRAM-SHA-256", b"n,,"));
        assert_eq!(decode_sasl_initial(&out[5..]), Ok(("SCRAM-SHA-256", Some(&b"n,,"[..]))));
    }

    #[test]
    fn every_cut_and_every_extra_byte_is_refused() {
        let messages = [
            encoded(|out| query(out, "select 1")),
            encoded(|out| parse(out, "s", "q", &[23])),
            encoded(|out| bind(out, "p", "s", &[Some(b"ab"), None], Format::Text, Format::Text)),
            encoded(|out| describe(out, StatementOrPortal::Statement("s"))),
            encoded(|out| execute(out, "p", 0)),
            encoded(|out| copy_fail(out, "no")),
            encoded(sync),
        ];
        for out in messages {
            let body = &out[5..];
            for cut in 0..body.len() {
                assert!(FrontendMessage::decode(out[0], &body[..cut]).is_err(), "{out:?} cut at {cut}");
            }
            let longer = [body, b"x"].concat();
            assert!(FrontendMessage::decode(out[0], &longer).is_err(), "{out:?} with a byte more");
        }
        assert_eq!(FrontendMessage::decode(b'z', b""), Err(ProtocolError::UnknownType(b'z')));
    }
}
