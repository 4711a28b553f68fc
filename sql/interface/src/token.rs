//! Tokens for reads that follow a write: what a commit or a snapshot on one node names, and what another node
//! waits for.

use std::fmt;
use std::str::FromStr;
use wal::history::BranchId;
use wal::{Lsn, ParseIdError, TimelineId};

/// A position in a branch of the log, printed as `1:0/3000148`, or with the id of its branch as
/// `2-9d631a46fb087816:0/3000148`: two promotions that could not see each other may have taken the same
/// number. A bare position means whatever branch the server is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadToken {
    /// The timeline that the position was taken on.
    pub timeline: Option<TimelineId>,
    /// The timeline's branch, which a first timeline has not.
    pub branch: Option<BranchId>,
    /// Everything that ends at or before this is meant.
    pub lsn: Lsn,
}

impl FromStr for ReadToken {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((place, lsn)) = text.split_once(':') else {
            return Ok(Self { timeline: None, branch: None, lsn: text.parse()? });
        };
        let (timeline, branch) = match place.split_once('-') {
            Some((timeline, branch)) => (timeline, Some(branch.parse()?)),
            None => (place, None),
        };
        Ok(Self { timeline: Some(timeline.parse()?), branch, lsn: lsn.parse()? })
    }
}

impl fmt::Display for ReadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.timeline, self.branch) {
            (Some(timeline), Some(branch)) => write!(f, "{timeline}-{branch}:{}", self.lsn),
            (Some(timeline), None) => write!(f, "{timeline}:{}", self.lsn),
            (None, _) => self.lsn.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_print_as_they_are_read() {
        for text in
            ["1:0/3000148", "0/3000148", "4294967295:FFFFFFFF/FFFFFFFF", "2-00d631a46fb08781:0/3000148"]
        {
            assert_eq!(text.parse::<ReadToken>().unwrap().to_string(), text);
        }
        for wrong in
            ["", ":", "1:", "x:0/1", "1:1:0/1", "0", "-1:0/1", "2-:0/1", "2-1:0/1", "2-+0d631a46fb08781:0/1"]
        {
            assert!(wrong.parse::<ReadToken>().is_err(), "{wrong}");
        }
    }
}
