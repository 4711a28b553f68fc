//! Synchronous replication: which standbys a commit waits for, and how far they are.

mod names;
mod quorum;

pub use names::{Method, SyncNames, SyncNamesError};
pub use quorum::{Candidate, Evaluation, Progress, Standing, SyncState, evaluate};
