//! Passwords in texts that go to a log, a view or statistics: what stands behind the word is left out.
//!
//! A text is read by its tokens, as the parser reads a statement, and so is what a literal or a comment
//! holds: that may be a connection string, or a statement itself.

mod conninfo;
mod literal;

use literal::Literal;
use protocol::conninfo::is_blank;
use std::borrow::Cow;

/// What stands in a password's place.
pub(crate) const HIDDEN: &str = "********";
const WORD: &str = "password";
/// The function that sets what its first argument names.
const SET_CONFIG: &str = "set_config";
/// Texts within texts are read so deep; what is deeper and has the word is left out as a whole.
const DEPTH_MAX: usize = 6;

/// The text without passwords: literals behind PASSWORD in SQL, values of `password=` in connection strings,
/// and in their URIs what stands between `user:` and `@` and behind `?password=`.
pub(crate) fn without_secrets(text: &str) -> Cow<'_, str> {
    at_depth(text, 0)
}

/// A statement of which only names and comments are as they were written: nothing that stands behind the
/// word is a secret there, but names and comments may hold some.
pub(crate) fn without_quoted_secrets(text: &str) -> Cow<'_, str> {
    Reading { only_quoted: true, ..Reading::of(text, 0) }.read()
}

/// A parameter of a statement whose value is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecretParameter {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// The number of the one that names it; then it is a secret only if [`is_secret_name`] holds of that.
    pub(crate) named_by: Option<usize>,
}

/// The parameters of a statement that stand where [`without_secrets`] hides a value.
pub(crate) fn secret_parameters(statement: &str) -> Vec<SecretParameter> {
    let mut reading = Reading::of(statement, 0);
    reading.read_all();
    reading.parameters
}

/// Whether what has this name is a secret: a password by itself, or one of a setting (`my.password`).
pub(crate) fn is_secret_name(name: &str) -> bool {
    ends_with_word(name)
}

/// A message about a place in a statement, without what is not `shown` of the statement there; None if it
/// has no more than that.
pub(crate) fn without_what_is_left_out(message: &str, shown: &str) -> Option<String> {
    const NEAR: &str = " at or near \"";
    let begin = message.find(NEAR)? + NEAR.len();
    let end = message.rfind('"').filter(|end| *end >= begin)?;
    let (before, near, behind) = (message.get(..begin)?, message.get(begin..end)?, message.get(end..)?);
    (!shown.contains(near)).then(|| format!("{before}{HIDDEN}{behind}"))
}

fn at_depth(text: &str, depth: usize) -> Cow<'_, str> {
    if conninfo::is_like(text) {
        return conninfo::cleaned(text);
    }
    if depth > DEPTH_MAX {
        return match text.to_ascii_lowercase().contains(WORD) {
            true => Cow::Owned(HIDDEN.to_owned()),
            false => Cow::Borrowed(text),
        };
    }
    Reading::of(text, depth).read()
}

/// What may stand between the name that set_config() is given and the comma.
const CAST_SIGNS_MAX: usize = 100;

/// What messages have before a value that is quoted as it is, and before and behind a rest of a connection
/// string.
const REFUSED_VALUE: &str = "invalid value for parameter \"";
const UNREAD: (&str, &str) = ("missing \"=\" after \"", "\" in connection info string");

struct Reading<'t> {
    text: &'t str,
    depth: usize,
    /// Only names in quotes and comments are looked at.
    only_quoted: bool,
    /// The text up to `taken`, without secrets.
    out: String,
    taken: usize,
    /// The word before is ALTER or CREATE.
    changes: bool,
    /// The statement is ALTER ROLE or one of its kin.
    of_role: bool,
    /// What stands before is a word or a sign behind which such a statement has a literal that is no
    /// password.
    precedes_value: bool,
    parameters: Vec<SecretParameter>,
}

impl<'t> Reading<'t> {
    fn of(text: &'t str, depth: usize) -> Self {
        Self {
            text,
            depth,
            only_quoted: false,
            out: String::new(),
            taken: 0,
            changes: false,
            of_role: false,
            precedes_value: false,
            parameters: Vec::new(),
        }
    }

    fn read_all(&mut self) {
        let mut at = 0;
        while at < self.text.len() {
            at = self.token(at).max(at + 1);
        }
    }

