//! Replication: senders, receivers, slots, the synchronous quorum, lag, promotion and fencing.
//!
//! The protocol logic is state machines without I/O: messages and the time go in, actions come out. Thin
//! drivers over tokio streams perform them, so a seeded simulator can run the same logic.
//!
//! Rooms, lowest first; each imports from those before it only:
//!
//! | room         | owns                                                                             |
//! |--------------|----------------------------------------------------------------------------------|
//! | [`error`]    | what replication refuses, with the SQLSTATE that the wire carries                |
//! | [`directory_id`] | which data directory a standby works on                                      |
//! | [`roster`]   | the nodes of the cluster, and where they can be asked                            |
//! | [`sync`]     | who holds what, and which standbys commits wait for                              |
//! | [`timeline`] | which branch of the log is ours, which one replaced it, whether to promote       |
//! | [`lag`]      | how far a standby is behind, in bytes and in time                                |
//! | [`slots`]    | which log must be kept for whom                                                  |
//! | [`sender`]   | one stream to a standby as a state machine, and the table of all streams         |
//! | [`receiver`] | a standby's stream as a state machine, and whose turn it is to give it log       |
//! | [`driver`]   | sockets, the log's files and redo: the only room that reads or sends log         |
//!
//! Durability: a slot's position is durable when [`slots::Slots::save`] returns; a fence when
//! [`timeline::fence::FenceStore::raise`] returns; a standby reports WAL as flushed only after its fsync.
//!
//! Knows no SQL and no tables.

pub mod directory_id;
pub mod driver;
pub mod error;
pub mod lag;
pub mod receiver;
pub mod roster;
pub mod sender;
pub mod slots;
pub mod sync;
pub mod timeline;

pub use error::ReplicaError;
