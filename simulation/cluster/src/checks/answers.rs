//! Nobody was refused what is right.

use super::{Promise, Violation, violation};
use crate::history::{Deed, History, Outcome};

/// Operations that ask for a key that somebody else has taken.
pub(crate) const COLLISION: &str = "collision";

/// Classes of SQLSTATEs that no fault explains: what clients send is right, and keys are their own. A table
/// of theirs may be missing, because its creation was lost.
const NEVER: [&str; 5] = ["22", "23", "42", "XX", "0A"];

pub(super) fn check(history: &History) -> Result<(), Violation> {
    for entry in history.entries() {
        let (Outcome::Failed(text) | Outcome::Unknown(text)) = &entry.outcome else { continue };
        let is_missing_table = matches!(entry.deed, Deed::Ddl(_)) && text.starts_with("42P01");
        let is_asked_for = entry.kind == COLLISION && text.starts_with("23505");
        if !is_missing_table && !is_asked_for && NEVER.iter().any(|class| text.starts_with(class)) {
            return violation(Promise::Answers, format!("{entry:?}"));
        }
    }
    Ok(())
}