    fn read(mut self) -> Cow<'t, str> {
        self.read_all();
        if self.taken == 0 {
            return Cow::Borrowed(self.text);
        }
        self.out.push_str(self.text.get(self.taken..).unwrap_or_default());
        Cow::Owned(self.out)
    }

    fn rest(&self, at: usize) -> &'t str {
        self.text.get(at..).unwrap_or_default()
    }

    /// Puts something else in the place of these bytes.
    fn replace(&mut self, from: usize, to: usize, by: &str) {
        if let Some(number) = self.text.get(from..to).and_then(parameter_number) {
            self.parameters.push(SecretParameter { number, named_by: None });
        }
        self.out.push_str(self.text.get(self.taken..from).unwrap_or_default());
        self.out.push_str(by);
        self.taken = to;
    }

    /// Reads what begins at `at`; gives where it ends.
    fn token(&mut self, at: usize) -> usize {
        let rest = self.rest(at);
        if let Some(end) = comment(rest) {
            self.clean(at, at + end);
            return at + end;
        }
        if let Some(literal) = Literal::at(rest) {
            return self.literal(at, &literal);
        }
        if let Some(end) = self.quoted_by_message(at) {
            return end;
        }
        if rest.starts_with("://") {
            return self.uri(at);
        }
        let end = at + word_len(rest);
        let word = self.text.get(at..end).unwrap_or_default();
        self.follow(word, rest);
        if ends_with_word(word) && !self.only_quoted {
            self.value(end, word.len() == WORD.len())
        } else if self.of_role && is_encrypted(word) && !self.only_quoted {
            // Whoever forgets PASSWORD behind it gives a password all the same.
            self.value(end, true)
        } else if word.eq_ignore_ascii_case(SET_CONFIG) && !self.only_quoted {
            self.set_config(end).unwrap_or(end)
        } else {
            end.max(at + rest.chars().next().map_or(1, char::len_utf8))
        }
    }

    /// Keeps in mind which statement this is.
    fn follow(&mut self, word: &str, rest: &str) {
        let is_one_of = |words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known));
        if !word.is_empty() || !rest.starts_with(is_blank) {
            self.precedes_value = is_one_of(&["until", "to", "from"]) || rest.starts_with(['=', ',']);
        }
        if !word.is_empty() {
            self.of_role |= self.changes && is_one_of(&["role", "user", "group"]);
            self.changes = is_one_of(&["alter", "create"]);
        } else if rest.starts_with(';') {
            (self.changes, self.of_role) = (false, false);
        }
    }

    /// The arguments of set_config(), of which the first names what the second is; gives where that ends.
    /// None if no secret is among them.
    fn set_config(&mut self, at: usize) -> Option<usize> {
        let open = skip_blanks(self.text, at);
        self.rest(open).strip_prefix('(')?;
        let name_at = skip_blanks(self.text, open + 1);
        let named_by = parameter_number(self.rest(name_at));
        let name = Literal::at(self.rest(name_at)).filter(|name| ends_with_word(&name.held()));
        if named_by.is_none() && name.is_none() {
            return None;
        }
        // Behind a name stands a cast at most.
        let name_end = name_at + name.map_or(0, |name| name.len);
        let mut cast = self.rest(name_end).char_indices().take(CAST_SIGNS_MAX);
        let comma = name_end + cast.find(|(_, c)| *c == ',')?.0;
        let from = skip_blanks(self.text, comma + 1);
        if let Some(named_by) = named_by {
            let number = parameter_number(self.rest(from))?;
            self.parameters.push(SecretParameter { number, named_by: Some(named_by) });
            return None;
        }
        let to = from + argument_len(self.rest(from));
        let value = self.text.get(from..to)?.trim_end();
        let literal = Literal::at(value).filter(|literal| literal.len == value.len());
        self.replace(from, from + value.len(), &literal.map_or(HIDDEN.into(), |one| one.written(HIDDEN)));
        Some(to)
    }

    /// What a message quotes without doubling the quotes in it: it ends at the last one.
    fn quoted_by_message(&mut self, at: usize) -> Option<usize> {
        let rest = self.rest(at);
        if let Some(unread) = rest.strip_prefix(UNREAD.0) {
            let from = at + UNREAD.0.len();
            let to = from + unread.rfind(UNREAD.1).unwrap_or(unread.len());
            self.replace(from, to, HIDDEN);
            return Some(to);
        }
        let name = rest.strip_prefix(REFUSED_VALUE)?;
        let begin = name.find("\": \"")? + 4;
        let end = name.rfind('"').filter(|end| *end >= begin)?;
        let from = at + REFUSED_VALUE.len();
        if let Cow::Owned(clean) = at_depth(name.get(begin..end)?, self.depth + 1) {
            self.replace(from + begin, from + end, &clean);
        }
        Some(from + end)
    }

    /// A URI in a text of other words, which ends at a blank.
    fn uri(&mut self, at: usize) -> usize {
        let rest = self.rest(at);
        let end = rest.find(is_blank).unwrap_or(rest.len());
        if let Cow::Owned(clean) = conninfo::without_secrets_of_uris(rest.get(..end).unwrap_or(rest)) {
            self.replace(at, at + end, &clean);
        }
        at + end
    }

    /// A part of the text that is a text of its own, as it is.
    fn clean(&mut self, from: usize, to: usize) {
        let inner = self.text.get(from..to).unwrap_or_default();
        // Without its first sign it is no comment any more, and shorter.
        let Some(first) = inner.chars().next() else { return };
        let body = inner.get(first.len_utf8()..).unwrap_or_default();
        if let Cow::Owned(clean) = at_depth(body, self.depth + 1) {
            self.replace(from + first.len_utf8(), to, &clean);
        }
    }

    /// A literal or a name in quotes: what it holds is read as a text.
    fn literal(&mut self, at: usize, literal: &Literal<'_>) -> usize {
        let end = at + literal.len;
        let held = literal.held();
        // Whoever misspells PASSWORD gives a password all the same.
        if self.of_role && !self.precedes_value && !literal.is_name() && !self.only_quoted {
            self.replace(at, end, &literal.written(HIDDEN));
            return end;
        }
        if literal.is_name() && ends_with_word(&held) && !self.only_quoted {
            return self.value(end, false);
        }
        if literal.is_name() && *held == *SET_CONFIG && !self.only_quoted {
            return self.set_config(end).unwrap_or(end);
        }
        let clean = at_depth(&held, self.depth + 1);
        if *clean != *held {
            let written = literal.written(&clean);
            self.replace(at, end, &written);
        }
        end
    }

    /// What stands behind the word, which ends at `at`; gives where that ends. `is_whole`: it is the key
    /// word, and no name that ends so.
    fn value(&mut self, at: usize, is_whole: bool) -> usize {
        let behind = skip_blanks(self.text, at);
        let Some(sign) = assignment(self.rest(behind)) else {
            let literal = Literal::at(self.rest(behind)).filter(|one| self.of_role || !one.is_name());
            return match literal {
                Some(literal) => {
                    let end = behind + literal.len;
                    self.replace(behind, end, &literal.written(HIDDEN));
                    // A quote in it that was not doubled: nobody knows where the password ends.
                    let goes_on = literal.has_quote_behind_backslash()
                        || self
                            .rest(end)
                            .starts_with(|c: char| !is_blank(c) && !matches!(c, ';' | ')' | ','))
                        || self.rest(skip_blanks(self.text, end)).starts_with('\'');
                    if self.of_role && goes_on {
                        self.replace(end, self.text.len(), HIDDEN);
                        return self.text.len();
                    }
                    end
                }
                None if self.of_role && is_whole => self.without_quotes(behind),
                None => at,
            };
        };
        let mut end = self.assigned(behind + sign);
        // SET takes a list.
        loop {
            let comma = skip_blanks(self.text, end);
            let next = skip_blanks(self.text, comma + 1);
            if !self.rest(comma).starts_with(',')
                || Literal::at(self.rest(next)).is_none_or(|one| one.is_name())
            {
                return end;
            }
            end = self.assigned(next);
        }
    }

    /// A role's password that somebody has forgotten to quote; gives where it ends.
    fn without_quotes(&mut self, from: usize) -> usize {
        let rest = self.rest(from);
        let len = rest.find(|c: char| c.is_whitespace() || c == ';').unwrap_or(rest.len());
        let value = rest.get(..len).unwrap_or_default();
        if value.eq_ignore_ascii_case(WORD) {
            // A role of that name.
            return from;
        }
        if parameter_number(value).is_some() || value.is_empty() || value.eq_ignore_ascii_case("null") {
            return from + len;
        }
        if value.starts_with(|c: char| c == '$' || !is_word_sign(c)) {
            // No word: nobody knows where the password begins or ends.
            self.replace(from, self.text.len(), HIDDEN);
            return self.text.len();
        }
        self.replace(from, from + len, HIDDEN);
        from + len
    }

    /// A value that begins behind `at`, by the rules of SQL and by those of connection strings, whichever
    /// makes it longer.
    fn assigned(&mut self, at: usize) -> usize {
        let from = skip_blanks(self.text, at);
        let as_conninfo = at + self.rest(at).len() - self.rest(at).trim_start_matches(is_blank).len();
        let conninfo_end = as_conninfo + conninfo::value_len(self.rest(as_conninfo));
        let literal = Literal::at(self.rest(from));
        if literal.as_ref().is_some_and(Literal::has_quote_behind_backslash) {
            // Where it ends depends on a setting: nothing behind is shown.
            self.replace(from, self.text.len(), &format!("'{HIDDEN}"));
            return self.text.len();
        }
        match literal {
            Some(literal) if from + literal.len >= conninfo_end => {
                self.replace(from, from + literal.len, &literal.written(HIDDEN));
                from + literal.len
            }
            _ => {
                let begin = from.min(as_conninfo);
                let end = conninfo_end.max(from + self.unquoted_len(from));
                if end > begin {
                    self.replace(begin, end, HIDDEN);
                }
                end
            }
        }
    }

    /// The length of a value up to the next blank that no literal in it holds.
    fn unquoted_len(&self, from: usize) -> usize {
        let rest = self.rest(from);
        let mut at = 0;
        while let Some(c) = rest.get(at..).and_then(|rest| rest.chars().next()) {
            let literal =
                Literal::at(rest.get(at..).unwrap_or_default()).filter(|one| at == 0 || !one.is_name());
            match literal {
                Some(literal) => at += literal.len,
                None if is_blank(c) => break,
                None => at += c.len_utf8(),
            }
        }
        at
    }
}

