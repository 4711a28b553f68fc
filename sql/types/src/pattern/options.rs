//! What an expression may be asked for beside its text.

use super::syntax::absent;
use crate::error::Result;

/// What flags, and letters before an expression (`(?i)`), ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub(super) fold: bool,
    /// Blanks and comments are skipped.
    pub(super) expanded: bool,
    /// `.` and negated brackets do not take ends of lines.
    pub(super) lines_stop: bool,
    /// `^` and `$` match at lines.
    pub(super) lines_anchor: bool,
    pub(super) literal: bool,
}

impl Options {
    /// Those of `~*` if `fold`, else those of `~`.
    pub fn folding(fold: bool) -> Self {
        Self { fold, ..Self::default() }
    }

    /// Takes a letter in; whether it is known.
    ///
    /// # Errors
    ///
    /// 0A000 for one of another kind of expressions.
    pub fn take(&mut self, letter: char) -> Result<bool> {
        match letter {
            'i' => self.fold = true,
            'c' => self.fold = false,
            'x' => self.expanded = true,
            't' => self.expanded = false,
            'q' => self.literal = true,
            'm' | 'n' => (self.lines_stop, self.lines_anchor) = (true, true),
            'p' => (self.lines_stop, self.lines_anchor) = (true, false),
            'w' => (self.lines_stop, self.lines_anchor) = (false, true),
            's' => (self.lines_stop, self.lines_anchor) = (false, false),
            'b' | 'e' => return Err(absent(&format!("the option \"{letter}\""))),
            _ => return Ok(false),
        }
        Ok(true)
    }
}
