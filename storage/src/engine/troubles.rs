//! What went wrong and harms nobody: a file that could not be removed. The server tells it in its log.

use host::Mutex;
use std::collections::VecDeque;

/// So many are kept until they are fetched; the newest, since who repeats them is at work still.
const KEPT_MAX: usize = 64;

/// Those that nobody has fetched.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<VecDeque<String>>);

impl Troubles {
    pub(crate) fn note(&self, what: String) {
        let mut kept = self.0.lock();
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(what);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        let mut kept = self.0.lock();
        if kept.is_empty() { Vec::new() } else { kept.drain(..).collect() }
    }
}
