//! A position that only moves forward, and those who wait for it.
//!
//! Advancing without waiters is one atomic maximum and one load. A waiter is woken only when its own position
//! is reached, so a group flush wakes exactly the commits that it covers.

use crate::ids::Lsn;
use host::Mutex;
use smallvec::SmallVec;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use tokio::sync::watch;

/// The watermark will move no more: its writer failed or was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log position {reached} will not move on: its writer has stopped")]
pub struct Stopped {
    /// Where it stands for good.
    pub reached: Lsn,
}

/// A monotonic log position with waiters.
///
/// A position is an exclusive end: everything before it is covered.
#[derive(Debug)]
pub struct Watermark {
    value: AtomicU64,
    stopped: AtomicBool,
    /// The lowest position that anybody waits for; u64::MAX with no waiter. Changed under `waiters`.
    lowest_wanted: AtomicU64,
    waiters: Mutex<Waiters>,
    channel: watch::Sender<Lsn>,
}

#[derive(Debug, Default)]
struct Waiters {
    next_ticket: u64,
    /// Unordered: a wake goes over all of them anyway, and mostly takes them all.
    list: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    wanted: u64,
    ticket: u64,
    waker: Waker,
}

impl Watermark {
    /// A watermark that stands at `start`.
    pub fn new(start: Lsn) -> Self {
        Self {
            value: AtomicU64::new(start.get()),
            stopped: AtomicBool::new(false),
            lowest_wanted: AtomicU64::new(u64::MAX),
            waiters: Mutex::default(),
            channel: watch::Sender::new(start),
        }
    }

    /// Where it stands.
    #[inline]
    pub fn get(&self) -> Lsn {
        Lsn::new(self.value.load(Ordering::Acquire))
    }

    /// Moves it forward to `to` and wakes those who waited for that; never moves it back.
    #[inline]
    pub fn advance(&self, to: Lsn) {
        self.advance_and(to, || {});
    }

    /// Moves it forward like [`Watermark::advance`], and calls `first` before those are woken who waited for
    /// that.
    pub fn advance_and(&self, to: Lsn, first: impl FnOnce()) {
        // SeqCst on both sides: either we see the waiter's `lowest_wanted`, or it sees our value.
        let before = self.value.fetch_max(to.get(), Ordering::SeqCst);
        if before >= to.get() {
            return;
        }
        first();
        if self.lowest_wanted.load(Ordering::SeqCst) <= to.get() {
            self.wake_up_to(to.get());
        }
        if self.channel.receiver_count() > 0 {
            self.publish();
        }
    }

    /// Ends all waits, now and later, that the present position does not satisfy.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.wake_up_to(u64::MAX);
    }

    /// Waits until it stands at or after `upto`; returns where it stands then. Safe to drop at any time.
    pub fn wait(&self, upto: Lsn) -> Reach<'_> {
        Reach { watermark: self, wanted: upto.get(), ticket: None }
    }

    /// Waits until it stands after `lsn`.
    pub fn wait_past(&self, lsn: Lsn) -> Reach<'_> {
        self.wait(lsn + 1)
    }

    /// Waits like [`Watermark::wait`], blocking this thread.
    ///
    /// # Errors
    /// Fails once the mark is stopped below.
    pub fn wait_blocking(&self, upto: Lsn) -> Result<Lsn, Stopped> {
        if let Some(done) = self.outcome(upto.get()) {
            return done;
        }
        let waker = Waker::from(Arc::new(Unpark(host::thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut reach = self.wait(upto);
        loop {
            match Pin::new(&mut reach).poll(&mut context) {
                Poll::Ready(done) => return done,
                Poll::Pending => host::thread::park(),
            }
        }
    }

    /// A channel that carries the newest position.
    pub fn subscribe(&self) -> watch::Receiver<Lsn> {
        let receiver = self.channel.subscribe();
        self.publish();
        receiver
    }

    /// Whether anybody waits at this moment.
    pub fn is_awaited(&self) -> bool {
        self.lowest_wanted.load(Ordering::SeqCst) != u64::MAX
    }

    /// How many wait at this moment.
    pub fn waiting(&self) -> usize {
        self.waiters.lock().list.len()
    }

    fn publish(&self) {
        self.channel.send_if_modified(|sent| {
            let now = Lsn::new(self.value.load(Ordering::SeqCst));
            let newer = now > *sent;
            if newer {
                *sent = now;
            }
            newer
        });
    }

    fn outcome(&self, wanted: u64) -> Option<Result<Lsn, Stopped>> {
        let value = self.value.load(Ordering::SeqCst);
        if value >= wanted {
            Some(Ok(Lsn::new(value)))
        } else if self.stopped.load(Ordering::SeqCst) {
            Some(Err(Stopped { reached: Lsn::new(value) }))
        } else {
            None
        }
    }

    fn wake_up_to(&self, position: u64) {
        let mut reached: SmallVec<[Waker; 32]> = SmallVec::new();
        {
            let mut waiters = self.waiters.lock();
            let mut lowest = u64::MAX;
            let mut at = 0;
            while let Some(waiter) = waiters.list.get(at) {
                let skipped = host::planted!("of several waiters one is woken") && !reached.is_empty();
                if waiter.wanted <= position && !skipped {
                    reached.push(waiters.list.swap_remove(at).waker);
                } else {
                    lowest = lowest.min(waiter.wanted);
                    at += 1;
                }
            }
            self.lowest_wanted.store(lowest, Ordering::SeqCst);
        }
        reached.into_iter().for_each(Waker::wake);
    }

    /// Enters or renews a wait; returns its ticket.
    fn register(&self, wanted: u64, ticket: Option<u64>, waker: &Waker) -> u64 {
        let mut waiters = self.waiters.lock();
        if let Some(ticket) = ticket
            && let Some(waiter) = waiters.list.iter_mut().find(|waiter| waiter.ticket == ticket)
        {
            waiter.waker.clone_from(waker);
            return ticket;
        }
        let ticket = waiters.next_ticket;
        waiters.next_ticket += 1;
        waiters.list.push(Waiter { wanted, ticket, waker: waker.clone() });
        self.lowest_wanted.fetch_min(wanted, Ordering::SeqCst);
        ticket
    }

    fn forget(&self, ticket: u64) {
        let mut waiters = self.waiters.lock();
        if let Some(at) = waiters.list.iter().position(|waiter| waiter.ticket == ticket) {
            waiters.list.swap_remove(at);
            let lowest = waiters.list.iter().map(|waiter| waiter.wanted).min().unwrap_or(u64::MAX);
            self.lowest_wanted.store(lowest, Ordering::SeqCst);
        }
    }
}

/// The wait for a [`Watermark`].
#[derive(Debug)]
#[must_use = "a wait does nothing until it is awaited"]
pub struct Reach<'a> {
    watermark: &'a Watermark,
    wanted: u64,
    ticket: Option<u64>,
}

impl Future for Reach<'_> {
    type Output = Result<Lsn, Stopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let watermark = self.watermark;
        // As if it moved right after the first look: in a simulation nothing comes between the two.
        let is_blind =
            self.ticket.is_none() && host::planted!("a waiter does not look again once it is registered");
        if let Some(done) = watermark.outcome(self.wanted).filter(|_| !is_blind) {
            return Poll::Ready(done);
        }
        let ticket = watermark.register(self.wanted, self.ticket, context.waker());
        self.ticket = Some(ticket);
        if is_blind {
            return Poll::Pending;
        }
        // It may have moved, or stopped, between the look and the registration.
        match watermark.outcome(self.wanted) {
            Some(done) => Poll::Ready(done),
            None => Poll::Pending,
        }
    }
}

