//! `options` of a startup packet: words as on the command line of PostgreSQL's server program.

use protocol::conninfo::is_blank;
use protocol::{Report, SqlState};
use settings::{SwitchedBy, switch};

/// Takes a value, and means nothing to a session: where a server is begun it would.
const IDLE_WITH_VALUE: [char; 4] = ['C', 'D', 'r', 'v'];
/// The same without one.
const IDLE: [char; 5] = ['b', 'E', 'j', 'n', 'T'];
/// The word before the first one, which PostgreSQL names where it complains of that.
const PROGRAM: &str = "postgres";

type Settings = Vec<(String, String)>;

/// What options ask for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Settings in their order, up to the first word that is none: they are judged before it.
    pub settings: Settings,
    /// What is wrong with that word.
    pub wrong: Option<Box<Report>>,
}

/// Reads them: `-c name=value`, `--name=value` and the switches of one letter.
pub(super) fn parse(options: &str) -> Asked {
    let mut settings = Settings::new();
    let wrong = read(options, &mut settings).err();
    Asked { settings, wrong }
}

/// Goes through them as getopt of the GNU library does, which looks at words that are no options last, and
/// names what PostgreSQL names: the word before the one that was to come next.
fn read(options: &str, settings: &mut Settings) -> Result<(), Box<Report>> {
    let mut words = words(options).into_iter();
    let (mut others, mut before) = (Vec::new(), PROGRAM.to_owned());
    while let Some(word) = words.next() {
        if word == "--" {
            others.extend(words);
            break;
        }
        let Some(mut letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()).map(str::chars) else {
            others.push(word);
            continue;
        };
        before = loop {
            let Some(letter) = letters.next() else { break word };
            let inline = letters.as_str();
            match takes_value(letter) {
                None if inline.is_empty() => return Err(unknown(&word)),
                None => return Err(unknown(others.last().unwrap_or(&before))),
                Some(false) => settings.extend(set_by(letter, "").unwrap_or_default()),
                Some(true) => {
                    let next = if inline.is_empty() { words.next() } else { None };
                    let value = match (&next, inline) {
                        (Some(next), _) => next.as_str(),
                        (None, "") => return Err(unknown(&word)),
                        (None, inline) => inline,
                    };
                    let last = next.as_ref().unwrap_or(&word);
                    match letter {
                        'c' | '-' => settings.push(assigned(letter, value)?),
                        letter if IDLE_WITH_VALUE.contains(&letter) => {}
                        letter => settings.extend(set_by(letter, value).ok_or_else(|| unknown(last))?),
                    }
                    break last.clone();
                }
            }
        };
    }
    others.first().map_or(Ok(()), |first| Err(unknown(first)))
}

