//! How a directory becomes a running database, and how it is brought to rest: creation, opening, redo of the
//! log, checkpoints, backups, promotion.

pub(crate) mod backup;
pub(crate) mod begin;
pub(crate) mod checkpoint;
pub(crate) mod consistency;
pub(crate) mod create;
pub(crate) mod offline;
pub(crate) mod open;
pub(crate) mod own_files;
mod own_log;
pub(crate) mod promote;
mod read_ahead;
pub(crate) mod replay;
pub(crate) mod standby;
mod tail;
pub(crate) mod target;