impl Drop for Reach<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.watermark.forget(ticket);
        }
    }
}

struct Unpark(host::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn lsn(value: u64) -> Lsn {
        Lsn::new(value)
    }

    #[test]
    fn it_never_moves_back() {
        let mark = Watermark::new(lsn(10));
        mark.advance(lsn(30));
        mark.advance(lsn(20));
        assert_eq!(mark.get(), lsn(30));
    }

    #[test]
    fn only_those_whose_position_is_reached_are_woken() {
        let mark = Watermark::new(lsn(0));
        let mut context = Context::from_waker(Waker::noop());
        let (mut near, mut far) = (mark.wait(lsn(5)), mark.wait(lsn(9)));
        assert!(Pin::new(&mut near).poll(&mut context).is_pending());
        assert!(Pin::new(&mut far).poll(&mut context).is_pending());
        mark.advance(lsn(5));
        assert_eq!(mark.waiting(), 1, "the far one still waits");
        assert_eq!(Pin::new(&mut near).poll(&mut context), Poll::Ready(Ok(lsn(5))));
        drop(far);
        assert_eq!(mark.waiting(), 0, "a dropped wait is forgotten");
        assert!(!mark.is_awaited());
    }

    #[test]
    fn waiting_past_a_position_needs_a_later_one() {
        let mark = Watermark::new(lsn(5));
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut mark.wait_past(lsn(5))).poll(&mut context).is_pending());
        assert!(Pin::new(&mut mark.wait(lsn(5))).poll(&mut context).is_ready());
    }

    #[test]
    fn stopping_ends_the_waits_that_cannot_be_met() {
        let mark = Arc::new(Watermark::new(lsn(1)));
        let waiting = std::thread::spawn({
            let mark = mark.clone();
            move || mark.wait_blocking(lsn(2))
        });
        while mark.waiting() == 0 {
            std::thread::yield_now();
        }
        mark.stop();
        assert_eq!(waiting.join().unwrap(), Err(Stopped { reached: lsn(1) }));
        assert_eq!(mark.wait_blocking(lsn(1)), Ok(lsn(1)), "what is reached stays reached");
    }

    #[test]
    fn no_wake_is_lost_between_threads() {
        const STEPS: u64 = 20_000;
        let mark = Arc::new(Watermark::new(lsn(0)));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let mark = mark.clone();
                std::thread::spawn(move || {
                    (1..=STEPS).try_for_each(|at| mark.wait_blocking(lsn(at)).map(drop))
                })
            })
            .collect();
        for at in 1..=STEPS {
            mark.advance(lsn(at));
        }
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Ok(()));
        }
    }

    #[tokio::test]
    async fn a_subscriber_sees_the_newest_position() {
        let mark = Watermark::new(lsn(1));
        let mut news = mark.subscribe();
        mark.advance(lsn(7));
        tokio::time::timeout(Duration::from_secs(5), news.changed()).await.unwrap().unwrap();
        assert_eq!(*news.borrow(), lsn(7));
    }
}
