//! Waiting until this node has what a token names: WAIT FOR LSN and plimsoll.read_after.

use crate::node::Node;
use protocol::SqlState;
use sql_interface::{ReadToken, SqlError};
use std::sync::Arc;
use storage::Interrupt;
use wal::history::{BranchId, TimelineHistory};
use wal::{Lsn, TimelineId};

/// What a history says of a token.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// The position is, or will be, part of this branch.
    OnBranch,
    /// The branch left the token's timeline before it.
    Lost(Lsn),
    /// The timeline is no ancestor of this branch.
    Stranger,
    /// The timeline of that number is another branch here.
    Twin(BranchId),
    /// The token does not say which branch it means, and there may be several.
    Unnamed,
}

fn standing(history: &TimelineHistory, timeline: TimelineId, branch: Option<BranchId>, lsn: Lsn) -> Standing {
    let end = history.end_of(timeline);
    match (end, history.branch_of(timeline), branch) {
        (Ok(Some(end)), ..) if host::planted!("a token of before a promotion is refused") => {
            Standing::Lost(end)
        }
        (Err(_), ..) => Standing::Stranger,
        (Ok(_), Some(ours), Some(theirs)) if ours != theirs => Standing::Twin(ours),
        (Ok(_), Some(_), None) => Standing::Unnamed,
        (Ok(Some(end)), ..) if lsn > end => Standing::Lost(end),
        // A history that PostgreSQL made has no ids.
        (Ok(_), ..) => Standing::OnBranch,
    }
}

/// The token of a position on this node.
pub(super) fn token(node: &Node, timeline: TimelineId, lsn: Lsn) -> ReadToken {
    let branch = node.replication().and_then(|replication| {
        let state = replication.log.state();
        if state.history.contains(timeline) {
            return state.history.branch_of(timeline);
        }
        // A server that is being promoted is on its new timeline a moment before its log's readers are.
        let place = &replication.place;
        TimelineHistory::load(&*place.disk, &place.pg_wal, timeline).ok()?.branch()
    });
    ReadToken { timeline: Some(timeline), branch, lsn }
}

fn refused(token: ReadToken, detail: String) -> SqlError {
    let what = format!("log position {token} is not on this server's branch");
    SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, what).with_detail(detail)
}

/// Waits until a snapshot taken here includes everything up to the token, one of what is `confirmed` alone
/// if the session reads so. An error if that can never be.
pub(super) async fn reach(
    node: Arc<Node>,
    token: ReadToken,
    confirmed: bool,
    interrupt: Interrupt,
) -> sql_interface::Result<()> {
    loop {
        let (Some(database), Some(replication)) = (node.database(), node.replication()) else {
            return Err(SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up"));
        };
        let mut changes = replication.log.subscribe();
        let state = changes.borrow_and_update().clone();
        let standby = database.is_in_recovery();
        let own = state.history.target();
        let stands = |timeline| standing(&state.history, timeline, token.branch, token.lsn);
        match token.timeline.map(|timeline| (timeline, stands(timeline))) {
            None | Some((_, Standing::OnBranch)) => {}
            // A standby may not have heard yet of the promotion that the token comes from, and a server that
            // is being promoted writes its new timeline a moment before all its parts know of it.
            Some((timeline, Standing::Stranger))
                if timeline > own && (standby || database.timeline() > own) =>
            {
                // The node keeps the sender.
                let _ = changes.changed().await;
                continue;
            }
            Some((timeline, Standing::Stranger)) => {
                return Err(refused(
                    token,
                    format!("This server is on timeline {own}, which does not come from {timeline}."),
                ));
            }
            Some((timeline, Standing::Twin(ours))) => {
                let detail = format!(
                    "This server's timeline {timeline} is branch {ours}: two promotions took the same number."
                );
                return Err(refused(token, detail));
            }
            Some((timeline, Standing::Unnamed)) => {
                let detail = format!("It does not say which branch of timeline {timeline} it means.");
                let hint = "A token looks like 2-9d631a46fb087816:0/3000148, as the commit reported it.";
                return Err(refused(token, detail).with_hint(hint));
            }
            Some((_, Standing::Lost(_))) if host::planted!("a token of a lost commit is served") => {}
            Some((timeline, Standing::Lost(end))) => {
                return Err(refused(
                    token,
                    format!("This server's branch left timeline {timeline} at {end}."),
                ));
            }
        }
        if let Some(positions) = database.positions().filter(|_| !standby)
            && token.lsn > positions.inserted()
        {
            let end = positions.inserted();
            return Err(refused(token, format!("This server writes the log, which ends at {end}.")));
        }
        if host::planted!("a read does not wait for its token") {
            return Ok(());
        }
        let deaf = host::planted!("a wait for a token does not hear that the branch has changed");
        tokio::select! {
            biased;
            // A promotion, here or upstream, may have changed what the token means.
            _ = changes.changed(), if !deaf => {}
            reached = database.wait_included(token.lsn, confirmed, &interrupt) => return reached.map_err(SqlError::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_on_a_branch_up_to_where_the_branch_left_its_timeline() {
        let (one, two) = (TimelineId::FIRST, TimelineId::new(2));
        let (ours, twin) = (BranchId::new(7), BranchId::new(8));
        let history = TimelineHistory::root(one).fork(two, Lsn::new(100), "test", ours).unwrap();
        let stands = |timeline, branch, lsn| standing(&history, timeline, branch, Lsn::new(lsn));
        assert_eq!(stands(one, None, 100), Standing::OnBranch);
        assert_eq!(stands(one, None, 101), Standing::Lost(Lsn::new(100)));
        assert_eq!(stands(two, Some(ours), 101), Standing::OnBranch);
        assert_eq!(stands(two, Some(twin), 101), Standing::Twin(ours));
        assert_eq!(stands(two, None, 101), Standing::Unnamed);
        assert_eq!(stands(TimelineId::new(3), Some(ours), 101), Standing::Stranger);
    }
}
