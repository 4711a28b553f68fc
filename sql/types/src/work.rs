//! What a long computation owes to others: it hears when it is to stop, leaves a thread that serves others
//! too, and asks before it takes much memory.
//!
//! Functions and operators know nothing of whom they work for. Who computes for somebody puts a [`Keeper`] on
//! the thread while it does; without one, nothing here has an effect. What is short asks nobody: the
//! questions cost something.

use crate::VALUE_BYTES_MAX;
use crate::error::{Error, Result};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// Work of about so many bytes is done where it comes up; more of it, in one piece or in several of one turn,
/// goes aside. It takes half a millisecond or so.
const LONG_BYTES: usize = 256 << 10;
/// Work of fewer bytes is done where it comes up, and not even counted.
pub const SHORT_BYTES: usize = 4 << 10;
/// Memory that is asked for.
const LARGE_BYTES: usize = 1 << 20;
/// Values that together have so many bytes are asked for once.
const MADE_BYTES: usize = 4 << 20;
/// Steps of a loop between two looks at whether it is to stop.
pub const STEPS: usize = 1 << 16;

/// Looks after what is computed for somebody.
pub trait Keeper: Send + Sync {
    /// Fails if it is to stop. Asked every few milliseconds.
    ///
    /// # Errors
    ///
    /// Why it is to stop.
    fn check(&self) -> Result<()>;
    /// Does long work where nobody else waits for it to end.
    fn aside(&self, work: &mut dyn FnMut());
    /// Takes memory that is about to be filled; an error if that is more than there may be.
    ///
    /// # Errors
    ///
    /// 53200.
    fn reserve(&self, bytes: usize) -> Result<()>;
    /// Gives back what was taken, when it has been filled and so shows in what the process has.
    fn release(&self, bytes: usize);
}

host::thread::local! {
    static KEEPER: RefCell<Option<Arc<dyn Keeper>>> = const { RefCell::new(None) };
    /// Work since the thread turned to what it does now.
    static SPENT: Cell<usize> = const { Cell::new(0) };
    /// Bytes of values that the thread has made since it last asked whether there is room for more.
    static MADE: Cell<usize> = const { Cell::new(0) };
}

/// Puts a keeper on the thread as long as it lives.
pub struct Kept<'a>(&'a mut Option<Arc<dyn Keeper>>);

impl<'a> Kept<'a> {
    /// Exchanges the thread's keeper and this one.
    #[inline]
    pub fn new(keeper: &'a mut Option<Arc<dyn Keeper>>) -> Self {
        exchange(keeper);
        Self(keeper)
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        exchange(self.0);
    }
}

#[inline]
fn exchange(keeper: &mut Option<Arc<dyn Keeper>>) {
    SPENT.set(0);
    KEEPER.with(|kept| std::mem::swap(&mut *kept.borrow_mut(), keeper));
}

/// Who looks after what this thread computes, for work that goes on in another one.
pub fn keeper() -> Option<Arc<dyn Keeper>> {
    KEEPER.with(|kept| kept.borrow().clone())
}

/// Fails if what this thread computes is to stop. For loops that may take long, every [`STEPS`] steps or
/// megabyte.
///
/// # Errors
///
/// 57014 if the work is to stop.
pub fn check() -> Result<()> {
    keeper().map_or(Ok(()), |keeper| keeper.check())
}

/// Does work that costs about as much as touching so many bytes.
#[inline]
pub fn aside<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes < SHORT_BYTES {
        return work();
    }
    let spent = SPENT.get().saturating_add(bytes);
    if spent < LONG_BYTES {
        SPENT.set(spent);
        return work();
    }
    long(work)
}

#[cold]
fn long<T>(work: impl FnOnce() -> T) -> T {
    SPENT.set(0);
    let Some(keeper) = keeper() else { return work() };
    let (mut work, mut done) = (Some(work), None);
    keeper.aside(&mut || done = work.take().map(|work| work()));
    match (done, work) {
        (Some(done), _) => done,
        // A keeper that does not keep its word.
        (None, Some(work)) => work(),
        (None, None) => unreachable!("work is taken only to be done"),
    }
}

/// Counts a value that is not large by itself: many of them are, and then there must be room for as many
/// again.
fn note_made(bytes: usize) -> Result<()> {
    let made = MADE.get().saturating_add(bytes);
    MADE.set(made);
    if made < MADE_BYTES {
        return Ok(());
    }
    // After a refusal the next value is asked for again.
    if let Some(keeper) = keeper() {
        keeper.reserve(MADE_BYTES)?;
        keeper.release(MADE_BYTES);
    }
    MADE.set(0);
    Ok(())
}

/// Makes a value of about so many bytes; an error if there is no memory for it.
///
/// # Errors
///
/// 53200 if there is no memory for it, or what `make` fails with.
#[inline]
pub fn large<T, E: From<Error>>(
    bytes: usize,
    make: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    if bytes < SHORT_BYTES {
        return make();
    }
    if SPENT.get().saturating_add(bytes) >= LONG_BYTES {
        // What adds up is stopped between its parts.
        check()?;
    }
    if bytes < LARGE_BYTES {
        note_made(bytes)?;
        return aside(bytes, make);
    }
    let Some(keeper) = keeper() else { return make() };
    keeper.reserve(bytes)?;
    let reserved = Reserved { keeper, bytes };
    let made = long(make);
    drop(reserved);
    made
}

