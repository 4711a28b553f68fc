//! The randomness of the process. Maps of the standard library, the runtime and drivers draw from it without
//! being asked whether they may, so in a simulation it is replayed too.

use std::cell::RefCell;

thread_local! {
    static SEEDED: RefCell<Option<fastrand::Rng>> = const { RefCell::new(None) };
}

/// From now on all randomness of this thread follows from `seed`.
pub(crate) fn seed(seed: u64) {
    SEEDED.with_borrow_mut(|random| *random = Some(fastrand::Rng::with_seed(seed)));
}

/// The C library's getrandom, for all in this process that ask for it by name.
///
/// # Safety
///
/// `buf` is good for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buf: *mut libc::c_void, len: usize, flags: libc::c_uint) -> isize {
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buf.cast::<u8>(), len) };
    let seeded = SEEDED.try_with(|random| match random.try_borrow_mut().as_deref_mut() {
        Ok(Some(random)) => {
            random.fill(bytes);
            true
        }
        _ => false,
    });
    if seeded == Ok(true) {
        return isize::try_from(len).unwrap_or(isize::MAX);
    }
    // SAFETY: the caller's promise.
    let got = unsafe { libc::syscall(libc::SYS_getrandom, buf, len, flags) };
    isize::try_from(got).unwrap_or(-1)
}
