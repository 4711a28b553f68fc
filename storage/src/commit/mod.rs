//! Commits: in which order they go into the log, and how long each waits.
//!
//! This room knows how far the synchronous standbys are, and not which of them said so.

pub(crate) mod confirmed_record;
pub(crate) mod early_list;
mod early_xids;
pub(crate) mod gate;
mod key_index;
pub(crate) mod levels;
pub(crate) mod pipeline;
pub(crate) mod primary_record;
pub(crate) mod remote;
pub(crate) mod request;
pub(crate) mod sight;
pub(crate) mod suspension;
pub(crate) mod sync_record;
pub(crate) mod write_set;
