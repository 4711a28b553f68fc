//! How much of its stack a fiber has left, and taller stacks: what the crate `stacker` knows is about the one
//! thread that all fibers share.

use crate::fiber;

/// What of a new stack is not counted: frames below that of the work.
const FRAMES_BYTES: usize = 8 << 10;

/// Bytes of stack that are left, where the platform tells.
pub fn stack_left() -> Option<usize> {
    match fiber::current() {
        Some(strand) => Some(here().saturating_sub(strand.stack_limit())),
        None => stacker::remaining_stack(),
    }
}

/// Runs work on a stack of its own of this many bytes, on the same thread.
pub fn with_stack<R, F: FnOnce() -> R>(bytes: usize, work: F) -> R {
    /// Puts back the fiber's own limit, also when the work panics.
    struct Back<'a>(&'a fiber::Strand, usize);
    impl Drop for Back<'_> {
        fn drop(&mut self) {
            self.0.set_stack_limit(self.1);
        }
    }
    let Some(strand) = fiber::current() else { return stacker::grow(bytes, work) };
    stacker::grow(bytes, || {
        let limit = here().saturating_sub(bytes.saturating_sub(FRAMES_BYTES));
        let _back = Back(&strand, strand.set_stack_limit(limit));
        work()
    })
}

/// About where the stack is now.
#[inline(never)]
fn here() -> usize {
    let mark = 0_u8;
    std::hint::black_box(&raw const mark).addr()
}