/// The number of the parameter that this text begins with.
fn parameter_number(text: &str) -> Option<usize> {
    let digits = text.strip_prefix('$')?;
    let len = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    // Behind other signs it is a quote.
    let behind = digits.get(len..)?;
    if behind.starts_with(is_word_sign) { None } else { digits.get(..len)?.parse().ok() }
}

/// The length of an argument, up to the comma or the parenthesis behind it.
fn argument_len(rest: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(c) = rest.get(at..).and_then(|rest| rest.chars().next()) {
        let here = rest.get(at..).unwrap_or_default();
        match (Literal::at(here), comment(here), c) {
            (Some(literal), ..) => at += literal.len,
            (None, Some(len), _) => at += len,
            (None, None, ',' | ')') if depth == 0 => break,
            (None, None, c) => {
                depth = match c {
                    '(' => depth + 1,
                    ')' => depth - 1,
                    _ => depth,
                };
                at += c.len_utf8();
            }
        }
    }
    at
}

/// The length of `=` or TO, which gives a setting its value.
fn assignment(rest: &str) -> Option<usize> {
    if rest.starts_with('=') {
        return Some(1);
    }
    let is_to = rest.get(..word_len(rest)).is_some_and(|word| word.eq_ignore_ascii_case("to"));
    is_to.then_some(2)
}

