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
        // All clients ask for it, and without it no other check judges the commit.
        if matches!(&entry.outcome, Outcome::Acked { token: None, .. }) && has_committed(&entry.deed) {
            return violation(Promise::Answers, format!("a commit without its token: {entry:?}"));
        }
        let (Outcome::Failed(text) | Outcome::Unknown(text)) = &entry.outcome else { continue };
        let may_be_missing = matches!(entry.deed, Deed::Ddl(_) | Deed::List(_));
        let is_missing_table = may_be_missing && text.starts_with("42P01");
        let is_asked_for = entry.kind == COLLISION && text.starts_with("23505");
        if !is_missing_table && !is_asked_for && NEVER.iter().any(|class| text.starts_with(class)) {
            return violation(Promise::Answers, format!("{entry:?}"));
        }
    }
    Ok(())
}

/// Whether it has a commit if it is done.
fn has_committed(deed: &Deed) -> bool {
    match deed {
        Deed::Write(write) => !write.kept.is_empty() || !write.adds.is_empty(),
        Deed::Ddl(ddl) => !ddl.changes.is_empty(),
        Deed::Read(_) | Deed::List(_) | Deed::Take(_) => false,
    }
}
