//! What both servers say while the roles change, and what is left to do where that did not come to its end.
//!
//! Who could not be asked may be anything. So nobody is to be promoted on the word of this command but where
//! the standby itself said that it is no primary: the other one could be, and then both would write.

use server::HANDOVER_FILE;
use std::path::Path;

/// What the standby says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Successor {
    /// It takes writes, on a later timeline.
    Primary,
    /// It does not yet.
    Standby,
    /// It could not be asked, for this reason.
    Silent(String),
}

/// What the old primary says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OldPrimary {
    pub(super) is_standby: bool,
    /// It was started since.
    pub(super) is_new: bool,
    /// The timeline of which it receives log, if that is a later one.
    pub(super) follows: Option<i64>,
}

/// What the directory of the old primary says of the handover. The marker is there before the standby is
/// asked, and goes once the directory is a standby's, or it is backed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handover {
    /// The standby was not asked, or refused.
    Kept,
    Undecided,
    /// The standby promotes itself, and was told that it may.
    Decided,
}

impl Handover {
    pub(super) fn of(data: &Path) -> Self {
        let is_there = |name: &str| data.join(name).try_exists();
        match (is_there(HANDOVER_FILE), is_there("standby.signal")) {
            (Ok(false), Ok(true)) => Self::Decided,
            (Ok(false), Ok(false)) => Self::Kept,
            _ => Self::Undecided,
        }
    }
}

/// What both said last.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) successor: Successor,
    /// Or why it could not be asked.
    pub(super) old: Result<OldPrimary, String>,
}

impl Seen {
    /// Neither was asked yet.
    pub(super) fn nothing() -> Self {
        let why = || "there was no time to".to_owned();
        Self { successor: Successor::Silent(why()), old: Err(why()) }
    }

    /// The later timeline of which the old primary receives log.
    pub(super) fn followed(&self) -> Option<i64> {
        self.old.as_ref().ok()?.follows
    }

    /// Whether the old primary was started again, and not as a standby.
    pub(super) fn is_primary_again(&self) -> bool {
        self.old.as_ref().is_ok_and(|old| old.is_new && !old.is_standby)
    }

    /// What is left to do. `handover`: what the old primary's directory says, if that is of this machine;
    /// `has_ended`: its process has.
    pub(super) fn left(&self, standby: &str, handover: Option<Handover>, has_ended: bool) -> String {
        match &self.successor {
            Successor::Primary => self.left_of_old(standby, has_ended),
            Successor::Standby => self.left_of_standby(standby, handover, has_ended),
            Successor::Silent(why) => self.left_of_silent(standby, why, handover, has_ended),
        }
    }

    fn left_of_old(&self, standby: &str, has_ended: bool) -> String {
        match &self.old {
            Ok(old) if old.is_standby => {
                format!("\"{standby}\" is the primary, but the old one does not stream from it yet")
            }
            Ok(_) => {
                format!("\"{standby}\" is the primary, but the old one is no standby: look at its log")
            }
            Err(_) if has_ended => {
                format!("\"{standby}\" is the primary, but the old one is not back: start it")
            }
            Err(why) => format!(
                "\"{standby}\" is the primary, but whether the old one follows is not known: it could not be \
                 asked: {why}: if it does not run, start it"
            ),
        }
    }

