//! What one run came to, as the text that its process hands over.

use crate::rare::Counters;
use std::fmt::Write;
use std::time::Duration;

/// The line after which the story stands. No other is like it.
const STORY: &str = "\nstory\n";

/// What one run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was wrong, if anything.
    pub failure: Option<String>,
    /// Of the run's trace: over all that happened, in its order and with its times.
    pub hash: u64,
    /// How often a fiber went on.
    pub resumes: u64,
    /// How many operations clients did.
    pub operations: u64,
    /// How many times the branch changed.
    pub turns: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// How often the code came by the planted bug that was on.
    pub met: u64,
    /// Rare states that were reached.
    pub rare: Counters,
    /// What happened, for people.
    pub story: String,
}

impl Outcome {
    /// A failure without all that else there is to say.
    pub fn failed(why: impl Into<String>, story: String) -> Self {
        Self { failure: Some(why.into()), story, ..Self::default() }
    }

    /// What kind of failure it is: its text up to the first colon.
    pub fn kind(&self) -> Option<&str> {
        self.failure.as_deref().map(kind_of)
    }

    /// As text, which [`Outcome::parse`] reads.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let numbers = [
            ("hash", self.hash),
            ("resumes", self.resumes),
            ("operations", self.operations),
            ("turns", self.turns),
            ("simulated_us", u64::try_from(self.simulated.as_micros()).unwrap_or(u64::MAX)),
            ("met", self.met),
        ];
        for (name, number) in numbers {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name} {number}");
        }
        for line in self.failure.iter().flat_map(|failure| failure.split('\n')) {
            let _ = writeln!(text, "failure {line}");
        }
        for line in self.rare.to_text().lines() {
            let _ = writeln!(text, "rare {line}");
        }
        // The last line has an end already.
        text + STORY.trim_start() + &self.story
    }

    /// Reads what [`Outcome::to_text`] wrote; None if it is not all there.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, story) = text.split_once(STORY)?;
        let mut outcome = Self { story: story.to_owned(), ..Self::default() };
        let (mut failure, mut rare) = (Vec::new(), String::new());
        for line in head.lines() {
            let (name, value) = line.split_once(' ')?;
            let place = match name {
                "failure" => {
                    failure.push(value);
                    continue;
                }
                "rare" => {
                    rare = rare + value + "\n";
                    continue;
                }
                "simulated_us" => {
                    outcome.simulated = Duration::from_micros(value.parse().ok()?);
                    continue;
                }
                "hash" => &mut outcome.hash,
                "resumes" => &mut outcome.resumes,
                "operations" => &mut outcome.operations,
                "turns" => &mut outcome.turns,
                "met" => &mut outcome.met,
                _ => return None,
            };
            *place = value.parse().ok()?;
        }
        outcome.failure = (!failure.is_empty()).then(|| failure.join("\n"));
        outcome.rare = Counters::parse(&rare);
        Some(outcome)
    }
}

/// What kind of failure a text tells of.
pub(super) fn kind_of(failure: &str) -> &str {
    failure.split(':').next().unwrap_or(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rare::Rare;

    #[test]
    fn what_a_process_hands_over_is_read_back() {
        let mut rare = Counters::default();
        rare.hit(Rare::Fenced);
        rare.hit(Rare::TornTail);
        let passed = Outcome {
            hash: u64::MAX,
            resumes: 2,
            operations: 3,
            turns: 4,
            simulated: Duration::from_micros(5_000_001),
            met: 6,
            rare,
            ..Outcome::default()
        };
        assert_eq!(Outcome::parse(&passed.to_text()), Some(passed.clone()));
        assert_eq!(passed.kind(), None);
        let failed = Outcome {
            failure: Some("Durable: client 1\n\nstory\nhash 5\n".to_owned()),
            story: "   0.5000 n0  story\nfailure none\n\n".to_owned(),
            ..passed
        };
        assert_eq!(failed.kind(), Some("Durable"));
        assert_eq!(Outcome::parse(&failed.to_text()), Some(failed));
    }

    #[test]
    fn half_a_text_is_no_outcome() {
        let text = Outcome::failed("late: no end", "a story".to_owned()).to_text();
        let head = text.find(STORY).unwrap_or_default() + STORY.len();
        for end in 0..head {
            assert_eq!(Outcome::parse(&text[..end]), None, "{end}");
        }
        assert_eq!(Outcome::parse(&text[..head]), Some(Outcome::failed("late: no end", String::new())));
        assert_eq!(Outcome::parse(&format!("mood 5\n{text}")), None);
        assert_eq!(Outcome::parse(&format!("hash x\n{text}")), None);
    }
}
