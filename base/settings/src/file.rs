//! Reading postgresql.conf: its lines, its quoting, and the files that it includes.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How deep includes may nest.
const DEPTH_MAX: usize = 10;
/// Most files of one reading, each counted as often as it is included: a few that include one another again
/// and again would never be read to their end.
const FILES_MAX: usize = 1000;
/// Most errors collected from one file.
const ERRORS_MAX: usize = 100;

/// Where a setting was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// The line, counted from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One `name = value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The name as written.
    pub name: String,
    /// The value without its quotes.
    pub value: String,
    /// Where it stands.
    pub place: Place,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({place})")]
pub struct FileError {
    /// What was expected and found.
    pub message: String,
    /// Where; line 0 is the file as a whole.
    pub place: Place,
}

/// The files as the reader sees them, so that this crate does no I/O itself.
pub trait Files {
    /// A whole file.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names in a folder.
    ///
    /// # Errors
    ///
    /// Fails if the folder cannot be read.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
}

/// All that a configuration file and those it includes say, in reading order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileContents {
    /// The settings; of several with one name the last counts.
    pub entries: Vec<FileEntry>,
    /// What could not be read; nothing may be applied unless this is empty.
    pub errors: Vec<FileError>,
}

impl FileContents {
    /// Reads a file and those it includes.
    pub fn read(files: &dyn Files, path: &Path) -> Self {
        let mut reader = Reader::new(files);
        reader.read_file(path, None);
        reader.contents
    }

    /// Reads the text of one file that includes nothing (postgresql.auto.conf, a `-c` given in its syntax).
    pub fn from_text(text: &str, name: &Path) -> Self {
        struct NoFiles;
        impl Files for NoFiles {
            fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
                Err(io::ErrorKind::Unsupported.into())
            }
            fn list(&self, _: &Path) -> io::Result<Vec<String>> {
                Err(io::ErrorKind::Unsupported.into())
            }
        }
        let mut reader = Reader::new(&NoFiles);
        reader.read_text(text.as_bytes(), name);
        reader.contents
    }

    /// The last value of a name, in any case.
    pub fn last(&self, name: &str) -> Option<&FileEntry> {
        self.entries.iter().rev().find(|entry| entry.name.eq_ignore_ascii_case(name))
    }

    /// Adds what was read after this (postgresql.auto.conf after postgresql.conf).
    pub fn append(&mut self, later: Self) {
        self.entries.extend(later.entries);
        self.errors.extend(later.errors);
    }
}

/// Reads a file with all that it includes.
struct Reader<'a> {
    files: &'a dyn Files,
    contents: FileContents,
    /// The files that are being read, each included by the one before.
    open: Vec<PathBuf>,
    /// How many have been read.
    count: usize,
}

impl<'a> Reader<'a> {
    fn new(files: &'a dyn Files) -> Self {
        Self { files, contents: FileContents::default(), open: Vec::new(), count: 0 }
    }

    fn fail(&mut self, message: String, place: Place) {
        if self.contents.errors.len() < ERRORS_MAX {
            self.contents.errors.push(FileError { message, place });
        }
    }

