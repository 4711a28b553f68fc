//! Pauses shorter than a millisecond: the runtime's own timer rounds up to whole ones, which would be most of
//! the time that a commit takes to a standby's readers.

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// From here on the runtime's timer is exact enough.
const LONG: Duration = Duration::from_millis(10);

#[derive(Debug)]
struct Handle(TimerFd);

impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A timer of one task.
#[derive(Debug)]
pub struct FineTimer(Option<AsyncFd<Handle>>);

impl FineTimer {
    /// Within a runtime. Where the kernel gives no timer, pauses take whole milliseconds.
    pub fn start() -> Self {
        if cfg!(feature = "simulated") {
            // Simulated time is the runtime's.
            return Self(None);
        }
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).ok();
        // SAFETY: the handle owns its descriptor, which is the same for as long as it lives.
        let register = |timer| unsafe { AsyncFd::register_with_interest(Handle(timer), Interest::READABLE) };
        Self(timer.and_then(|timer| register(timer).ok()))
    }

    /// Waits for so long. A wait that is given up leaves nothing behind.
    pub async fn sleep(&self, pause: Duration) {
        if let Some(timer) = self.0.as_ref().filter(|_| pause < LONG)
            && (pause.is_zero() || wait(timer, pause).await.is_ok())
        {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn wait(timer: &AsyncFd<Handle>, pause: Duration) -> io::Result<()> {
    // Setting it takes back what an earlier wait left unread.
    let due = Expiration::OneShot(TimeSpec::from_duration(pause));
    timer.get_ref().0.set(due, TimerSetTimeFlags::empty())?;
    loop {
        let mut ready = timer.readable().await?;
        let read = ready.try_io(|timer| Ok(nix::unistd::read(timer.get_ref().0.as_fd(), &mut [0; 8])?));
        match read {
            // It was ready for an earlier wait.
            Err(_) => {}
            Ok(read) => return read.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn a_pause_lasts_as_long_as_it_shall_also_after_one_that_was_given_up() {
        let timer = FineTimer::start();
        assert!(timer.0.is_some() || cfg!(feature = "simulated"));
        let short = Duration::from_micros(300);
        // One that runs out unread, and one that does not.
        for earlier in [Duration::from_micros(1), Duration::from_secs(5)] {
            tokio::select! {
                biased;
                () = timer.sleep(earlier) => {}
                () = tokio::task::yield_now() => {}
            }
            std::thread::yield_now();
            let began = Instant::now();
            timer.sleep(short).await;
            assert!(began.elapsed() >= short, "{:?}", began.elapsed());
        }
    }
}
