//! Runs many plans, each in a process of its own, and adds up what they came to.
//!
//! The calling process makes the files that nodes begin with once, and then forks for each plan, so that
//! every run begins with the same memory: what it comes to depends on its plan alone, whether it runs alone
//! or among thousands. The caller has one thread and one `Runner`; so many runs as it likes go on at once.

#[cfg(feature = "simulated")]
mod child;
#[cfg(feature = "simulated")]
mod hunt;
mod outcome;
#[cfg(feature = "simulated")]
mod plans;
mod totals;

#[cfg(feature = "simulated")]
pub use child::within;
#[cfg(feature = "simulated")]
pub use hunt::{Catch, hunt};
pub use outcome::Outcome;
#[cfg(feature = "simulated")]
pub use plans::{Options, Runner, outcome_of};
pub use totals::{Failed, Totals};
