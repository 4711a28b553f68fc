//! Where connections are until they have logged in: a bounded number of them, of which the oldest gives way.
//!
//! Whoever can reach a socket can open connections and say nothing. They have places of their own, so that
//! they take none from sessions, and a full room is no reason to keep a newcomer out: who logs in needs its
//! place for a moment only. Who has said whom it wants to log in as has a place among those who did, where no
//! crowd of silent ones pushes it out in the middle of a password.

use host::sync::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The log is told of those who had to leave no more often than this.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// A room for connections.
pub(crate) struct Lobby {
    places: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Those who have said nothing, in the order in which they came.
    silent: BTreeMap<u64, CancellationToken>,
    /// Those who are about to log in, in the order in which they said so.
    heard: BTreeMap<u64, CancellationToken>,
    next: u64,
    /// Who had to leave since the log was told.
    untold: u64,
    told: Option<Duration>,
    closed: bool,
}

/// A place in the room, given up on drop.
pub(crate) struct Visitor {
    lobby: Arc<Lobby>,
    number: AtomicU64,
    out: CancellationToken,
}

impl State {
    /// The oldest gives way to one more.
    fn make_room(&mut self, places: usize, heard: bool) {
        let visitors = if heard { &mut self.heard } else { &mut self.silent };
        if visitors.len() >= places
            && let Some((_, oldest)) = visitors.pop_first()
        {
            oldest.cancel();
            self.untold += 1;
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Lobby {
    /// A room of so many places for those who say nothing, and as many for the others.
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places: places.max(1), state: Mutex::default() })
    }

    /// Gives a newcomer a place, if need be that of the oldest.
    pub(crate) fn enter(self: &Arc<Self>) -> Visitor {
        let out = CancellationToken::new();
        let mut state = self.state.lock();
        state.make_room(self.places, false);
        if state.closed {
            out.cancel();
        }
        let number = state.number();
        state.silent.insert(number, out.clone());
        Visitor { lobby: self.clone(), number: AtomicU64::new(number), out }
    }

    /// How many had to leave since the last answer, if it is time to tell the log. `now` is the monotonic
    /// clock's.
    pub(crate) fn to_tell(&self, now: Duration) -> Option<u64> {
        let mut state = self.state.lock();
        if state.untold == 0 || state.told.is_some_and(|told| now < told + TOLD_EVERY) {
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.untold))
    }

    /// Shows everybody out, and who comes later too.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.silent.values().chain(state.heard.values()).for_each(CancellationToken::cancel);
    }
}

impl Visitor {
    /// It has said who it is; once.
    pub(crate) fn is_heard(&self) {
        let mut state = self.lobby.state.lock();
        // Without a place any more it has to leave.
        let Some(out) = state.silent.remove(&self.number.load(Ordering::Relaxed)) else { return };
        state.make_room(self.lobby.places, true);
        let number = state.number();
        self.number.store(number, Ordering::Relaxed);
        state.heard.insert(number, out);
    }

    /// Waits until it has to leave.
    pub(crate) async fn shown_out(&self) {
        self.out.cancelled().await;
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let mut state = self.lobby.state.lock();
        let number = self.number.load(Ordering::Relaxed);
        if state.silent.remove(&number).is_none() {
            state.heard.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_and_places_that_were_left_are_free() {
        let lobby = Lobby::new(2);
        let (first, second) = (lobby.enter(), lobby.enter());
        assert!(!first.out.is_cancelled() && lobby.to_tell(Duration::ZERO).is_none());
        let third = lobby.enter();
        assert!(first.out.is_cancelled() && !second.out.is_cancelled());
        assert_eq!(lobby.to_tell(Duration::ZERO), Some(1));
        // The place of the first is gone already, so its end frees none.
        drop(first);
        let fourth = lobby.enter();
        assert!(second.out.is_cancelled() && !third.out.is_cancelled());
        assert_eq!(lobby.to_tell(Duration::from_secs(9)), None);
        assert_eq!(lobby.to_tell(Duration::from_secs(10)), Some(1));
        drop(third);
        let fifth = lobby.enter();
        assert!(!fourth.out.is_cancelled());
        fourth.is_heard();
        // Silent ones make way among themselves, and so do those who were heard.
        let (sixth, seventh) = (lobby.enter(), lobby.enter());
        assert!(fifth.out.is_cancelled() && !fourth.out.is_cancelled());
        sixth.is_heard();
        seventh.is_heard();
        assert!(fourth.out.is_cancelled() && !sixth.out.is_cancelled());
        let fifth = lobby.enter();
        lobby.close();
        assert!([&sixth, &seventh, &fifth, &lobby.enter()].iter().all(|visitor| visitor.out.is_cancelled()));
    }
}
