//! Replication: senders, receivers, slots, the synchronous quorum, lag, promotion and fencing.
//!
//! The protocol logic is state machines without I/O: messages and the time go in, actions come out. Thin drivers
//! over tokio streams perform them, so a seeded simulator can run the same logic.
//!
//! Durability: a slot's position is durable when [`slots::Slots::save`] returns; a fence when
//! [`fence::FenceStore::raise`] returns; a standby reports WAL as flushed only after its fsync.
//!
//! Knows no SQL and no tables.

pub mod branch;
pub mod driver;
pub mod error;
pub mod fence;
pub mod lag;
pub mod promotion;
pub mod receiver;
pub mod sender;
pub mod senders;
pub mod slots;
pub mod source;
pub mod sync;

pub use error::ReplicaError;
