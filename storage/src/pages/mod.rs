//! Pages: their bytes, the pool that holds them, the files that they lie in.
//!
//! This room says when a page may be written ([`barrier`]). It knows neither trees nor transactions, and no
//! records.

pub mod barrier;
pub(crate) mod candidates;
pub(crate) mod counts;
pub mod free_map;
pub mod page;
pub mod pool;
pub mod relation;
