//! What was told of timelines ([`crate::timeline::heard`]) on disk, plimsoll/heard: text, sealed by a CRC-32
//! as plimsoll/fence is.
//!
//! ```text
//! plimsoll heard 1
//! newest=<the newest timeline of which others told, or 0>
//! branch=<passed-on or given-up> <timeline> <its history in one line>  of each branch of which they told
//! named=<timeline> <fork> <descendant> <its branch id, or none>        given up: what a fence's record names
//! upto=<timeline> <its branch id, or none> <position>                  given up: all that left it till there
//! crc=<8 hexadecimal digits>
//! ```
//!
//! A history's lines are made one by [`one_line`].
//!
//! A file of its own, which a program of before does not know: what that reads in the roster's stays as it
//! was. It is this node's alone: left out of backups, and kept when the directory is rewound. A file that is
//! damaged is worth nothing: its node begins anew with what others tell, and the log says so.

use super::Roster;
use crate::timeline::heard::{BRANCHES_MAX, Branch, Gone, HISTORY_BYTES_MAX, Heard};
use host::{Host, write_file_durably};
use std::io;
use std::path::Path;
use wal::codec::{of_one_line, one_line, seal_text, sealed_text};
use wal::history::{BranchId, TimelineHistory};

/// The file, in the data directory.
pub const HEARD_FILE: &str = "plimsoll/heard";
const FIRST_LINE: &str = "plimsoll heard 1";
/// Largest file that is read, in bytes; none that is written is larger.
const FILE_BYTES_MAX: usize = 5 << 20;
// Of each kind as many as there may be, each twice as long in one line.
const _: () = assert!(FILE_BYTES_MAX > 2 * BRANCHES_MAX * 2 * HISTORY_BYTES_MAX + (64 << 10));

const NEWEST: &str = "newest=";
/// How the line of a branch begins, and which kinds there are.
const BRANCH: &str = "branch=";
const PASSED_ON: &str = "passed-on";
const GIVEN_UP: &str = "given-up";
/// How the lines begin of what is given up and of which no history is known.
const NAMED: &str = "named=";
const UP_TO: &str = "upto=";
/// Stands for the id of a branch that has none.
const NO_ID: &str = "none";

/// Reads into the roster what the node was told in earlier lives. Whether there was a file, and it told
/// nothing.
///
/// # Errors
///
/// Fails if the file is there and cannot be read.
pub fn load(host: &Host, data_dir: &Path, roster: &Roster) -> io::Result<bool> {
    let found = match host.disk.read_text(&data_dir.join(HEARD_FILE), FILE_BYTES_MAX as u64) {
        Ok(text) => decode(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Heard::default()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
        Err(error) => return Err(error),
    };
    let Some(heard) = found else { return Ok(true) };
    *roster.0.written.lock() = Some(heard.clone());
    roster.0.known.lock().heard = heard;
    Ok(false)
}

/// Writes it, unless that is what the file says.
///
/// # Errors
///
/// Fails if the file cannot be written.
pub fn save(host: &Host, data_dir: &Path, roster: &Roster) -> io::Result<()> {
    // The latest is the last, whoever else writes it.
    let mut written = roster.0.written.lock();
    let heard = roster.0.known.lock().heard.clone();
    if written.as_ref() == Some(&heard) {
        return Ok(());
    }
    // A write that fails may leave either.
    *written = None;
    write_file_durably(&*host.disk, &data_dir.join(HEARD_FILE), encode(&heard).as_bytes())?;
    *written = Some(heard);
    Ok(())
}

/// What an administrator gave up on a primary, as that says it to the standby that is to take its role over.
/// It counts from a node only that has the same log on the same branch: what was given up replaced both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenUp(Heard);

impl GivenUp {
    /// What was given up on this node.
    pub fn of(roster: &Roster) -> Self {
        Self(roster.0.known.lock().heard.given_up())
    }

    /// As it is sent: as the file has it, or nothing if nothing was given up.
    pub fn encode(&self) -> String {
        if *self == Self::default() { String::new() } else { encode(&self.0) }
    }

    /// What was sent; None if that is none of it.
    pub fn decode(sent: &[u8]) -> Option<Self> {
        if sent.is_empty() {
            return Some(Self::default());
        }
        decode(std::str::from_utf8(sent).ok()?).map(|heard| Self(heard.given_up()))
    }

    /// Whether `theirs` left `ours` by a branch that was given up.
    pub fn includes(&self, ours: &TimelineHistory, theirs: &TimelineHistory) -> bool {
        self.0.is_given_up(ours, theirs)
    }
}

fn encode(heard: &Heard) -> String {
    let mut text = format!("{FIRST_LINE}\n{NEWEST}{}\n", heard.newest());
    for Branch { history, given_up } in heard.branches() {
        let kind = if *given_up { GIVEN_UP } else { PASSED_ON };
        let line = one_line(history.text());
        text.push_str(&format!("{BRANCH}{kind} {} {line}\n", history.target()));
    }
    for gone in heard.unseen() {
        text.push_str(&match gone {
            Gone::Named { timeline, fork, descendant, branch } => {
                format!("{NAMED}{timeline} {fork} {descendant} {}\n", shown(*branch))
            }
            Gone::UpTo { timeline, branch, end } => format!("{UP_TO}{timeline} {} {end}\n", shown(*branch)),
        });
    }
    seal_text(text)
}

fn shown(branch: Option<BranchId>) -> String {
    branch.map_or_else(|| NO_ID.to_owned(), |branch| branch.to_string())
}

fn decode(text: &str) -> Option<Heard> {
    let mut lines = sealed_text(text)?.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let newest = lines.next()?.strip_prefix(NEWEST)?.parse().ok()?;
    let (mut branches, mut unseen) = (Vec::new(), Vec::new());
    for line in lines {
        if line.starts_with(BRANCH) {
            branches.push(branch(line)?);
        } else {
            unseen.push(gone(line)?);
        }
    }
    Some(Heard::of_disk(newest, branches, unseen))
}

fn gone(line: &str) -> Option<Gone> {
    let branch_id = |word: &str| match word {
        NO_ID => Some(None),
        word => word.parse::<BranchId>().ok().map(Some),
    };
    if let Some(line) = line.strip_prefix(NAMED) {
        let mut words = line.split(' ');
        return Some(Gone::Named {
            timeline: words.next()?.parse().ok()?,
            fork: words.next()?.parse().ok()?,
            descendant: words.next()?.parse().ok()?,
            branch: branch_id(words.next()?)?,
        });
    }
    let mut words = line.strip_prefix(UP_TO)?.split(' ');
    Some(Gone::UpTo {
        timeline: words.next()?.parse().ok()?,
        branch: branch_id(words.next()?)?,
        end: words.next()?.parse().ok()?,
    })
}

fn branch(line: &str) -> Option<Branch> {
    let mut words = line.strip_prefix(BRANCH)?.splitn(3, ' ');
    let given_up = match words.next()? {
        GIVEN_UP => true,
        PASSED_ON => false,
        _ => return None,
    };
    let (timeline, line) = (words.next()?.parse().ok()?, words.next()?);
    let history = TimelineHistory::parse(timeline, &of_one_line(line)?).ok()?;
    Some(Branch { history, given_up })
}