/// Whether this is the word before PASSWORD in ALTER ROLE and its kin.
fn is_encrypted(word: &str) -> bool {
    word.eq_ignore_ascii_case("encrypted") || word.eq_ignore_ascii_case("unencrypted")
}

/// The length of a comment that begins here.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("--") {
        return Some(rest.find(['\n', '\r']).unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let bytes = rest.as_bytes();
    let (mut at, mut depth) = (2, 1_usize);
    while depth > 0 {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (at, depth) = (at + 2, depth + 1),
            Some(b"*/") => (at, depth) = (at + 2, depth - 1),
            Some(_) => at += 1,
            None => return Some(rest.len()),
        }
    }
    Some(at)
}

/// Past blanks and comments.
fn skip_blanks(text: &str, mut at: usize) -> usize {
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        match comment(trimmed) {
            Some(len) => at += len,
            None => return at,
        }
    }
}

fn is_word_sign(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

/// The length of the word that begins here, which may be none.
fn word_len(rest: &str) -> usize {
    if rest.starts_with('$') { 0 } else { rest.find(|c: char| !is_word_sign(c)).unwrap_or(rest.len()) }
}

/// Whether a name is that of a password: `password` itself, or `sslpassword`.
fn ends_with_word(name: &str) -> bool {
    let from = name.len().checked_sub(WORD.len());
    from.and_then(|from| name.get(from..)).is_some_and(|end| end.eq_ignore_ascii_case(WORD))
}

#[cfg(test)]
mod tests;
