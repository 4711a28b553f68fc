//! Bugs that are planted on purpose: each breaks one rule, so that it is known what the checks catch.
//!
//! The code that has one asks `host::planted!("what it does wrong")`, which is `false` in what users run. One
//! bug is on in a simulation, or none.

use std::cell::Cell;

thread_local! {
    static ON: Cell<Option<&'static str>> = const { Cell::new(None) };
    static MET: Cell<u64> = const { Cell::new(0) };
}

/// Switches a bug on in this thread, and any other off.
pub fn plant(bug: Option<&'static str>) {
    ON.set(bug);
    MET.set(0);
}

/// Whether a bug is on; counts how often the code came by.
pub fn is_on(bug: &str) -> bool {
    let on = ON.get() == Some(bug);
    if on {
        MET.set(MET.get() + 1);
    }
    on
}

/// How often the code came by the bug that is on.
pub fn met() -> u64 {
    MET.get()
}
