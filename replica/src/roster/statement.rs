//! What a node says of itself, and how it goes over a stream. The message's payload:
//!
//! | bytes | contents                                                                       |
//! |-------|--------------------------------------------------------------------------------|
//! | 1     | 1, the layout; a node passes over one that it does not know                    |
//! | 1     | how many statements follow; the first is the teller's own                      |
//! |       | of each:                                                                       |
//! | 8     | id                                                                             |
//! | 8     | number of the statement                                                        |
//! | 4     | seconds since the teller last heard of it                                      |
//! | 1 + n | name                                                                           |
//! | 1     | how many addresses follow                                                      |
//! | 1 + n | of each: the host; empty: where you see me. A path: the folder of a Unix socket |
//! | 2     | and the port                                                                   |
//!
//! Integers are big endian, texts UTF-8. What is longer, or has other characters than a host name, a path or
//! a name can have, is refused.

use super::{ADDRESSES_MAX, MEMBERS_MAX};
use crate::directory_id::DirectoryId;
use crate::error::ReplicaError;
use protocol::conninfo;
use std::fmt;
use std::time::Duration;

const LAYOUT: u8 = 1;
/// Longest payload that is sent, in bytes: less than any receiver takes.
const PAYLOAD_MAX: usize = 48 << 10;
const HOST_MAX: usize = 255;
const NAME_MAX: usize = 63;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// A host name, an IP address, the folder of a Unix socket, or nothing: where you see me. None if no
    /// connection string can have it: a comma there ends a host.
    pub fn new(host: &str, port: u16) -> Option<Self> {
        let fits = |c: char| !c.is_control() && c != ',';
        let is_good = host.len() <= HOST_MAX && port != 0 && host.chars().all(fits);
        is_good.then(|| Self { host: host.to_owned(), port })
    }

    /// The host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Where this is for who sees the teller there. `direct`: it is one of the teller's own.
    pub(super) fn seen_from(&self, seen: &Seen, direct: bool) -> Option<Self> {
        if self.host.is_empty() {
            let port = seen.port.unwrap_or(self.port);
            return direct.then(|| Self { host: seen.host.clone(), port });
        }
        if is_local(&self.host) && !is_local(&seen.host) {
            // On the teller's machine, which is another one.
            let is_path = self.host.starts_with('/');
            return (!is_path).then(|| Self { host: seen.host.clone(), port: self.port });
        }
        Some(self.clone())
    }
}

/// A way to reach what is on the same machine, and nothing else.
fn is_local(host: &str) -> bool {
    let is_loopback = host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    host.starts_with('/') || host == "localhost" || is_loopback
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&conninfo::join([("host", self.host.as_str()), ("port", &self.port.to_string())]))
    }
}

/// Where the node at the other end of a stream is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    host: String,
    port: Option<u16>,
}

impl Seen {
    /// A standby that connected from there; None over a Unix socket.
    pub fn client(address: Option<std::net::IpAddr>) -> Self {
        let host =
            address.map_or_else(|| "127.0.0.1".to_owned(), |address| address.to_canonical().to_string());
        Self { host, port: None }
    }

    /// A server that was reached there.
    pub fn server(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port: Some(port) }
    }
}

/// What a node says of itself, or another one of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Who.
    pub id: DirectoryId,
    /// Its number: the highest counts.
    pub stated: u64,
    /// The name by which it follows a primary, or would.
    pub name: String,
    /// Where it can be reached; none if it cannot.
    pub addresses: Vec<Address>,
    /// How long nobody has heard of it.
    pub age: Duration,
}

impl Statement {
    pub(super) const fn of(id: DirectoryId, stated: u64) -> Self {
        Self { id, stated, name: String::new(), addresses: Vec::new(), age: Duration::ZERO }
    }

    /// Where it can be reached from here, by who sees the teller there. `direct`: it tells of itself.
    pub(crate) fn addresses_from(&self, seen: &Seen, direct: bool) -> Vec<Address> {
        let mut addresses: Vec<Address> = Vec::new();
        for address in self.addresses.iter().filter_map(|address| address.seen_from(seen, direct)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.truncate(ADDRESSES_MAX);
        addresses
    }
}

/// As much of a name as messages show.
pub(super) fn tidy_name(name: &str) -> String {
    let mut tidy: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    while tidy.len() > NAME_MAX {
        tidy.pop();
    }
    tidy
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).unwrap_or(0));
    if text.len() <= usize::from(u8::MAX) {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Writes as many as there is room for.
pub(super) fn encode(statements: impl Iterator<Item = Statement>) -> Vec<u8> {
    let (mut count, mut body) = (0_u8, Vec::new());
    for statement in statements.take(MEMBERS_MAX + 1) {
        let begin = body.len();
        body.extend_from_slice(&statement.id.number().to_be_bytes());
        body.extend_from_slice(&statement.stated.to_be_bytes());
        let age_s = u32::try_from(statement.age.as_secs()).unwrap_or(u32::MAX);
        body.extend_from_slice(&age_s.to_be_bytes());
        put_text(&mut body, &statement.name);
        let addresses = statement.addresses.iter().take(ADDRESSES_MAX);
        body.push(u8::try_from(addresses.len()).unwrap_or(0));
        for address in addresses {
            put_text(&mut body, &address.host);
            body.extend_from_slice(&address.port.to_be_bytes());
        }
        if body.len() > PAYLOAD_MAX {
            body.truncate(begin);
            break;
        }
        count += 1;
    }
    let mut out = vec![LAYOUT, count];
    out.extend_from_slice(&body);
    out
}

/// Reads a payload; nothing of a layout that this program does not know.
///
/// # Errors
///
/// Fails where it is no payload.
pub fn decode(payload: &[u8]) -> Result<Vec<Statement>, ReplicaError> {
    let malformed = || ReplicaError::Protocol("malformed roster from a node of the cluster".to_owned());
    let mut rest = payload;
    if take::<1>(&mut rest).ok_or_else(malformed)? != [LAYOUT] {
        return Ok(Vec::new());
    }
    let [count] = take::<1>(&mut rest).ok_or_else(malformed)?;
    if usize::from(count) > MEMBERS_MAX + 1 {
        return Err(malformed());
    }
    let statements: Option<Vec<_>> = (0..count).map(|_| statement(&mut rest)).collect();
    statements.filter(|_| rest.is_empty()).ok_or_else(malformed)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

fn text<'a>(rest: &mut &'a [u8], max: usize) -> Option<&'a str> {
    let [len] = take::<1>(rest)?;
    let (taken, after) = rest.split_at_checked(usize::from(len))?;
    *rest = after;
    let text = std::str::from_utf8(taken).ok()?;
    (text.len() <= max && !text.contains(char::is_control)).then_some(text)
}

fn statement(rest: &mut &[u8]) -> Option<Statement> {
    let id = DirectoryId::new(u64::from_be_bytes(take(rest)?));
    let stated = u64::from_be_bytes(take(rest)?);
    let age = Duration::from_secs(u32::from_be_bytes(take(rest)?).into());
    let name = text(rest, NAME_MAX)?.to_owned();
    let [count] = take::<1>(rest)?;
    if usize::from(count) > ADDRESSES_MAX {
        return None;
    }
    let mut address = || {
        let host = text(rest, HOST_MAX)?;
        Address::new(host, u16::from_be_bytes(take(rest)?))
    };
    let addresses = (0..count).map(|_| address()).collect::<Option<Vec<_>>>()?;
    Some(Statement { id, stated, name, addresses, age })
}
