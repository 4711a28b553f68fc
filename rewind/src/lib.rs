//! Rewinding: the data directory of a node whose log went on where the cluster's did not becomes a standby's
//! of the branch that counts, without copying what both have.
//!
//! # The idea
//!
//! Target and source share their log up to the fork. From the last checkpoint before it the target's log says
//! which blocks it has changed: these, and whatever else differs by name or length, are read from the source.
//! Then each page of the target is either one that both had at that checkpoint, or the source's as it was at
//! some moment during the rewind. Recovery from that checkpoint along the source's log, up to what the source
//! had flushed at the end of the copying, makes of both the source's state: a record changes no page that
//! bears it already.
//!
//! # Where recovery starts
//!
//! At the oldest, by its redo point, of three checkpoints:
//!
//! - the last one before the fork that is in the target's log, or the one that the target's control file
//!   names, if that lies before the fork: the target's pages have all that came before it, durably. A standby
//!   may have a checkpoint's record long before its pages are written, so of what lies before the fork its
//!   control file's counts;
//! - the one that the source's control file names before anything is read, if that lies before the fork: the
//!   source's pages have all before *that*. A standby that was promoted a moment ago has written no page of
//!   the last checkpoints' time yet, and a block that is read from it may be older than the target's
//!   checkpoint.
//!
//! # Why the target needs no crash recovery first
//!
//! Pages change by the log alone, and so do the lengths of files. What a crash can leave torn, stale or of
//! the wrong length is what was changed since the target's last checkpoint, whose redo point is not before
//! the base's. All of that is in the log that is read for changed blocks, or is seen by a file's length:
//! none of it is kept. Free pages, chains of large values, the state page and the maps are blocks like any
//! other. A relation that the target dropped after the fork is a file that only the source has, one that it
//! made is one that only the target has, one that it cut is shorter than the source's: its tail is read. Log
//! whose end was torn off was not durable, so no page has it; that the end is the true one is proven as in
//! recovery (`target.rs`).
//!
//! # Torn pages of the source
//!
//! A running server writes pages while they are read. Their images in its log would mend them in recovery,
//! but only as long as full_page_writes is on. Every page carries two sums, so a torn one is told and read
//! again (`copy.rs`): what is written here was whole at some moment, and redo needs no image of it. So
//! neither the source's settings nor a backup under way matter. A page that a crash of the source left torn
//! is made whole by its redo, in memory; its file stays torn until the next checkpoint, which recovery does
//! not wait for. So a server that is asked for such a page writes it first. A page that stays bad is damage,
//! and an error before the target can start.
//!
//! # States
//!
//! | state | marker | what is true |
//! | ----- | ------ | ------------ |
//! | untouched | none | the target is as it was; a dry run never leaves this state |
//! | begun | `begun` | the target is as it was, and no server starts there |
//! | copying | `copying` | log and control file are the target's own, so the list of changed blocks |
//! |         |           | can be made again, from where in the log the marker says; others are in the |
//! |         |           | marker before they are written |
//! | copied | `copied` | all pages are new and durable, and so is where recovery starts and must come to |
//! | done | none | log, backup_label, control file and settings are in place, durably |
//!
//! The marker ([`storage::REWIND_MARKER`]) is durable before the first change and goes last, and what it
//! rests on is durable before it: the target's log and control file, which a killed server may not have
//! synced, and what the report of what goes says. The report gets its name, and then what is said elsewhere
//! of the discard, in the node's ledger, is said, in `begun` ([`Rewind::mark`]): a marker that goes again, or
//! never came, leaves a directory that discards nothing. While it is there no server starts. A rewind that
//! is run again goes on from the state that the marker tells: in `begun` it does all anew, the report too,
//! unless that has its name; in `copying` it reads the changed blocks once more, from any source: also those
//! that only the try before had to read, whose source had parted from the target earlier; in `copied` it only
//! does the rest. It names the branch that the rewind was begun for, for who goes on without an operator.
//!
//! PostgreSQL's pg_rewind does not know the marker, and removes it as a file that only the target has. It
//! takes no directory whose control file does not say that its server was stopped. So from the marker of
//! `copying` on, and before the first change, the control file does not say that any more; where it still
//! does, nothing has changed, and that program may have the directory.
//!
//! # Invariants
//!
//! - Nothing of the target's log changes before `copied`, nor of its control file but the state of a server
//!   that was stopped. Log that lay beside pg_wal comes in once the marker of `copying` stands (`beside.rs`).
//! - No page that is kept was changed by the target's log from the base's redo point on, or from that of an
//!   earlier try that was broken off.
//! - No page is newer than minRecoveryPoint of the control file that is written, and that is on the source's
//!   timeline if its log had a record of that: the directory is on the branch that it was rewound to.
//! - The source has all log that is common: below the fork the target loses none.
//! - The given-up branch's segments and histories are gone before the directory can start, and what
//!   archive_status says of its segments before they are.
//!
//! What belongs to one node (`plimsoll/`) is dropped but for its ledger, its roster, who it was before, what
//! others told of timelines, and what it discarded; slots go, since their positions are of the given-up
//! branch. Of SQL this crate knows the names of what the discarded commits changed (`report.rs`), nothing
//! else.

mod beginning;
mod beside;
mod blocks;
mod copy;
mod discarded;
mod error;
mod log;
mod marker;
mod moved;
mod options;
mod past;
mod plan;
mod report;
mod rewinding;
mod room;
mod source;
mod target;
mod untouched;

pub use beside::{LogArchive, remove_leftovers};
pub use blocks::BlockSet;
pub use discarded::{Change, DiscardedCommit};
pub use error::RewindError;
pub use marker::Marker;
pub use options::RewindOptions;
pub use past::{TreeRows, Version};
pub use plan::{NodeFiles, Plan};
pub use report::{Counts, Draft, Report, remove_report};
pub use rewinding::{Need, Progress, Rewind, Rewound, Stage};
pub use source::{SourceName, SourcePosition};
pub use target::{Checkpoint, Divergence, ForkPoint, Target};
#[cfg(test)]
mod tests;
