//! Values of a thread's own: of a fiber in a simulation.

use crate::fiber;
use std::cell::{Cell, RefCell};
use std::thread::LocalKey;

/// A value that each thread has for itself.
#[derive(Debug)]
pub struct Local<T: 'static> {
    make: fn() -> T,
    real: &'static LocalKey<T>,
}

impl<T: 'static> Local<T> {
    /// For [`local!`](crate::local!).
    pub const fn new(make: fn() -> T, real: &'static LocalKey<T>) -> Self {
        Self { make, real }
    }

    /// Looks at it.
    pub fn with<R>(&'static self, look: impl FnOnce(&T) -> R) -> R {
        match fiber::current() {
            Some(strand) => {
                let value = strand.local(std::ptr::from_ref(self).addr(), self.make);
                // SAFETY: the value is boxed and stays where it is until its fiber's strand is dropped, which
                // `strand` keeps.
                look(unsafe { &*value })
            }
            None => self.real.with(look),
        }
    }
}

impl<T: 'static> Local<Cell<T>> {
    /// As [`Cell::get`].
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }
    /// As [`Cell::set`].
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }
    /// As [`Cell::take`].
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }
    /// As [`Cell::replace`].
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> Local<RefCell<T>> {
    /// As [`RefCell::borrow`].
    pub fn with_borrow<R>(&'static self, look: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| look(&cell.borrow()))
    }
    /// As [`RefCell::borrow_mut`].
    pub fn with_borrow_mut<R>(&'static self, look: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| look(&mut cell.borrow_mut()))
    }
}

/// Declares values of each thread's own, as `std::thread_local!` does.
#[macro_export]
macro_rules! local {
    ($($(#[$about:meta])* $seen:vis static $name:ident: $of:ty = const { $value:expr };)+) => {$(
        $(#[$about])*
        $seen static $name: $crate::local::Local<$of> = {
            ::std::thread_local! { static REAL: $of = const { $value }; }
            $crate::local::Local::new(|| $value, &REAL)
        };
    )+};
}
