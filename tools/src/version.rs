//! The versions that the program states.

/// The version of PostgreSQL whose formats and protocols these are, as server_version begins.
pub const POSTGRES: &str = "15.18";

/// The same with our own name, as `--version` of the personalities prints it.
pub const POSTGRES_LONG: &str = concat!("15.18 (Plimsoll ", env!("CARGO_PKG_VERSION"), ")");
