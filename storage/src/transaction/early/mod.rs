//! Large transactions: what they have in pages before their commit, and what is left of those that came to
//! nothing.
//!
//! A transaction whose write set reaches `plimsoll.write_set_limit` *goes early*: it takes a place among the
//! few that may do so at once, then an xid, and puts its writes into pages under that xid, as often as its
//! write set is full again.
//!
//! ```text
//!            takes a place, xid logged            commit record of a fresh xid names it as a part
//!   (none) ----------------------------> open -------------------------------------------------> committed
//!                                         |
//!                                         | ROLLBACK, ROLLBACK TO, error, disconnect; recovery and
//!                                         | promotion for what a crash left open: an abort record
//!                                         v           all versions are gone from all pages, logged
//!                                      aborted --------------------------------------------------> forgotten
//! ```
//!
//! **The list.** The committer keeps the open and the aborted early xids with the relations where they have
//! versions (for a transaction's own xid those that it created itself do not count: they go with it). Each
//! change of the list is logged as a field of the state page ([`crate::commit::early_list`]), in the same
//! hold of the commit lock as the assignment, the commit or abort record, or the end of a sweep that it
//! follows, so no redo point falls between. Whoever redoes the log from any checkpoint thus knows the list as
//! it was at each moment: from the state page once the pages on disk are consistent, then from the records.
//! What is open when redo ends for good is aborted. An open xid may grow as old as its transaction: its
//! records give the full xid, whatever the distance ([`crate::changes::records::full_xid`]).
//! [`crate::commit::early_list::PLACES`] transactions may be early at once, others wait for a place (a lock
//! like any other, so a cycle of waits is found). The list has room for some thousand xids, and always for
//! the first one of a transaction with a place.
//!
//! **Who sees an open stamp.** Only its own transaction: versions of earlier commands by their command
//! number. The commit takes a fresh xid as every commit does, so the order of commits stays the order of
//! their xids; the early ones are subtransactions in its record. Snapshots exclude them from their assignment
//! until that commit is visible to the snapshot, on standbys until the commit record is redone. A snapshot
//! that excludes an open xid holds the pruning horizon at that xid.
//!
//! **Savepoints.** Writes since a savepoint get an xid of their own when they go into pages, so that ROLLBACK
//! TO aborts them alone. RELEASE merges it into the part of the level outside; in the list all xids of a
//! transaction are one entry from the start. Where writes would take many xids at once
//! ([`large::SMALL_PARTS_MAX`]), or the list has no room for them, they stay in the write set up to its
//! limit, and no batch makes them leave it. Only who writes more than that under more savepoints than the
//! list has room for is refused.
//!
//! **Row locks.** When writes are in pages, their locks in memory are released: an open stamp is the lock, of
//! the strongest mode. Who meets one gives up the row's lock in memory, waits for the lock that the stamp's
//! transaction holds on its xid until it has an outcome, and looks again. Those waits take part in deadlock
//! detection.
//!
//! **Rows that go into pages at once** ([`crate::Transaction::insert_direct`]): COPY hands its rows over in
//! batches. Once the transaction has written a megabyte, it goes early, and from then on a batch passes the
//! write set and the locks by: sorted by key, a leaf's rows are put there by one record. A row goes that way
//! only if, under the leaf's write latch and the write lock, nobody else holds the lock of its key and the
//! leaf has no version of it. Who takes that lock after this look reads the leaf after it has got the
//! version, and meets the open stamp; who had it before is seen. All other rows, and those of a tree of which
//! the write set holds anything, take the way of single rows: lock, look, wait, write.
//!
//! **Aborted versions** stand in the excluded set of every snapshot and hold the horizon back until a sweep
//! of the listed relations has removed them. A transaction that only filled tables which it created leaves
//! nothing to sweep: their files are removed.

mod batch;
mod direct;
mod large;

pub use batch::RowBatch;
pub(crate) use large::{Early, SavepointMark};
