//! Each turn at a gate was taken once: whoever got the lock saw what was done under it before.

use super::{Promise, Violation, violation};
use crate::history::State;

pub(super) fn check(state: &State) -> Result<(), Violation> {
    match state.turns.iter().find(|(_, count)| **count > 1) {
        Some(((gate, turn), count)) => {
            violation(Promise::Visible, format!("turn {turn} at gate {gate} was taken {count} times"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_was_taken_twice_is_told() {
        let mut state = State::default();
        state.turns.insert((0, 1), 1);
        state.turns.insert((1, 1), 1);
        assert_eq!(check(&state), Ok(()));
        state.turns.insert((1, 2), 2);
        assert!(check(&state).unwrap_err().text.contains("turn 2 at gate 1"));
    }
}
