//! An evaluation that is done again: what it did before stands.

use sql_interface::Result;
use sql_types::Datum;
use std::cell::{Cell, RefCell};

/// What volatile functions gave while a row was evaluated. That is done again after each value that has to
/// be waited for; each call is made once, so that a clock read before a wait tells the time before it.
#[derive(Debug, Default)]
pub struct Replay {
    given: RefCell<Vec<Datum>>,
    /// The next one that is asked for.
    next: Cell<usize>,
}

impl Replay {
    /// The evaluation begins, perhaps again.
    pub fn begin(&self) {
        self.next.set(0);
    }

    /// What the next call gives, or gave.
    pub(super) fn call(&self, function: impl FnOnce() -> Result<Datum>) -> Result<Datum> {
        let known = self.given.borrow().get(self.next.get()).cloned();
        let value = match known {
            Some(value) => value,
            None => {
                let value = function()?;
                self.given.borrow_mut().push(value.clone());
                value
            }
        };
        self.next.set(self.next.get() + 1);
        Ok(value)
    }
}
