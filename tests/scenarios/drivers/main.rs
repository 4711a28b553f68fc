//! Drivers and tools, unmodified and in their newest versions. Each driver's script in its own language is
//! run on a server of ours and on a real PostgreSQL 15, and must print the same on both.

mod bouncer;
mod java;
mod javascript;
mod psql;
mod python;
mod rust;
mod session_attributes;
mod toolbox;
mod utilities;
