//! Cloning.
/// Stands in a directory while it is being cloned into.
pub const MARKER_FILE: &str = "plimsoll.clone";
