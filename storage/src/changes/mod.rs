//! Changes of pages: what each record says, how a change is made and logged, and how redo makes it again.
//!
//! The writer and redo call the same code ([`records::apply`]), so the bytes of a page are a function of the
//! log.

mod kept;
pub(crate) mod log;
pub mod records;
pub(crate) mod redo;
pub(crate) mod resume;
pub mod state_page;
pub mod store;
pub(crate) mod writer;