    fn read_file(&mut self, path: &Path, from: Option<&Place>) {
        let place = from.cloned().unwrap_or(Place { file: path.into(), line: 0 });
        let shown = path.display();
        if self.open.iter().any(|open| open == path) {
            return self.fail(format!("configuration file recursion in \"{shown}\""), place);
        }
        let read = if self.open.len() > DEPTH_MAX {
            Err("nesting depth exceeded".to_owned())
        } else if self.count == FILES_MAX {
            Err(format!("more than {FILES_MAX} files are included"))
        } else {
            self.files.read(path).map_err(|error| error.to_string())
        };
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(why) => {
                return self.fail(format!("could not open configuration file \"{shown}\": {why}"), place);
            }
        };
        self.count += 1;
        self.open.push(path.to_owned());
        self.read_text(&bytes, path);
        self.open.pop();
    }

    fn read_text(&mut self, text: &[u8], path: &Path) {
        let file: Arc<Path> = path.into();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let place = Place { file: file.clone(), line: number };
            let line = String::from_utf8_lossy(line);
            // A comment may be in any encoding.
            let is_foreign = |text: &str| matches!(line, Cow::Owned(_)) && text.contains('\u{fffd}');
            match parse_line(line.trim_end_matches('\r')) {
                Ok(None) => {}
                Ok(Some((name, value))) if is_foreign(name) || is_foreign(&value) => {
                    let message =
                        format!("text that is not UTF-8 in file \"{}\" line {number}", path.display());
                    self.fail(message, place);
                }
                Ok(Some((name, value))) => self.take(name, value, place),
                Err(near) => {
                    let what =
                        if near.is_empty() { "end of line".to_owned() } else { format!("token \"{near}\"") };
                    let message =
                        format!("syntax error in file \"{}\" line {number}, near {what}", path.display());
                    self.fail(message, place);
                }
            }
        }
    }

    fn take(&mut self, name: &str, value: String, place: Place) {
        let folder = place.file.parent().unwrap_or(Path::new("")).to_path_buf();
        let name_lower = name.to_ascii_lowercase();
        // Joined with the folder it would be the folder itself.
        if name_lower.starts_with("include") && value.chars().all(|c| matches!(c, ' ' | '\t' | '\r')) {
            let what = if name_lower == "include_dir" { "directory" } else { "file" };
            return self.fail(format!("empty configuration {what} name: \"{value}\""), place);
        }
        match name_lower.as_str() {
            "include" => self.read_file(&folder.join(value), Some(&place)),
            "include_if_exists" => {
                let path = folder.join(value);
                match self.files.read(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    _ => self.read_file(&path, Some(&place)),
                }
            }
            "include_dir" => self.read_folder(&folder.join(value), &place),
            _ => self.contents.entries.push(FileEntry { name: name.to_owned(), value, place }),
        }
    }

    fn read_folder(&mut self, path: &Path, place: &Place) {
        match self.files.list(path) {
            Ok(mut names) => {
                names.retain(|name| name.ends_with(".conf") && !name.starts_with('.'));
                names.sort();
                for name in names {
                    self.read_file(&path.join(name), Some(place));
                }
            }
            Err(error) => {
                let message =
                    format!("could not open configuration directory \"{}\": {error}", path.display());
                self.fail(message, place.clone());
            }
        }
    }
}

/// A line's name and value, None for an empty one; `Err` is the text at which it goes wrong.
fn parse_line(line: &str) -> Result<Option<(&str, String)>, String> {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r');
    let token = |text: &str| -> String { text.chars().take_while(|c| !blank(*c)).take(64).collect() };
    let line = line.trim_start_matches(blank);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let name_end = name_length(line).ok_or_else(|| token(line))?;
    let (name, rest) = line.split_at(name_end);
    let rest = rest.trim_start_matches(blank);
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start_matches(blank);
    let (value, rest) = parse_value(rest).ok_or_else(|| token(rest))?;
    let rest = rest.trim_start_matches(blank);
    if rest.is_empty() || rest.starts_with('#') { Ok(Some((name, value))) } else { Err(token(rest)) }
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn name_length(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let inside = |byte: &u8| is_letter(*byte) || byte.is_ascii_digit() || matches!(byte, b'.' | b'$');
    is_letter(*bytes.first()?).then(|| bytes.iter().take_while(|byte| inside(byte)).count())
}

/// A quoted or plain value and what follows it on the line.
fn parse_value(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('\'') {
        return parse_quoted(quoted);
    }
    let plain = |byte: &u8| is_letter(*byte) || byte.is_ascii_digit() || b"-+._:/".contains(byte);
    let end = text.bytes().take_while(|byte| plain(byte)).count();
    let (value, rest) = text.split_at_checked(end)?;
    let first = *value.as_bytes().first()?;
    (is_letter(first) || first.is_ascii_digit() || b"-+.".contains(&first)).then(|| (value.to_owned(), rest))
}

/// What stands between quotes: '' is a quote, a backslash begins an escape of C.
fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        match (*bytes.get(at)?, bytes.get(at + 1)) {
            (b'\'', Some(b'\'')) => {
                value.push(b'\'');
                at += 2;
            }
            (b'\'', _) => return Some((String::from_utf8(value).ok()?, text.get(at + 1..)?)),
            (b'\\', Some(&escaped)) => {
                at += 2;
                let octal = |at: usize| bytes.get(at).filter(|b| (b'0'..=b'7').contains(b)).map(|b| b - b'0');
                value.push(match escaped {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'0'..=b'7' => {
                        let mut code = escaped - b'0';
                        for _ in 0..2 {
                            let Some(digit) = octal(at) else { break };
                            code = code.wrapping_mul(8).wrapping_add(digit);
                            at += 1;
                        }
                        code
                    }
                    other => other,
                });
            }
            (byte, _) => {
                value.push(byte);
                at += 1;
            }
        }
    }
}

