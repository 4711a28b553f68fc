//! A handover loses nothing: the branch that it begins has all that was acknowledged on the one that its
//! primary gave up, at whatever level, and nothing is acknowledged there afterwards. Of what somebody else
//! acknowledged meanwhile, who was promoted on that branch without waiting for it, it promises nothing.

use super::{Promise, Violation, violation};
use crate::guarantee::Guarantee;
use crate::history::{History, Level};

pub(super) fn check(history: &History, guarantee: &Guarantee) -> Result<(), Violation> {
    for (branch, given_up) in &guarantee.handed_over {
        let Some(left_at) = guarantee.branches.left_at(branch, given_up) else { continue };
        for entry in history.entries() {
            let Some((level, token)) = entry.level_told().zip(entry.token()) else { continue };
            let is_behind = token.at > left_at && guarantee.branches.home(token) == *given_up;
            let may_vanish = || guarantee.may_vanish(entry.node, entry.invoked_ms, entry.told_ms());
            if is_behind && (level > Level::Off || !may_vanish()) {
                let text = format!("{branch} was handed over at {left_at}, and lacks {entry:?}");
                return violation(Promise::OneWriter, text);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::branch::Branch;
    use crate::guarantee::{Loss, Lost};
    use crate::history::{Deed, Outcome, Write};
    use wal::Lsn;

    fn told(level: Level, token: &str) -> History {
        let mut history = History::default();
        let write = Write::new(1, level, [0].into(), [0].into());
        let pending = history.begin((0, 0), 0, "insert", 1000, Deed::Write(write));
        let outcome = Outcome::Acked { token: token.parse().ok(), warnings: Vec::new() };
        history.end(pending, 1010, outcome, |_| ());
        history
    }

    #[test]
    fn what_is_told_behind_a_handover_is_missing() {
        let mut guarantee = Guarantee::calm(Branch::new("2-a"));
        guarantee.branches.add(Branch::new("2-a"), Branch::new("1"), Lsn::new(0x100));
        assert!(check(&told(Level::Off, "1:0/101"), &guarantee).is_ok(), "it was a failover");
        guarantee.handed_over.push((Branch::new("2-a"), Branch::new("1")));
        assert!(check(&told(Level::Off, "1:0/100"), &guarantee).is_ok());
        assert!(check(&told(Level::Off, "2-a:0/101"), &guarantee).is_ok());
        assert!(check(&told(Level::Off, "1:0/101"), &guarantee).is_err());
        guarantee.losses.push(Loss { node: 0, at_ms: 1100, lost: Lost::Process });
        assert!(check(&told(Level::Off, "1:0/101"), &guarantee).is_ok(), "it went with the memory");
        assert!(check(&told(Level::Local, "1:0/101"), &guarantee).is_err());
    }

    #[test]
    fn what_another_promotion_began_meanwhile_was_not_handed_over() {
        // The role is handed over on 1, and 2-a is promoted there before: who takes the role goes on from
        // that.
        let mut guarantee = Guarantee::calm(Branch::new("4-c"));
        guarantee.branches.add(Branch::new("2-a"), Branch::new("1"), Lsn::new(0x100));
        guarantee.branches.add(Branch::new("4-c"), Branch::new("2-a"), Lsn::new(0x100));
        guarantee.handed_over.push((Branch::new("4-c"), Branch::new("1")));
        assert!(check(&told(Level::On, "2-a:0/105"), &guarantee).is_ok());
        assert!(check(&told(Level::On, "1:0/100"), &guarantee).is_ok());
        assert!(check(&told(Level::Local, "1:0/101"), &guarantee).is_err());
    }
}
