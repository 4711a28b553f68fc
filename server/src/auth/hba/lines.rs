//! Lines of pg_hba.conf and pg_ident.conf: fields between blanks, each a list of words between commas.

use std::cell::Cell;
use std::io;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

/// Files that name files may go so deep; PostgreSQL's limit for included files.
const DEPTH_MAX: usize = 10;

/// Most files that a file names, each counted as often as it is named: a few that name one another again and
/// again would never be read to their end.
const FILES_MAX: usize = 1000;

/// What stands between words. Every other sign may be a part of a name, further blanks of ASCII too.
const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

/// A word of a line; in quotes it loses its special meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    pub(crate) quoted: bool,
}

impl Word {
    pub(super) fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.text == keyword
    }
}

/// A line, with those that a backslash at its end continues it in.
pub(crate) struct FileLine {
    /// The number of its first line, counted from 1.
    pub(crate) number: u32,
    /// Its text.
    pub(crate) raw: String,
    /// Its fields, of which there is at least one, or why it has none.
    pub(crate) fields: Result<Vec<Vec<Word>>, String>,
}

/// The lines of a file that have fields. `read` reads the files that words name with @.
pub(crate) fn read_lines(
    text: &str,
    file: &Path,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Vec<FileLine> {
    lines_at(text, file, &Files { read, left: Cell::new(FILES_MAX) }, 0)
}

/// The files that words name.
struct Files<'a> {
    read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// So many may still be read.
    left: Cell<usize>,
}

fn lines_at(text: &str, file: &Path, files: &Files<'_>, depth: usize) -> Vec<FileLine> {
    let mut found = Vec::new();
    let mut number = 0;
    let mut lines = text.lines();
    while let Some(first) = lines.next() {
        number += 1;
        let start = number;
        let mut raw = first.to_owned();
        // A backslash that was there before a line was added says nothing of the next one.
        let mut looked_at = 0;
        while raw.len() > looked_at && raw.ends_with('\\') {
            raw.pop();
            looked_at = raw.len();
            let Some(more) = lines.next() else { break };
            raw.push_str(more);
            number += 1;
        }
        let fields = fields(&raw, file, files, depth);
        if !matches!(&fields, Ok(fields) if fields.is_empty()) {
            found.push(FileLine { number: start, raw, fields });
        }
    }
    found
}

/// Splits a line into fields, each a list of words joined by commas.
fn fields(line: &str, file: &Path, files: &Files<'_>, depth: usize) -> Result<Vec<Vec<Word>>, String> {
    let mut fields = Vec::new();
    let mut chars = line.chars().peekable();
    let mut field = Vec::new();
    while let Some((word, continues)) = next_word(&mut chars) {
        match word.text.strip_prefix('@').filter(|name| !word.quoted && !name.is_empty()) {
            Some(name) => field.extend(words_of_file(name, file, files, depth)?),
            None => field.push(word),
        }
        // A file without words is no field.
        if !continues && !field.is_empty() {
            fields.push(std::mem::take(&mut field));
        }
    }
    if !field.is_empty() {
        fields.push(field);
    }
    Ok(fields)
}

/// The next word, and whether a comma follows it at once; None at the end of the line or at a comment. A
/// quote that is not closed goes to the end.
fn next_word(chars: &mut Peekable<Chars<'_>>) -> Option<(Word, bool)> {
    while chars.next_if(|c| is_blank(*c) || *c == ',').is_some() {}
    if matches!(chars.peek(), None | Some('#')) {
        return None;
    }
    let mut word = Word { text: String::new(), quoted: chars.peek() == Some(&'"') };
    let mut inside = false;
    while let Some(c) = chars.next_if(|c| inside || !(is_blank(*c) || matches!(c, ',' | '#'))) {
        match c {
            // Twice within quotes it stands for itself.
            '"' if inside && chars.next_if_eq(&'"').is_some() => word.text.push('"'),
            '"' => inside = !inside,
            c => word.text.push(c),
        }
    }
    Some((word, chars.next_if_eq(&',').is_some()))
}

/// All words of a file that a line names with @; a path that is not whole begins at the naming file's folder.
fn words_of_file(name: &str, file: &Path, files: &Files<'_>, depth: usize) -> Result<Vec<Word>, String> {
    let path: PathBuf = file.parent().unwrap_or(Path::new("")).join(name);
    let failed = |why: &str| {
        let shown = path.display();
        format!("could not open secondary authentication file \"@{name}\" as \"{shown}\": {why}")
    };
    if depth >= DEPTH_MAX {
        return Err(failed("files name one another too deep"));
    }
    let Some(left) = files.left.get().checked_sub(1) else {
        return Err(failed(&format!("more than {FILES_MAX} files are named")));
    };
    files.left.set(left);
    let text = (files.read)(&path).map_err(|error| failed(&host::os_message(&error)))?;
    let mut words = Vec::new();
    for line in lines_at(&text, &path, files, depth + 1) {
        words.extend(line.fields?.into_iter().flatten());
    }
    Ok(words)
}
