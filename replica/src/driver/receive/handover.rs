//! The primary hands its role over: this node is asked, answers on the stream, and is promoted once it is
//! told that it may.
//!
//! # Never for a handover that was given up
//!
//! A primary that waits no longer for an answer does not write by itself, but somebody may promote it. The
//! node that was asked must not promote itself after that, also if it was frozen meanwhile and finds the
//! question when it wakes. So
//!
//! 1. the question promotes nobody. The answer is followed by the primary's word that this node may, and
//!    that is sent only if the answer came before the primary gave up
//!    ([`crate::sender::handover::Step::Accepted`], from which nothing leads back). Who was frozen before
//!    the answer gets no such word;
//! 2. who is frozen after the answer finds the word when it wakes, perhaps long after. It counts within
//!    [`WORD_LIMIT`] of the answer only, on this node's monotonic clock. The time of the answer is noted
//!    before it is sent, and the clock is read once the word is here: a freeze between the two counts. It is
//!    of no other stream, since what was answered is forgotten when a stream begins.
//!
//! What is left is a freeze in the moments between the look at the clock and the promotion itself, and a
//! machine that is suspended as a whole, whose clock stands still: who promotes the old primary after a
//! handover must know that its successor is gone.

use super::running::Driver;
use crate::driver::extensions::{HANDOVER, MAY_PROMOTE, PROMOTES, REFUSES, TAKES_OVER};
use crate::roster::heard_file::GivenUp;
use bytes::{Buf, Bytes};
use protocol::replication::encode_extension;
use std::time::Duration;
use wal::history::BranchId;
use wal::{Lsn, TimelineId};

/// How long a primary that takes nothing more may hold up the promotion that it has asked for.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How long after its answer this node heeds the primary's word that it may promote itself.
const WORD_LIMIT: Duration = Duration::from_secs(5);

/// A question that this node answered by saying that it promotes itself.
#[derive(Clone, Debug)]
pub(super) struct Promised {
    asked: Bytes,
    /// On the monotonic clock, before the answer was sent.
    at: Duration,
}

impl Promised {
    /// What keeps the primary's word from being heeded now.
    fn too_late(&self, now: Duration) -> Result<(), String> {
        let waited = now.saturating_sub(self.at);
        match waited <= WORD_LIMIT {
            true => Ok(()),
            false => Err(format!("its word came {} s after the answer", waited.as_secs())),
        }
    }
}

/// What the primary asks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    /// The end of its log.
    end: Lsn,
    /// Its timeline's branch.
    branch: Option<BranchId>,
    /// The newest timeline that it knows; INVALID if it is of before that.
    newest: TimelineId,
    /// What an administrator gave up there; nothing if it is of before that.
    given_up: GivenUp,
}

fn decode(mut asked: Bytes) -> Option<Question> {
    let (end, branch) = (asked.try_get_u64().ok()?, asked.try_get_u64().ok()?);
    let branch = (branch != 0).then(|| BranchId::new(branch));
    let newest = TimelineId::new(asked.try_get_u32().unwrap_or(0));
    Some(Question { end: Lsn::new(end), branch, newest, given_up: GivenUp::decode(&asked)? })
}

impl Driver {
    /// Tells a Plimsoll primary that this node can take over.
    pub(super) fn queue_takes_over(&mut self) {
        if self.plimsoll {
            self.queue(|out| encode_extension(out, HANDOVER, &[TAKES_OVER]));
        }
    }

    /// The newest timeline that this node knows, below the one that it would take.
    fn judge_handover(&self, asked: Bytes) -> Result<TimelineId, String> {
        let Some(Question { end, branch, newest, given_up }) = decode(asked) else {
            return Err("the primary's words make no sense".to_owned());
        };
        self.context.roster.hear_of_timeline(newest);
        self.context.observer.handed_over(end, branch, &given_up)
    }

    /// Promotes this node if it said that it would, and was told in time that it may.
    fn heed_word(&mut self) {
        let Some(promised) = self.promised.take() else { return };
        let in_time = promised.too_late(self.context.host.clock.monotonic());
        match in_time.and_then(|()| self.judge_handover(promised.asked)) {
            Ok(_) => self.context.observer.takes_over(),
            Err(why) => self.context.observer.lets_go(&why),
        }
    }

    /// Answers the primary that asked this node to take over, if one did, or heeds its word.
    pub(super) async fn answer_handover(&mut self) {
        let Some(asked) = self.asked_over.take() else { return };
        if *asked == [MAY_PROMOTE] {
            return self.heed_word();
        }
        let judged = self.judge_handover(asked.clone());
        self.promised = judged.is_ok().then(|| Promised { asked, at: self.context.host.clock.monotonic() });
        let mut answer = vec![if judged.is_ok() { PROMOTES } else { REFUSES }];
        match &judged {
            Ok(newest) => answer.extend_from_slice(&newest.get().to_be_bytes()),
            Err(why) => answer.extend_from_slice(why.as_bytes()),
        }
        self.queue(|out| encode_extension(out, HANDOVER, &answer));
        // Whether it hears of it or not: what was judged holds.
        let _ = tokio::time::timeout(ANSWER_LIMIT, self.send_queued()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_comes_after_a_freeze_is_not_heeded() {
        let promised = Promised { asked: Bytes::new(), at: Duration::from_secs(100) };
        for (now, heeded) in [(100, true), (105, true), (106, false), (100_000, false), (99, true)] {
            assert_eq!(promised.too_late(Duration::from_secs(now)).is_ok(), heeded, "{now}");
        }
    }

    #[test]
    fn a_question_that_is_cut_short_is_none() {
        let mut bytes = [0; 20];
        (bytes[7], bytes[19]) = (9, 5);
        let given_up = GivenUp::default();
        let question = Question { end: Lsn::new(9), branch: None, newest: TimelineId::new(5), given_up };
        assert_eq!(decode(Bytes::copy_from_slice(&bytes)), Some(question.clone()));
        bytes[15] = 3;
        let question = Question { branch: Some(BranchId::new(3)), ..question };
        assert_eq!(decode(Bytes::copy_from_slice(&bytes)), Some(question.clone()));
        let of_before = Question { newest: TimelineId::INVALID, ..question };
        assert_eq!(decode(Bytes::copy_from_slice(&bytes[..16])), Some(of_before));
        for len in (0..16).chain(17..20) {
            assert_eq!(decode(Bytes::copy_from_slice(&bytes[..len])), None, "{len}");
        }
        let longer = [&bytes[..], &b"plimsoll heard 1"[..]].concat();
        assert_eq!(decode(Bytes::from(longer)), None, "what was given up is cut short");
    }
}
