//! The roster on disk, plimsoll/roster: text, sealed by a CRC-32 as plimsoll/fence is.
//!
//! ```text
//! plimsoll roster 1
//! self=<id> <number of this node's last statement>
//! newest=<the newest timeline of which others told>                    if they told of any
//! branch=<passed-on or given-up> <timeline> <its history in one line>  of each branch of which they told
//! member=<id> <number> <seconds since it was heard of> <port@host,port@host> <name>
//! crc=<8 hexadecimal digits>
//! ```
//!
//! A file of before that says nothing of timelines. In a history `\\` stands for a backslash, `\n` and `\r`
//! for the ends of its lines.
//!
//! It is this node's alone: left out of backups, and kept when the directory is rewound. A file that is
//! damaged is worth nothing: its node begins anew with what streams tell, and the log says so.

use super::{ADDRESSES_MAX, Address, MEMBERS_MAX, Member, Roster, Statement, micros, statement};
use crate::directory_id::DirectoryId;
use crate::timeline::heard::{Branch, Heard};
use host::{Host, OpenMode, write_file_durably};
use std::collections::BTreeMap;
use std::io;
use std::iter::Peekable;
use std::path::Path;
use std::str::Lines;
use std::time::Duration;
use wal::TimelineId;
use wal::codec::{seal_text, sealed_text};
use wal::history::TimelineHistory;

/// The file, in the data directory.
pub const ROSTER_FILE: &str = "plimsoll/roster";
const FIRST_LINE: &str = "plimsoll roster 1";
/// Largest file that is read, in bytes; none that is written is larger.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// How the lines about timelines begin, and which kinds of branches there are.
const NEWEST: &str = "newest=";
const BRANCH: &str = "branch=";
const PASSED_ON: &str = "passed-on";
const GIVEN_UP: &str = "given-up";

/// What a file says.
type Found = (Statement, BTreeMap<DirectoryId, Member>, Heard);

/// What a start found.
#[derive(Debug)]
pub struct Loaded {
    /// The roster.
    pub roster: Roster,
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
    let (found, damaged) = match host.disk.read(&data_dir.join(ROSTER_FILE), FILE_BYTES_MAX) {
        Ok(contents) => {
            let found = std::str::from_utf8(&contents).ok().and_then(|text| decode(text, now));
            let damaged = found.is_none();
            (found, damaged)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, false),
        Err(error) => return Err(error),
    };
    let (mut own, mut members, heard) = found.unwrap_or_else(|| {
        let drawn = DirectoryId::new(host.entropy.next_u64());
        (Statement::of(drawn, 0), BTreeMap::new(), Heard::default())
    });
    own.id = standby.unwrap_or(own.id);
    members.remove(&own.id);
    Ok(Loaded { roster: Roster::with(own, members, heard), damaged })
}

/// Writes the roster.
///
/// # Errors
///
/// Fails if the file cannot be written.
pub fn save(host: &Host, data_dir: &Path, roster: &Roster) -> io::Result<()> {
    // The latest is the last, whoever else writes it.
    let _one = roster.0.saving.lock();
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
    put_heard(&mut text, &known.heard);
    for member in known.members.values() {
        let addresses =
            member.addresses.iter().map(|address| format!("{}@{}", address.port(), address.host()));
        let addresses = addresses.collect::<Vec<_>>().join(",");
        let (age_s, Member { id, stated, name, .. }) = (member.silent_for(now).as_secs(), member);
        text.push_str(&format!("member={id} {stated} {age_s} {addresses} {name}\n"));
    }
    seal_text(text)
}

fn put_heard(text: &mut String, heard: &Heard) {
    if heard.newest() != TimelineId::INVALID {
        text.push_str(&format!("{NEWEST}{}\n", heard.newest()));
    }
    for Branch { history, given_up } in heard.branches() {
        let kind = if *given_up { GIVEN_UP } else { PASSED_ON };
        let line = history.text().replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        text.push_str(&format!("{BRANCH}{kind} {} {line}\n", history.target()));
    }
}

/// What the lines of a file say of timelines, which stand before those of the members.
fn heard(lines: &mut Peekable<Lines<'_>>) -> Option<Heard> {
    let newest = lines.next_if(|line| line.starts_with(NEWEST)).and_then(|line| line.strip_prefix(NEWEST));
    let newest = newest.map(str::parse).transpose().ok()?.unwrap_or(TimelineId::INVALID);
    let mut branches = Vec::new();
    while let Some(line) = lines.next_if(|line| line.starts_with(BRANCH)) {
        branches.push(branch(line)?);
    }
    Some(Heard::of_disk(newest, branches))
}

fn branch(line: &str) -> Option<Branch> {
    let mut words = line.strip_prefix(BRANCH)?.splitn(3, ' ');
    let given_up = match words.next()? {
        GIVEN_UP => true,
        PASSED_ON => false,
        _ => return None,
    };
    let (timeline, line) = (words.next()?.parse().ok()?, words.next()?);
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        text.push(match char {
            '\\' => match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                char => char,
            },
            char => char,
        });
    }
    let history = TimelineHistory::parse(timeline, &text).ok()?;
    Some(Branch { history, given_up })
}

fn decode(text: &str, now: Duration) -> Option<Found> {
    let mut lines = sealed_text(text)?.lines().peekable();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let (id, stated) = lines.next()?.strip_prefix("self=")?.split_once(' ')?;
    let own = Statement::of(id.parse().ok()?, stated.parse().ok()?);
    let heard = heard(&mut lines)?;
    let members = lines.map(|line| member(line, now)).collect::<Option<Vec<_>>>()?;
    let members = members.into_iter().map(|member| (member.id, member)).take(MEMBERS_MAX);
    Some((own, members.collect(), heard))
}

fn member(line: &str, now: Duration) -> Option<Member> {
    let mut words = line.strip_prefix("member=")?.splitn(5, ' ');
    let id = words.next()?.parse().ok()?;
    let stated = words.next()?.parse().ok()?;
    let age = Duration::from_secs(words.next()?.parse().ok()?);
    let address = |text: &str| {
        let (port, host) = text.split_once('@')?;
        Address::new(host, port.parse().ok()?)
    };
    let addresses = words.next()?.split(',').take(ADDRESSES_MAX).map(address).collect::<Option<Vec<_>>>()?;
    let name = statement::tidy_name(words.next()?);
    Some(Member { id, name, addresses, stated, heard_us: micros(now).saturating_sub(micros(age)) })
}
