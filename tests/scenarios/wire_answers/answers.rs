//! A session that notes each answer in a line.

use crate::messages::{self, Step};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An answer that does not come within this time is noted as missing.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two tries of a cancel request.
const PAUSE: Duration = Duration::from_millis(50);
/// OIDs from here on are of what users made, and others on each server.
const FIRST_USER_OID: u32 = 16384;

pub struct Session {
    socket: PathBuf,
    stream: UnixStream,
    buffer: Vec<u8>,
    /// Process number and secret.
    key: Vec<u8>,
    answers: Vec<String>,
}

/// Takes numbers and texts from the body of a message.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }
    fn int2(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }
    fn int4(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }
    fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).expect("a text ends");
        let text = String::from_utf8_lossy(self.take(end)).into_owned();
        self.take(1);
        text
    }
}

impl Session {
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the server listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        let mut session = Self {
            socket: socket.to_owned(),
            stream,
            buffer: Vec::new(),
            key: Vec::new(),
            answers: Vec::new(),
        };
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        body.extend(b"user\0postgres\0database\0postgres\0\0");
        let mut startup = u32::try_from(body.len() + 4).expect("short").to_be_bytes().to_vec();
        startup.extend(body);
        session.stream.write_all(&startup).expect("the server reads");
        assert!(session.until(b'Z'), "a session begins");
        session.answers.clear();
        session
    }

    pub fn step(&mut self, step: &Step) {
        match step {
            // A server that has ended the session reads no more; what it said comes at the end.
            Step::Send(bytes) => drop(self.stream.write_all(bytes)),
            Step::Await(kind) => {
                if !self.until(*kind) {
                    self.answers.push(format!("no {} came", char::from(*kind)));
                }
            }
            Step::Cancel(right) => self.cancel(*right),
            Step::CancelUntil(kind) => {
                self.stream.set_read_timeout(Some(PAUSE)).expect("a limit");
                let tries = LIMIT.as_millis() / PAUSE.as_millis();
                let came = (0..tries).any(|_| {
                    self.cancel(true);
                    self.until(*kind)
                });
                self.stream.set_read_timeout(Some(LIMIT)).expect("a limit");
                if !came {
                    self.answers.push(format!("no {} came", char::from(*kind)));
                }
            }
        }
    }

    fn cancel(&self, right: bool) {
        let mut key = self.key.clone();
        if !right && let Some(last) = key.last_mut() {
            *last ^= 1;
        }
        let mut other = UnixStream::connect(&self.socket).expect("the server listens");
        other.set_read_timeout(Some(LIMIT)).expect("a limit");
        let mut request = 16_u32.to_be_bytes().to_vec();
        request.extend(80_877_102_u32.to_be_bytes());
        request.extend(key);
        other.write_all(&request).expect("the server reads");
        let mut rest = Vec::new();
        other.read_to_end(&mut rest).expect("a cancel request is answered by the end of the connection");
        assert!(rest.is_empty(), "a cancel request is not answered: {rest:?}");
    }

    /// Ends what is open, leaves, and gives all that was answered.
    pub fn end(mut self) -> Vec<String> {
        self.step(&messages::sync());
        self.step(&messages::raw(b'X', b""));
        while self.message().is_some() {}
        self.answers
    }

    /// Reads up to a message of this kind; false if none comes.
    fn until(&mut self, kind: u8) -> bool {
        loop {
            match self.message() {
                Some(found) if found == kind => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    /// Reads a message, notes it, and gives its kind; None at the end, or when nothing comes.
    fn message(&mut self) -> Option<u8> {
        self.fill(5)?;
        let length = u32::from_be_bytes(self.buffer[1..5].try_into().expect("four bytes"));
        let length = usize::try_from(length).expect("a length");
        self.fill(1 + length)?;
        let message: Vec<u8> = self.buffer.drain(..=length).collect();
        let (kind, body) = (message[0], &message[5..]);
        if kind == b'K' {
            self.key = body.to_vec();
        }
        // Which settings are reported when is each server's own.
        if kind != b'S' {
            self.answers.push(line(kind, body));
        }
        Some(kind)
    }

    fn fill(&mut self, wanted: usize) -> Option<()> {
        while self.buffer.len() < wanted {
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(count) if count > 0 => self.buffer.extend(&chunk[..count]),
                _ => return None,
            }
        }
        Some(())
    }
}

/// An answer as a line.
fn line(kind: u8, body: &[u8]) -> String {
    let mut body = Body(body);
    match kind {
        b'T' => {
            let fields: Vec<String> = (0..body.int2()).map(|_| field(&mut body)).collect();
            format!("RowDescription {}", fields.join(", "))
        }
        b'D' => {
            let values = (0..body.int2()).map(|_| match usize::try_from(body.int4()) {
                Ok(length) => String::from_utf8_lossy(body.take(length)).escape_default().to_string(),
                Err(_) => "NULL".to_owned(),
            });
            format!("DataRow {}", values.collect::<Vec<_>>().join("|"))
        }
        b'C' => format!("CommandComplete {}", body.text()),
        b'E' | b'N' => report(kind, &mut body),
        b'Z' => format!("ReadyForQuery {}", char::from(body.take(1)[0])),
        b't' => {
            let types: Vec<String> = (0..body.int2()).map(|_| body.int4().to_string()).collect();
            format!("ParameterDescription {}", types.join(", "))
        }
        b'G' | b'H' => {
            let name = if kind == b'G' { "CopyInResponse" } else { "CopyOutResponse" };
            let overall = body.take(1)[0];
            let columns: Vec<String> = (0..body.int2()).map(|_| body.int2().to_string()).collect();
            format!("{name} {overall}: {}", columns.join(", "))
        }
        b'd' => format!("CopyData {}", body.0.escape_ascii()),
        b'c' => "CopyDone".to_owned(),
        b'1' => "ParseComplete".to_owned(),
        b'2' => "BindComplete".to_owned(),
        b'3' => "CloseComplete".to_owned(),
        b'I' => "EmptyQueryResponse".to_owned(),
        b'n' => "NoData".to_owned(),
        b's' => "PortalSuspended".to_owned(),
        other => format!("{} {}", char::from(other), body.0.escape_ascii()),
    }
}

fn field(body: &mut Body<'_>) -> String {
    let (name, table, column) = (body.text(), body.int4(), body.int2());
    let (ty, width, modifier, format) = (body.int4(), body.int2(), body.int4(), body.int2());
    let table = if u32::try_from(table).is_ok_and(|oid| oid >= FIRST_USER_OID) { "user's" } else { "no" };
    format!("{name} of {table} table {column} type {ty}/{width}/{modifier} format {format}")
}

/// Severity, SQLSTATE and message.
fn report(kind: u8, body: &mut Body<'_>) -> String {
    let mut state = String::new();
    let mut text = if kind == b'E' { "Error" } else { "Notice" }.to_owned();
    while let Some(field) = body.0.first().copied().filter(|field| *field != 0) {
        body.take(1);
        let value = body.text();
        match field {
            b'V' => text = format!("{text} {value}"),
            b'C' => {
                text = format!("{text} {value}");
                state = value;
            }
            // What is wrong with a message's bytes each server says in its own words.
            b'M' if state != "08P01" && state != "22021" => text = format!("{text} {value}"),
            _ => {}
        }
    }
    text
}