    /// The standby says that it is one.
    fn left_of_standby(&self, standby: &str, handover: Option<Handover>, has_ended: bool) -> String {
        match (&self.old, handover) {
            (Ok(OldPrimary { follows: Some(timeline), .. }), _) => format!(
                "\"{standby}\" is a standby, but the old primary receives timeline {timeline}: another \
                 server was promoted, and their logs say which"
            ),
            (Ok(old), Some(Handover::Decided)) if old.is_standby => format!(
                "\"{standby}\" was told to promote itself and is not done yet, and the old primary follows \
                 it: if the log of \"{standby}\" tells of no promotion, run \"plimsoll promote\" on it"
            ),
            (Ok(old), _) if old.is_standby => format!(
                "the switchover is undecided, and nobody may be the primary now: run \"plimsoll promote\" on \
                 \"{standby}\", or, only if that one is gone for good, on the old primary"
            ),
            (Ok(_), _) => format!(
                "the old primary has not ended, and \"{standby}\" is a standby still: look at their logs"
            ),
            (Err(_), Some(Handover::Decided)) if has_ended => format!(
                "the old primary has ended, and \"{standby}\" was told to promote itself and is not done \
                 yet: start the old one, which follows it, and if the log of \"{standby}\" tells of no \
                 promotion, run \"plimsoll promote\" on it"
            ),
            (Err(_), Some(Handover::Kept)) if has_ended => ended_before(),
            (Err(_), _) if has_ended => format!(
                "the old primary has ended in the middle of it, and the switchover is undecided: start the \
                 old one, which waits for a promotion, and run \"plimsoll promote\" on \"{standby}\", or, \
                 only if that one is gone for good, on the old one"
            ),
            (Err(why), _) => format!(
                "\"{standby}\" is a standby still, and the old primary could not be asked: {why}: look at \
                 their logs"
            ),
        }
    }

    /// Nobody knows what the standby is, so nothing is said that needs it to be none.
    fn left_of_silent(
        &self,
        standby: &str,
        why: &str,
        handover: Option<Handover>,
        has_ended: bool,
    ) -> String {
        let silent = format!("\"{standby}\" could not be asked: {why}");
        let find_out = format!("nobody is to be promoted before it is known what \"{standby}\" is");
        match (&self.old, handover) {
            (Ok(old), Some(Handover::Decided)) if old.is_standby => format!(
                "\"{standby}\" was told to promote itself, and the old primary follows it, but whether that \
                 is done is not known: {silent}: its log tells"
            ),
            (Ok(old), _) if old.is_standby => {
                format!("the old primary is a standby now, and {silent}: {find_out}")
            }
            (Ok(_), _) => format!("the old primary has not ended, and {silent}: look at their logs"),
            (Err(_), Some(Handover::Decided)) if has_ended => format!(
                "the old primary has ended, and \"{standby}\" was told to promote itself, but whether that \
                 is done is not known: {silent}: start the old one, which follows it, and look at the log of \
                 \"{standby}\""
            ),
            (Err(_), Some(Handover::Kept)) if has_ended => ended_before(),
            (Err(_), _) if has_ended => format!(
                "the old primary has ended in the middle of it, and {silent}: start the old one, which waits \
                 for a promotion, but {find_out}"
            ),
            (Err(old), _) => {
                format!("the old primary could not be asked: {old}; and {silent}: look at their logs")
            }
        }
    }
}

fn ended_before() -> String {
    "the old primary has ended before it handed over, and is still the primary: start it".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_to_be_promoted_who_was_not_asked() {
        let silent = || Err("the old one's reason".to_owned());
        let of_old = |is_standby, follows| Ok(OldPrimary { is_standby, is_new: is_standby, follows });
        let all_of_old = [of_old(true, Some(2)), of_old(true, None), of_old(false, None), silent()];
        let why = "the standby's reason";
        let successors = [Successor::Primary, Successor::Standby, Successor::Silent(why.to_owned())];
        let handovers = [None, Some(Handover::Kept), Some(Handover::Undecided), Some(Handover::Decided)];
        let mut advised = 0;
        let both = successors.iter().flat_map(|one| all_of_old.iter().map(move |old| (one, old)));
        for (successor, old) in both {
            for (handover, has_ended) in handovers.iter().flat_map(|one| [(*one, false), (*one, true)]) {
                let seen = Seen { successor: successor.clone(), old: old.clone() };
                let left = seen.left("two", handover, has_ended);
                let promotes = left.contains("\"plimsoll promote\"");
                advised += usize::from(promotes);
                assert!(!promotes || *successor == Successor::Standby, "{seen:?}: {left}");
                let is_kept = old.is_err() && has_ended && handover == Some(Handover::Kept);
                let tells_why = left.contains(why) || is_kept;
                assert!(tells_why || !matches!(successor, Successor::Silent(_)), "{seen:?}: {left}");
                let tells_old = left.contains("the old one's reason") || old.is_ok() || has_ended;
                assert!(tells_old, "{seen:?}: {left}");
            }
        }
        assert!(advised > 0);
    }
}
