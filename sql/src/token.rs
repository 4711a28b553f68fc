//! Tokens for reads that follow a write: what a commit or a snapshot on one node names, and what another node waits for.

use std::fmt;
use std::str::FromStr;
use wal::{Lsn, TimelineId};

/// A position in a branch of the log, printed as `1:0/3000148`. A bare position means whatever branch the server is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadToken {
    /// The timeline that the position was taken on.
    pub timeline: Option<TimelineId>,
    /// Everything that ends at or before this is meant.
    pub lsn: Lsn,
}

impl FromStr for ReadToken {
    type Err = wal::ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once(':') {
            Some((timeline, lsn)) => Self { timeline: Some(timeline.parse()?), lsn: lsn.parse()? },
            None => Self { timeline: None, lsn: text.parse()? },
        })
    }
}

impl fmt::Display for ReadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.timeline {
            Some(timeline) => write!(f, "{timeline}:{}", self.lsn),
            None => self.lsn.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_print_as_they_are_read() {
        for text in ["1:0/3000148", "0/3000148", "4294967295:FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<ReadToken>().unwrap().to_string(), text);
        }
        for wrong in ["", ":", "1:", "x:0/1", "1:1:0/1", "0", "-1:0/1"] {
            assert!(wrong.parse::<ReadToken>().is_err(), "{wrong}");
        }
    }
}