/// A value in quotes, as postgresql.conf takes it.
pub fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// A folder's path joined with a configured one, unless that is absolute.
pub fn resolve(folder: &Path, configured: &str) -> PathBuf {
    folder.join(configured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::BTreeMap;

    struct Memory<'a>(BTreeMap<&'a str, &'a str>);

    impl Files for Memory<'_> {
        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            let found = self.0.get(path.to_str().unwrap_or_default());
            found.map(|text| text.as_bytes().to_vec()).ok_or(io::ErrorKind::NotFound.into())
        }
        fn list(&self, path: &Path) -> io::Result<Vec<String>> {
            let prefix = format!("{}/", path.display());
            Ok(self.0.keys().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect())
        }
    }

    fn values(contents: &FileContents) -> Vec<(String, String)> {
        contents.entries.iter().map(|e| (e.name.clone(), e.value.clone())).collect()
    }

    #[test]
    fn lines_are_read_with_their_quoting() {
        for (line, name, value) in [
            ("port = 5433", "port", "5433"),
            ("port 5433 # comment", "port", "5433"),
            ("  shared_buffers=128MB#x", "shared_buffers", "128MB"),
            ("a.b = 'it''s'", "a.b", "it's"),
            (r"x = 'tab\there \'q\' \101\\'", "x", "tab\there 'q' A\\"),
            ("listen_addresses = ''", "listen_addresses", ""),
            ("x = -1", "x", "-1"),
            ("x = .5", "x", ".5"),
            ("log_timezone = Europe/Berlin", "log_timezone", "Europe/Berlin"),
            ("x = 'ü'", "x", "ü"),
        ] {
            assert_eq!(parse_line(line), Ok(Some((name, value.to_owned()))), "{line}");
        }
        for line in ["", "   ", "# x", "\t#"] {
            assert_eq!(parse_line(line), Ok(None));
        }
        for (line, near) in [
            ("= 5", "="),
            ("port =", ""),
            ("x = 'open", "'open"),
            ("x = 1 2", "2"),
            ("x = a,b", ",b"),
            ("1x = 2", "1x"),
        ] {
            assert_eq!(parse_line(line), Err(near.to_owned()), "{line}");
        }
    }

    #[test]
    fn included_files_are_read_in_place_and_relative_to_their_includer() {
        let files = Memory(BTreeMap::from([
            (
                "/d/postgresql.conf",
                "port = 1\ninclude 'sub/a.conf'\ninclude_dir = 'conf.d'\ninclude_if_exists 'none'\nport = 4",
            ),
            ("/d/sub/a.conf", "port = 2\ninclude 'b.conf'"),
            ("/d/sub/b.conf", "work_mem = 1MB"),
            ("/d/conf.d/2.conf", "x.y = 2"),
            ("/d/conf.d/1.conf", "x.y = 1"),
            ("/d/conf.d/.hidden.conf", "x.y = 3"),
            ("/d/conf.d/other.txt", "x.y = 4"),
        ]));
        let read = FileContents::read(&files, Path::new("/d/postgresql.conf"));
        assert_eq!(read.errors, []);
        let expected =
            [("port", "1"), ("port", "2"), ("work_mem", "1MB"), ("x.y", "1"), ("x.y", "2"), ("port", "4")];
        assert_eq!(values(&read), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(read.entries[2].place.to_string(), "/d/sub/b.conf:1");
        assert_eq!(read.last("PORT").map(|e| e.value.as_str()), Some("4"));
    }

    #[test]
    fn errors_name_file_and_line_and_a_circle_of_includes_ends() {
        let files = Memory(BTreeMap::from([
            ("/d/a.conf", "port = 1\nport ! 2\ninclude 'missing'"),
            ("/d/loop.conf", "include 'loop.conf'"),
            ("/d/one.conf", "include_if_exists 'two.conf'"),
            ("/d/two.conf", "include_dir '.'\ninclude 'one.conf'"),
        ]));
        let read = FileContents::read(&files, Path::new("/d/a.conf"));
        assert_eq!(read.errors[0].message, "syntax error in file \"/d/a.conf\" line 2, near token \"!\"");
        assert!(read.errors[1].message.starts_with("could not open configuration file \"/d/missing\""));
        assert_eq!(read.errors[1].place.line, 3);
        for (file, included) in [("/d/loop.conf", "/d/loop.conf"), ("/d/one.conf", "/d/one.conf")] {
            let looped = FileContents::read(&files, Path::new(file));
            let expected = format!("configuration file recursion in \"{included}\"");
            assert_eq!(looped.errors.last().map(|error| &error.message), Some(&expected), "{file}");
        }
    }

    #[test]
    fn files_that_include_others_many_times_are_read_to_an_end() {
        /// What a file of this name includes, if anything.
        type Next = fn(&str) -> Option<String>;
        /// Each file includes it eight times.
        struct Endless(Cell<usize>, Next);
        impl Files for Endless {
            fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
                self.0.set(self.0.get() + 1);
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let line = self.1(name).map(|next| format!("include '{next}'\n"));
                Ok(line.unwrap_or_default().repeat(8).into_bytes())
            }
            fn list(&self, _: &Path) -> io::Result<Vec<String>> {
                Err(io::ErrorKind::Unsupported.into())
            }
        }
        let cases: [(Next, usize, &str); 3] = [
            (|name| Some(name.to_owned()), 1, "configuration file recursion"),
            (|name| Some(format!("../d/{name}")), FILES_MAX, "nesting depth exceeded"),
            (|name| (name.len() < 11).then(|| format!("{name}x")), FILES_MAX, "more than 1000 files"),
        ];
        for (next, count, why) in cases {
            let files = Endless(Cell::new(0), next);
            let read = FileContents::read(&files, Path::new("/d/a.conf"));
            assert_eq!(files.0.get(), count, "{why}");
            assert!(read.errors[0].message.contains(why), "{}", read.errors[0]);
        }
    }

    #[test]
    fn includes_end_at_a_depth() {
        let files: Vec<(String, String)> =
            (0..12).map(|at| (format!("/d/{at}.conf"), format!("include '{}.conf'", at + 1))).collect();
        let files = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let read = FileContents::read(&Memory(files), Path::new("/d/0.conf"));
        assert!(read.errors[0].message.contains("nesting depth"), "{:?}", read.errors);
    }

    #[test]
    fn only_comments_may_be_in_another_encoding() {
        let files = Memory(BTreeMap::new());
        let mut reader = Reader::new(&files);
        let text = b"# caf\xe9\nport = 1 # \xff\na.b = 'caf\xe9'\nc\xe9.d = 1\ne.f = '\xef\xbf\xbd'";
        reader.read_text(text, Path::new("/d/a.conf"));
        let contents = reader.contents;
        let expected = [("port", "1"), ("e.f", "\u{fffd}")];
        assert_eq!(values(&contents), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        let messages: Vec<_> = contents.errors.iter().map(|error| error.message.as_str()).collect();
        let expected = [3, 4].map(|line| format!("text that is not UTF-8 in file \"/d/a.conf\" line {line}"));
        assert_eq!(messages, expected);
    }

    #[test]
    fn an_include_of_nothing_is_refused() {
        for (line, what) in
            [("include ''", "file"), ("include_if_exists ''", "file"), ("INCLUDE_DIR ' '", "directory")]
        {
            let files = Memory(BTreeMap::from([("/d/postgresql.conf", line)]));
            let read = FileContents::read(&files, Path::new("/d/postgresql.conf"));
            assert!(
                read.errors[0].message.starts_with(&format!("empty configuration {what} name: ")),
                "{line}"
            );
            assert_eq!((read.errors.len(), read.errors[0].place.line), (1, 1), "{line}");
        }
    }

    #[test]
    fn a_quoted_value_reads_back() {
        for value in ["", "plain", "it's", r"back\slash", "a # b"] {
            let line = format!("x = {}", quote(value));
            assert_eq!(parse_line(&line), Ok(Some(("x", value.to_owned()))));
        }
    }
}
