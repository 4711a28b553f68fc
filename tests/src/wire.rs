//! A small client of the wire protocol: what the drivers hide (parameters that the server reports, a peer
//! that never reads).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longer than any answer takes on a loaded machine; a test that waits longer has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// What a session's statement came to.
#[derive(Debug)]
pub enum WireError {
    /// The server refused it: SQLSTATE and message.
    Refused(String, String),
    /// The connection is gone, so nobody knows.
    Gone(String),
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Gone(error.to_string())
    }
}

/// The answer to one simple query.
#[derive(Debug, Default)]
pub struct Answer {
    /// Rows as text; NULL is the empty text.
    pub rows: Vec<Vec<String>>,
    /// SQLSTATE and message of each warning.
    pub warnings: Vec<(String, String)>,
}

/// A session over any stream of bytes.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    /// What came and was not looked at yet, from `at` on.
    buffer: Vec<u8>,
    at: usize,
    /// The last token that a commit reported (`plimsoll.commit_lsn`).
    pub commit_token: Option<String>,
    /// The last token that a snapshot reported (`plimsoll.snapshot_lsn`).
    pub snapshot_token: Option<String>,
}

impl Wire<UnixStream> {
    /// Connects over the socket of a node.
    pub fn unix(socket: &Path) -> Result<Self, WireError> {
        Self::connect(socket, &[("user", "postgres"), ("database", "postgres")])
    }

    /// Connects for commands of replication.
    pub fn replication(socket: &Path) -> Result<Self, WireError> {
        Self::connect(socket, &[("user", "postgres"), ("replication", "true")])
    }

    fn connect(socket: &Path, parameters: &[(&str, &str)]) -> Result<Self, WireError> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Self::open(stream, parameters)
    }
}

impl<S: Read + Write> Wire<S> {
    /// Sends the startup message and waits until the server is ready (it must trust the user).
    pub fn open(stream: S, parameters: &[(&str, &str)]) -> Result<Self, WireError> {
        let mut wire = Self { stream, buffer: Vec::new(), at: 0, commit_token: None, snapshot_token: None };
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for (name, value) in parameters {
            body.extend(format!("{name}\0{value}\0").bytes());
        }
        body.push(0);
        let mut startup = u32::try_from(body.len() + 4).expect("short").to_be_bytes().to_vec();
        startup.extend(body);
        wire.stream.write_all(&startup)?;
        wire.until_ready()?;
        Ok(wire)
    }

    /// Sends a message of a kind.
    pub fn send(&mut self, kind: u8, body: &[u8]) -> Result<(), WireError> {
        let mut message = vec![kind];
        message.extend(u32::try_from(body.len() + 4).expect("short").to_be_bytes());
        message.extend(body);
        Ok(self.stream.write_all(&message)?)
    }

    /// Sends a query without waiting for anything.
    pub fn begin(&mut self, sql: &str) -> Result<(), WireError> {
        self.send(b'Q', format!("{sql}\0").as_bytes())
    }

    /// Runs a simple query.
    pub fn query(&mut self, sql: &str) -> Result<Answer, WireError> {
        self.begin(sql)?;
        self.until_ready()
    }

    /// The first value of the first row; empty for NULL or no row.
    pub fn value(&mut self, sql: &str) -> Result<String, WireError> {
        let answer = self.query(sql)?;
        Ok(answer.rows.first().and_then(|row| row.first().cloned()).unwrap_or_default())
    }

    /// Changes a setting for good and has it read (`SET name = value`, `RESET name`).
    pub fn alter(&mut self, change: &str) -> Result<(), WireError> {
        self.query(&format!("ALTER SYSTEM {change}"))?;
        self.query("SELECT pg_reload_conf()").map(drop)
    }

    /// The stream itself, for who speaks on it in its own way.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    fn fill(&mut self, wanted: usize) -> Result<(), WireError> {
        while self.buffer.len() - self.at < wanted {
            if self.at > 0 {
                self.buffer.drain(..self.at);
                self.at = 0;
            }
            let mut chunk = [0; 16 << 10];
            let count = self.stream.read(&mut chunk)?;
            if count == 0 {
                return Err(WireError::Gone("the server closed the connection".to_owned()));
            }
            self.buffer.extend_from_slice(&chunk[..count]);
        }
        Ok(())
    }

    /// The next message.
    fn message(&mut self) -> Result<(u8, Vec<u8>), WireError> {
        self.fill(5)?;
        let head = &self.buffer[self.at..self.at + 5];
        let kind = head[0];
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        self.fill(1 + length)?;
        let body = self.buffer[self.at + 5..self.at + 1 + length].to_vec();
        self.at += 1 + length;
        Ok((kind, body))
    }

    /// Waits until something of an answer has come, which stays to be read.
    pub fn until_answer(&mut self) -> Result<(), WireError> {
        self.fill(1)
    }

    /// Reads up to ReadyForQuery.
    pub fn until_ready(&mut self) -> Result<Answer, WireError> {
        let mut answer = Answer::default();
        let mut refused = None;
        loop {
            let (kind, body) = self.message()?;
            match kind {
                b'D' => answer.rows.push(row(&body)),
                b'S' => self.reported(&body),
                b'N' => answer.warnings.push(report(&body)),
                b'E' => {
                    let (state, text) = report(&body);
                    // What ends the session ends it without ReadyForQuery.
                    if state.starts_with("57P") || state.starts_with("28") {
                        return Err(WireError::Gone(format!("{state} {text}")));
                    }
                    refused = Some(WireError::Refused(state, text));
                }
                b'Z' => return refused.map_or(Ok(answer), Err),
                _ => {}
            }
        }
    }

    fn reported(&mut self, body: &[u8]) {
        let mut parts = body.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        match (parts.next().as_deref(), parts.next()) {
            (Some("plimsoll.commit_lsn"), value) => self.commit_token = value,
            (Some("plimsoll.snapshot_lsn"), value) => self.snapshot_token = value,
            _ => {}
        }
    }
}

fn row(body: &[u8]) -> Vec<String> {
    let columns = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let mut at = 2;
    let mut values = Vec::with_capacity(columns);
    for _ in 0..columns {
        let length = i32::from_be_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        at += 4;
        let length = usize::try_from(length).unwrap_or(0);
        values.push(String::from_utf8_lossy(&body[at..at + length]).into_owned());
        at += length;
    }
    values
}

/// SQLSTATE and message of an error or a notice.
fn report(body: &[u8]) -> (String, String) {
    let (mut state, mut text) = (String::new(), String::new());
    for field in body.split(|byte| *byte == 0).filter(|field| !field.is_empty()) {
        let value = String::from_utf8_lossy(&field[1..]).into_owned();
        match field[0] {
            b'C' => state = value,
            b'M' => text = value,
            _ => {}
        }
    }
    (state, text)
}

/// A position of the log in pg_lsn's text form.
pub fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?)
}
