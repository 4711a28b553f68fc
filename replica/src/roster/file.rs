//! The roster on disk, plimsoll/roster: text, sealed by a CRC-32 as plimsoll/fence is.
//!
//! ```text
//! plimsoll roster 1
//! self=<id> <number of this node's last statement>
//! member=<id> <number> <seconds since it was heard of> <port@host,port@host> <name>
//! crc=<8 hexadecimal digits>
//! ```
//!
//! In a host `\_` is a blank, and `\\` a backslash.
//!
//! It is this node's alone: left out of backups, kept when the directory is rewound. A file that is
//! damaged is worth nothing: its node begins anew with what streams tell, and the log says so.

use super::{ADDRESSES_MAX, Address, MEMBERS_MAX, Member, Roster, Statement, micros, statement};
use crate::directory_id::DirectoryId;
use host::{Host, OpenMode, write_file_durably};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;
use wal::codec::{seal_text, sealed_text};

/// The file, in the data directory.
pub const ROSTER_FILE: &str = "plimsoll/roster";
const FIRST_LINE: &str = "plimsoll roster 1";
/// Largest file that is read, in bytes; none that is written is larger.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// What a start found.
#[derive(Debug)]
pub struct Loaded {
    /// The roster.
    pub roster: Roster,
    /// Who the directory's node was if it is another now, and the number of its last statement
    /// ([`super::former`]).
    pub former: Option<(DirectoryId, u64)>,
    /// There was a file, and it told nothing.
    pub damaged: bool,
}

/// Reads the roster of a data directory. A standby is who its directory says that it is; a primary is who it
/// was.
///
/// # Errors
///
/// Fails if the file is there and cannot be read.
pub fn load(host: &Host, data_dir: &Path, standby: Option<DirectoryId>) -> io::Result<Loaded> {
    let now = host.clock.monotonic();
    let (found, is_there) = match host.disk.read_text(&data_dir.join(ROSTER_FILE), FILE_BYTES_MAX) {
        Ok(text) => (decode(&text, now), true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, false),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => (None, true),
        Err(error) => return Err(error),
    };
    let damaged = is_there && found.is_none();
    let was = found.as_ref().map(|(own, _)| (own.id, own.stated));
    let former = was.filter(|(id, _)| standby.is_some_and(|standby| standby != *id));
    let (mut own, mut members) = found.unwrap_or_else(|| {
        let drawn = DirectoryId::new(host.entropy.next_u64());
        (Statement::of(drawn, 0), BTreeMap::new())
    });
    own.id = standby.unwrap_or(own.id);
    members.remove(&own.id);
    let life = host.entropy.next_u64();
    Ok(Loaded { roster: Roster::with(own, life, members), former, damaged })
}

/// Writes the roster.
///
/// # Errors
///
/// Fails if the file cannot be written.
pub fn save(host: &Host, data_dir: &Path, roster: &Roster) -> io::Result<()> {
    let text = encode(roster, host.clock.monotonic());
    let path = data_dir.join(ROSTER_FILE);
    if host::planted!("the roster's file is not synced") {
        let file = host.disk.open(&path, OpenMode::Create)?;
        return file.truncate(0).and_then(|()| file.write_all_at(text.as_bytes(), 0));
    }
    write_file_durably(&*host.disk, &path, text.as_bytes())
}

fn encode(roster: &Roster, now: Duration) -> String {
    let known = roster.0.known.lock();
    let mut text = format!("{FIRST_LINE}\nself={} {}\n", known.own.id, known.own.stated);
    for member in known.members.values() {
        let addresses =
            member.addresses.iter().map(|address| format!("{}@{}", address.port(), one_word(address.host())));
        let addresses = addresses.collect::<Vec<_>>().join(",");
        let (age_s, Member { id, stated, name, .. }) = (member.silent_for(now).as_secs(), member);
        text.push_str(&format!("member={id} {stated} {age_s} {addresses} {name}\n"));
    }
    seal_text(text)
}

/// A host without blanks.
fn one_word(host: &str) -> String {
    host.replace('\\', "\\\\").replace(' ', "\\_")
}

fn of_one_word(word: &str) -> Option<String> {
    let (mut host, mut chars) = (String::new(), word.chars());
    while let Some(c) = chars.next() {
        host.push(match c {
            '\\' => match chars.next()? {
                '_' => ' ',
                c => c,
            },
            c => c,
        });
    }
    Some(host)
}

fn decode(text: &str, now: Duration) -> Option<(Statement, BTreeMap<DirectoryId, Member>)> {
    let mut lines = sealed_text(text)?.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let (id, stated) = lines.next()?.strip_prefix("self=")?.split_once(' ')?;
    let own = Statement::of(id.parse().ok()?, stated.parse().ok()?);
    let members = lines.map(|line| member(line, now)).collect::<Option<Vec<_>>>()?;
    let members = members.into_iter().map(|member| (member.id, member)).take(MEMBERS_MAX);
    Some((own, members.collect()))
}

fn member(line: &str, now: Duration) -> Option<Member> {
    let mut words = line.strip_prefix("member=")?.splitn(5, ' ');
    let id = words.next()?.parse().ok()?;
    let stated = words.next()?.parse().ok()?;
    let age = Duration::from_secs(words.next()?.parse().ok()?);
    let address = |text: &str| {
        let (port, host) = text.split_once('@')?;
        Address::new(&of_one_word(host)?, port.parse().ok()?)
    };
    let addresses = words.next()?.split(',').take(ADDRESSES_MAX).map(address).collect::<Option<Vec<_>>>()?;
    let name = statement::tidy_name(words.next()?);
    Some(Member { id, name, addresses, stated, heard_us: micros(now).saturating_sub(micros(age)) })
}
