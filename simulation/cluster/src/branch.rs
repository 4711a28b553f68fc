//! Branches of the log, tokens, and how branches come from each other.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use wal::Lsn;

/// A branch as tokens name it: the timeline's number, and after a promotion its branch id
/// (`2-9d631a46fb087816`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Branch(String);

impl Branch {
    /// The branch of this name.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The number of its timeline; 0 if the name has none.
    pub fn timeline(&self) -> u32 {
        self.0.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A position on a branch: the end of a commit's record, or how far a snapshot goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    /// The branch that the node named.
    pub branch: Branch,
    /// The first byte that does not belong to it.
    pub at: Lsn,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.branch, self.at)
    }
}

/// A text that is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoToken(String);

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is no token", self.0)
    }
}

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let no_token = || NoToken(text.to_owned());
        let (branch, at) = text.split_once(':').ok_or_else(no_token)?;
        Ok(Self { branch: Branch::new(branch), at: at.parse().map_err(|_| no_token())? })
    }
}

/// Where a branch begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// The branch that it continues.
    pub parent: Branch,
    /// The end of what it has of its parent.
    pub at: Lsn,
}

/// All branches of a cluster's life. One that has no fork here is the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branches {
    forks: BTreeMap<Branch, Fork>,
}

impl Branches {
    /// Adds a branch that a promotion began.
    pub fn add(&mut self, branch: Branch, parent: Branch, at: Lsn) {
        self.forks.insert(branch, Fork { parent, at });
    }

    /// Where a branch begins; None for the first one.
    pub fn fork(&self, branch: &Branch) -> Option<&Fork> {
        self.forks.get(branch)
    }

    /// All branches; `first` is the one that has no fork. An old primary may go on with a branch that others
    /// have left, so each is a log of its own.
    pub fn all(&self, first: &Branch) -> Vec<Branch> {
        std::iter::once(first).chain(self.forks.keys()).cloned().collect()
    }

    /// The branch that holds a position: a node on a younger branch names that one also for what lies before
    /// its fork.
    pub fn home(&self, token: &Token) -> Branch {
        let mut branch = &token.branch;
        // A circle cannot be built by promotions; the bound keeps a wrong record from an endless walk.
        for _ in 0..=self.forks.len() {
            match self.forks.get(branch) {
                Some(fork) if token.at <= fork.at => branch = &fork.parent,
                _ => break,
            }
        }
        branch.clone()
    }

    /// Whether `leaf` or what it continues has this position.
    pub fn has(&self, leaf: &Branch, token: &Token) -> bool {
        let home = self.home(token);
        let (mut branch, mut end) = (leaf, None::<Lsn>);
        for _ in 0..=self.forks.len() {
            if *branch == home {
                return end.is_none_or(|end| token.at <= end);
            }
            let Some(fork) = self.forks.get(branch) else { return false };
            end = Some(fork.at);
            branch = &fork.parent;
        }
        false
    }

    /// The end of what `leaf` has of a branch that it continues; None if it does not continue it.
    pub fn left_at(&self, leaf: &Branch, older: &Branch) -> Option<Lsn> {
        let lineage = self.lineage(leaf);
        let mut forks = lineage.iter().filter_map(|branch| self.forks.get(branch));
        forks.find(|fork| fork.parent == *older).map(|fork| fork.at)
    }

    /// `leaf` and what it continues, the youngest first.
    pub fn lineage(&self, leaf: &Branch) -> Vec<Branch> {
        let mut lineage = vec![leaf.clone()];
        while let Some(fork) = lineage.last().and_then(|branch| self.forks.get(branch)) {
            if lineage.len() > self.forks.len() {
                break;
            }
            lineage.push(fork.parent.clone());
        }
        lineage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        text.parse().expect("a token")
    }

    /// 1 forks at 100 into 2-a and at 60 into 2-b; 2-a forks at 200 into 3-c.
    fn branches() -> Branches {
        let mut branches = Branches::default();
        for (branch, parent, at) in [("2-a", "1", 0x100), ("2-b", "1", 0x60), ("3-c", "2-a", 0x200)] {
            branches.add(Branch::new(branch), Branch::new(parent), Lsn::new(at));
        }
        branches
    }

    #[test]
    fn a_token_is_read_and_written_as_the_server_has_it() {
        for text in ["1:0/3000148", "2-9d631a46fb087816:1/A0"] {
            assert_eq!(token(text).to_string(), text);
        }
        assert_eq!(token("2-9d631a46fb087816:0/0").branch.timeline(), 2);
        assert!("0/3000148".parse::<Token>().is_err() && "1:x".parse::<Token>().is_err());
    }

    #[test]
    fn a_position_is_on_a_branch_only_up_to_where_that_one_left() {
        let branches = branches();
        for (leaf, at, is_on) in [
            ("3-c", "1:0/100", true),
            ("3-c", "1:0/101", false),
            ("3-c", "2-a:0/200", true),
            ("3-c", "2-a:0/201", false),
            ("3-c", "2-b:0/60", true),
            ("3-c", "2-b:0/61", false),
            ("2-b", "3-c:0/60", true),
            ("2-b", "3-c:0/61", false),
            ("1", "3-c:0/100", true),
            ("1", "3-c:0/101", false),
        ] {
            assert_eq!(branches.has(&Branch::new(leaf), &token(at)), is_on, "{at} on {leaf}");
        }
        assert_eq!(branches.all(&Branch::new("1")).len(), 4);
        assert_eq!(branches.lineage(&Branch::new("3-c")).len(), 3);
        let left_at = |leaf, older| branches.left_at(&Branch::new(leaf), &Branch::new(older)).map(Lsn::get);
        assert_eq!((left_at("3-c", "2-a"), left_at("3-c", "1")), (Some(0x200), Some(0x100)));
        assert_eq!((left_at("3-c", "2-b"), left_at("1", "1")), (None, None));
    }
}
