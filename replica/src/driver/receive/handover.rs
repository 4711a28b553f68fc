//! The primary hands its role over: this node is asked, and answers on the stream before it is promoted.

use super::running::Driver;
use crate::driver::extensions::{HANDOVER, PROMOTES, REFUSES, TAKES_OVER};
use bytes::{Buf, Bytes};
use protocol::replication::encode_extension;
use std::time::Duration;
use wal::Lsn;
use wal::history::BranchId;

/// How long a primary that takes nothing more may hold up the promotion that it has asked for.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// The end of the primary's log, and its timeline's branch.
fn decode(mut asked: Bytes) -> Option<(Lsn, Option<BranchId>)> {
    let (end, branch) = (asked.try_get_u64().ok()?, asked.try_get_u64().ok()?);
    Some((Lsn::new(end), (branch != 0).then(|| BranchId::new(branch))))
}

impl Driver {
    /// Tells a Plimsoll primary that this node can take over.
    pub(super) fn queue_takes_over(&mut self) {
        if self.plimsoll {
            self.queue(|out| encode_extension(out, HANDOVER, &[TAKES_OVER]));
        }
    }

    /// Answers the primary that asked this node to take over, if one did.
    pub(super) async fn answer_handover(&mut self) {
        let Some(asked) = self.asked_over.take() else { return };
        let judged = match decode(asked) {
            Some((end, branch)) => self.context.observer.handed_over(end, branch),
            None => Err("the primary's words make no sense".to_owned()),
        };
        let mut answer = vec![if judged.is_ok() { PROMOTES } else { REFUSES }];
        if let Err(why) = &judged {
            answer.extend_from_slice(why.as_bytes());
        }
        self.queue(|out| encode_extension(out, HANDOVER, &answer));
        // Whether it hears of it or not: what was judged holds.
        let _ = tokio::time::timeout(ANSWER_LIMIT, self.send_queued()).await;
        if judged.is_ok() {
            self.context.observer.takes_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_is_cut_short_is_none() {
        let mut bytes = [0; 16];
        bytes[7] = 9;
        assert_eq!(decode(Bytes::copy_from_slice(&bytes)), Some((Lsn::new(9), None)));
        bytes[15] = 3;
        assert_eq!(decode(Bytes::copy_from_slice(&bytes)), Some((Lsn::new(9), Some(BranchId::new(3)))));
        for len in 0..16 {
            assert_eq!(decode(Bytes::copy_from_slice(&bytes[..len])), None);
        }
    }
}
