//! The log's bytes for streams: read from the writer's memory or from segment files, and sent without a copy.

mod in_place;
mod outgoing;
mod reading;
mod stretch;

pub(super) use outgoing::Outgoing;
pub use outgoing::{FilePart, Outlet};
pub use reading::LogPlace;
pub(super) use reading::{LogReading, source_error};
pub use stretch::Stretch;
