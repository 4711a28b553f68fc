//! The writing side of the log, on the virtual disk and read back by the reader and by pg_waldump.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archived;
mod crash;
mod flush;
mod layout;
mod proof;
mod segments;
mod standby;
mod support;
