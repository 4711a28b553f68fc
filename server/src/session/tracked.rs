//! What pg_stat_statements is told of a session's statements.

use super::Session;
use crate::log::redact::{without_quoted_secrets, without_secrets};
use crate::statements::{self, Entry, Key};
use host::Instant;
use sql_interface::CommandTag;
use sql_session::Prepared;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Texts whose entries a session has at hand.
const TEXTS_MAX: usize = 64;

/// Which statements are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Track {
    /// All that have a plan.
    pub(super) plans: bool,
    /// All others, too.
    pub(super) utility: bool,
    /// pg_stat_statements.max
    pub(super) max: usize,
}

/// The entries of the texts that ran last, by where the text is, which is kept so that it stays there.
#[derive(Default)]
pub(super) struct Tracked {
    by_text: HashMap<usize, (Arc<str>, Arc<Entry>)>,
    role: u32,
}

fn place(text: &Arc<str>) -> usize {
    Arc::as_ptr(text).cast::<u8>().addr()
}

impl Session {
    /// Counts a statement that has run, if any are counted. `nth`: its place among those of its text.
    #[inline]
    pub(super) fn track(
        &mut self,
        prepared: &Arc<Prepared>,
        nth: usize,
        began: Option<Instant>,
        tag: CommandTag,
    ) {
        if self.limits.track.plans
            && let Some(began) = began
        {
            self.track_call(prepared, nth, began.elapsed(), tag);
        }
    }

    #[cold]
    fn track_call(&mut self, prepared: &Arc<Prepared>, nth: usize, took: Duration, tag: CommandTag) {
        let rows = rows(tag);
        let role = self.handle.role_oid.load(Ordering::Relaxed);
        let tracked = self.tracked.get_or_insert_default();
        if tracked.role != role {
            tracked.by_text.clear();
            tracked.role = role;
        }
        let place = place(prepared.sql());
        if nth == 0
            && let Some((_, entry)) = tracked.by_text.get(&place)
            && entry.add(took, rows)
        {
            return;
        }
        let Some(entry) = self.entry(prepared, nth, role) else { return };
        entry.add(took, rows);
        let tracked = self.tracked.get_or_insert_default();
        if nth == 0 {
            if tracked.by_text.len() >= TEXTS_MAX {
                tracked.by_text.clear();
            }
            tracked.by_text.insert(place, (prepared.sql().clone(), entry));
        }
    }

    fn entry(&self, prepared: &Prepared, nth: usize, role: u32) -> Option<Arc<Entry>> {
        let text = statements::split(prepared.sql()).get(nth).copied()?;
        let normal = if prepared.has_plan() {
            statements::normal(text)
        } else if self.limits.track.utility && !prepared.is_about_prepared() {
            statements::verbatim(&without_secrets(text))
        } else {
            return None;
        };
        let database = self.handle.database_oid.load(Ordering::Relaxed);
        let key = Key { role, database, query: normal.id };
        let shown = without_quoted_secrets(&normal.text);
        Some(self.node.sessions.statements.entry(key, &shown, self.limits.track.max))
    }
}

fn rows(tag: CommandTag) -> u64 {
    match tag {
        CommandTag::Insert(rows)
        | CommandTag::Update(rows)
        | CommandTag::Delete(rows)
        | CommandTag::Select(rows)
        | CommandTag::Copy(rows)
        | CommandTag::Fetch(rows) => rows,
        CommandTag::Empty | CommandTag::Words(_) | CommandTag::Move(_) => 0,
    }
}