/// Fails if there is no memory for so many bytes, which copies of something large are about to take.
///
/// # Errors
///
/// 57014 if the work is to stop, 53200 if there is no memory for them.
#[inline]
pub fn room_for(bytes: usize) -> Result<()> {
    if bytes < LARGE_BYTES { Ok(()) } else { large(bytes, || Ok(())) }
}

/// A value that grows by pieces: it asks for memory as it does, and may become no longer than values may be.
#[derive(Debug, Default)]
pub struct Growth {
    asked_bytes: usize,
}

impl Growth {
    /// Before the value has so many bytes.
    ///
    /// # Errors
    ///
    /// 57014 if the work is to stop, 53200 if there is no memory for it.
    #[inline]
    pub fn to(&mut self, bytes: usize) -> Result<()> {
        if bytes <= self.asked_bytes.max(LARGE_BYTES) { Ok(()) } else { self.ask(bytes) }
    }

    #[cold]
    fn ask(&mut self, bytes: usize) -> Result<()> {
        if bytes > VALUE_BYTES_MAX {
            return Err(Error::too_long());
        }
        // Vectors grow by doubling.
        self.asked_bytes = bytes.saturating_mul(2);
        large(self.asked_bytes, check)
    }
}

struct Reserved {
    keeper: Arc<dyn Keeper>,
    bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.keeper.release(self.bytes);
    }
}

/// Sorts as `slice::sort_by` does. Much is sorted aside, and a sort that is to stop does.
///
/// # Errors
///
/// 57014 if the work is to stop, 53200 if there is no memory for it.
pub fn sort_by<T>(rows: &mut [T], mut compare: impl FnMut(&T, &T) -> std::cmp::Ordering) -> Result<()> {
    /// Rows that are sorted at once.
    const PIECE: usize = 1 << 13;
    if rows.len() <= PIECE {
        rows.sort_by(compare);
        return Ok(());
    }
    aside(LONG_BYTES, || {
        for piece in rows.chunks_mut(PIECE) {
            piece.sort_by(&mut compare);
            check()?;
        }
        // What remains is to merge pieces, which the sort finds in order.
        let mut sorted = PIECE;
        while sorted < rows.len() {
            sorted *= 2;
            for pair in rows.chunks_mut(sorted) {
                pair.sort_by(&mut compare);
                check()?;
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlstate::SqlState;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Counting {
        asides: AtomicUsize,
        checks: AtomicUsize,
        reserved: AtomicUsize,
        stop_after: usize,
    }

    impl Keeper for Counting {
        fn check(&self) -> Result<()> {
            if self.checks.fetch_add(1, Ordering::Relaxed) == self.stop_after {
                return Err(Error::new(SqlState::QUERY_CANCELED, "stop"));
            }
            Ok(())
        }
        fn aside(&self, work: &mut dyn FnMut()) {
            self.asides.fetch_add(1, Ordering::Relaxed);
            work();
        }
        fn reserve(&self, bytes: usize) -> Result<()> {
            if bytes > 2 * LARGE_BYTES {
                return Err(Error::new(SqlState::OUT_OF_MEMORY, "no"));
            }
            self.reserved.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        }
        fn release(&self, bytes: usize) {
            self.reserved.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn kept(counting: &Arc<Counting>, work: impl FnOnce()) {
        let mut keeper: Option<Arc<dyn Keeper>> = Some(counting.clone());
        let kept = Kept::new(&mut keeper);
        work();
        drop(kept);
        assert!(keeper.is_some() && super::keeper().is_none());
    }

    #[test]
    fn short_work_stays_and_what_adds_up_goes_aside() {
        let counting = Arc::new(Counting { stop_after: usize::MAX, ..Counting::default() });
        assert_eq!(aside(LONG_BYTES, || 7), 7, "nobody is asked for");
        kept(&counting, || {
            let pieces = 10;
            for at in 0..4 * pieces {
                assert_eq!(aside(LONG_BYTES / pieces, || at), at);
            }
        });
        assert!((3..=4).contains(&counting.asides.load(Ordering::Relaxed)));
    }

    #[test]
    fn memory_is_asked_for_and_given_back() {
        let counting = Arc::new(Counting { stop_after: usize::MAX, ..Counting::default() });
        kept(&counting, || {
            let made: Result<usize> =
                large(2 * LARGE_BYTES, || Ok(counting.reserved.load(Ordering::Relaxed)));
            assert_eq!(made, Ok(2 * LARGE_BYTES));
            let refused: Result<()> = large(3 * LARGE_BYTES, || Ok(()));
            assert_eq!(refused.map_err(|error| error.state()), Err(SqlState::OUT_OF_MEMORY));
        });
        assert_eq!(counting.reserved.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_long_sort_is_a_stable_sort_and_can_be_stopped() {
        let mut random = fastrand::Rng::with_seed(7);
        let rows: Vec<(u16, usize)> = (0..100_000).map(|at| (random.u16(0..500), at)).collect();
        let mut expected = rows.clone();
        expected.sort_by_key(|row| row.0);
        for stop_after in [usize::MAX, 0, 11, 16] {
            let counting = Arc::new(Counting { stop_after, ..Counting::default() });
            let mut sorted = rows.clone();
            kept(&counting, || {
                let done = sort_by(&mut sorted, |a, b| a.0.cmp(&b.0));
                assert_eq!(done.is_ok(), stop_after == usize::MAX);
            });
            assert_eq!(sorted == expected, stop_after == usize::MAX);
        }
    }
}