/// Words are apart by blanks; a backslash takes the next character as it is.
fn words(options: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            // One that nothing follows makes a word nevertheless.
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if is_blank(c) => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Whether a letter takes a value; None if it is no option. The second dash of `--name=value` is one.
fn takes_value(letter: char) -> Option<bool> {
    match letter {
        'c' | '-' => Some(true),
        letter if IDLE_WITH_VALUE.contains(&letter) => Some(true),
        letter if IDLE.contains(&letter) => Some(false),
        letter => Some(switch(letter)?.takes_value()),
    }
}

fn set_by(letter: char, value: &str) -> Option<Settings> {
    switch(letter)?.settings(value, SwitchedBy::Client)
}

fn assigned(letter: char, assignment: &str) -> Result<(String, String), Box<Report>> {
    match assignment.split_once('=') {
        Some((name, value)) => Ok((name.replace('-', "_"), value.to_owned())),
        None => {
            let option = if letter == 'c' { "-c " } else { "--" };
            let what = format!("{option}{assignment} requires a value");
            Err(Box::new(Report::error(SqlState::SYNTAX_ERROR, what)))
        }
    }
}

fn unknown(word: &str) -> Box<Report> {
    let what = format!("invalid command-line argument for server process: {word}");
    let report = Report::error(SqlState::SYNTAX_ERROR, what);
    Box::new(report.with_hint("Try \"postgres --help\" for more information."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(settings: &[(&str, &str)]) -> Settings {
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// As PostgreSQL 15 takes each of these.
    #[test]
    fn options_are_those_of_the_command_line() {
        let cases: [(&str, &[(&str, &str)]); 13] = [
            (
                "-c work_mem=1MB -cgeqo=off  --statement-timeout=5 -c search_path=a\\ b",
                &[("work_mem", "1MB"), ("geqo", "off"), ("statement_timeout", "5"), ("search_path", "a b")],
            ),
            (
                "-c a=b\u{a0}c\u{b}--work-mem=1MB\t-c work-mem=2MB",
                &[("a", "b\u{a0}c"), ("work_mem", "1MB"), ("work_mem", "2MB")],
            ),
            ("-c \\ work_mem=1MB", &[(" work_mem", "1MB")]),
            ("-eS 77", &[("datestyle", "iso, dmy"), ("work_mem", "77")]),
            ("-ec work_mem=3MB", &[("datestyle", "iso, dmy"), ("work_mem", "3MB")]),
            ("-e-work-mem=77", &[("datestyle", "iso, dmy"), ("work_mem", "77")]),
            ("-e- work-mem=77", &[("datestyle", "iso, dmy"), ("work_mem", "77")]),
            ("-d 2", &[("log_min_messages", "debug2"), ("log_statement", "all")]),
            ("-fs -t pa", &[("enable_seqscan", "off"), ("log_parser_stats", "on")]),
            ("-D x -r f -v 3 -CX -b -E -j -n -T", &[]),
            ("-p 33", &[("port", "33")]),
            ("-e --", &[("datestyle", "iso, dmy")]),
            ("", &[]),
        ];
        for (options, expected) in cases {
            let asked = parse(options);
            assert_eq!((asked.settings, asked.wrong), (owned(expected), None), "{options}");
        }
    }

    /// As PostgreSQL 15 names them.
    #[test]
    fn what_is_no_option_is_named() {
        let no_option = "invalid command-line argument for server process: ";
        for (bad, word) in [
            ("work_mem=1", "work_mem=1"),
            ("-c", "-c"),
            ("-x", "-x"),
            ("-C", "-C"),
            ("-S", "-S"),
            ("-f q", "q"),
            ("-fq", "-fq"),
            ("-t p", "p"),
            ("-e abc", "abc"),
            ("-V", "-V"),
            ("-?", "-?"),
            ("-", "-"),
            ("-e-", "-e-"),
            ("-e -- -S 100", "-S"),
            ("-e -- abc -S", "abc"),
            ("abc -- -S", "abc"),
            ("abc -x", "-x"),
            ("-xe", "postgres"),
            ("-e -xe", "-e"),
            ("-S 100 -xe", "100"),
            ("abc -xe", "abc"),
            ("abc -e def -xe", "def"),
            ("-exe -c work_mem=1MB", "postgres"),
            ("\\", ""),
            ("a\\", "a"),
        ] {
            assert_eq!(parse(bad).wrong.unwrap().message, format!("{no_option}{word}"), "{bad}");
        }
        for (bad, said) in [
            ("-c work_mem", "-c work_mem requires a value"),
            ("--work-mem", "--work-mem requires a value"),
            ("-ce", "-c e requires a value"),
        ] {
            assert_eq!(parse(bad).wrong.unwrap().message, said);
        }
    }

    #[test]
    fn settings_before_a_word_that_is_none_are_judged_first_and_those_behind_one_that_ends_all_never() {
        let before = |options| parse(options).settings;
        assert_eq!(before("-c a=1 -x -c b=2"), owned(&[("a", "1")]));
        assert_eq!(before("abc -c b=2"), owned(&[("b", "2")]));
    }
}
