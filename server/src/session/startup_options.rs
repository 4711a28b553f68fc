//! `options` of a startup packet: words as on the command line of PostgreSQL's server program.

use protocol::conninfo::is_blank;
use protocol::{Report, SqlState};
use settings::{switched, takes_value};

/// Takes a value, and means nothing to a session: where a server is begun it would.
const IDLE_WITH_VALUE: [char; 4] = ['C', 'D', 'r', 'v'];
/// The same without one.
const IDLE: [char; 5] = ['b', 'E', 'j', 'n', 'T'];

type Settings = Vec<(String, String)>;

/// Reads them: `-c name=value`, `--name=value` and the switches of one letter.
///
/// # Errors
/// Fails with the word that is none, or has no value.
pub(super) fn parse(options: &str) -> Result<Settings, Box<Report>> {
    let mut words = words(options).into_iter();
    let mut settings = Settings::new();
    while let Some(word) = words.next() {
        if word == "--" {
            return words.next().map_or(Ok(settings), |next| Err(unknown(&next)));
        }
        if let Some(assignment) = word.strip_prefix("--") {
            settings.push(assigned("--", assignment)?);
            continue;
        }
        let letters = word.strip_prefix('-').filter(|letters| !letters.is_empty());
        let mut letters = letters.ok_or_else(|| unknown(&word))?.chars();
        while let Some(letter) = letters.next() {
            if !is_with_value(letter).ok_or_else(|| unknown(&word))? {
                settings.extend(set_by(letter, "").unwrap_or_default());
                continue;
            }
            let (value, at) = match letters.as_str() {
                "" => {
                    let value = words.next().ok_or_else(|| unknown(&word))?;
                    (value.clone(), value)
                }
                inline => (inline.to_owned(), word.clone()),
            };
            match letter {
                'c' => settings.push(assigned("-c ", &value)?),
                letter if IDLE_WITH_VALUE.contains(&letter) => {}
                letter => settings.extend(set_by(letter, &value).ok_or_else(|| unknown(&at))?),
            }
            break;
        }
    }
    Ok(settings)
}

/// Words are apart by blanks; a backslash takes the next character as it is.
fn words(options: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => words.last_mut().into_iter().for_each(|word| word.extend(chars.next())),
            c if is_blank(c) => words.push(String::new()),
            c => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_with_value(letter: char) -> Option<bool> {
    match letter {
        'c' => Some(true),
        letter if IDLE_WITH_VALUE.contains(&letter) => Some(true),
        letter if IDLE.contains(&letter) => Some(false),
        letter => takes_value(letter),
    }
}

fn set_by(letter: char, value: &str) -> Option<Settings> {
    let owned = |(name, value): (&str, std::borrow::Cow<'_, str>)| (name.to_owned(), value.into_owned());
    Some(switched(letter, value)?.into_iter().map(owned).collect())
}

fn assigned(option: &str, assignment: &str) -> Result<(String, String), Box<Report>> {
    match assignment.split_once('=') {
        Some((name, value)) => Ok((name.replace('-', "_"), value.to_owned())),
        None => {
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

    fn owned<const N: usize>(settings: [(&str, &str); N]) -> Settings {
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    #[test]
    fn options_are_those_of_the_command_line() {
        let settings =
            parse("-c work_mem=1MB -cgeqo=off  --statement-timeout=5 -c search_path=a\\ b").unwrap();
        let expected =
            [("work_mem", "1MB"), ("geqo", "off"), ("statement_timeout", "5"), ("search_path", "a b")];
        assert_eq!(settings, owned(expected));
        let blanks = parse("-c a=b\u{a0}c\u{b}--work-mem=1MB\t-c work-mem=2MB").unwrap();
        assert_eq!(blanks, owned([("a", "b\u{a0}c"), ("work_mem", "1MB"), ("work_mem", "2MB")]));
    }

    /// As PostgreSQL 15 takes each of these.
    #[test]
    fn letters_stand_together_and_some_mean_nothing_to_a_session() {
        let cases: [(&str, &[(&str, &str)]); 8] = [
            ("-eS 77", &[("datestyle", "iso, dmy"), ("work_mem", "77")]),
            ("-ec work_mem=3MB", &[("datestyle", "iso, dmy"), ("work_mem", "3MB")]),
            ("-d 5", &[("log_min_messages", "debug5")]),
            ("-d x", &[("log_min_messages", "notice")]),
            ("-fs -t pa", &[("enable_seqscan", "off"), ("log_parser_stats", "on")]),
            ("-D x -r f -v 3 -CX -b -E -j -n -T", &[]),
            ("-p 33", &[("port", "33")]),
            ("-e --", &[("datestyle", "iso, dmy")]),
        ];
        for (options, expected) in cases {
            let expected: Settings =
                expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(parse(options).unwrap(), expected, "{options}");
        }
    }

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
            ("-e abc", "abc"),
            ("-V", "-V"),
            ("-?", "-?"),
            ("-", "-"),
            ("-e -- -S 100", "-S"),
        ] {
            assert_eq!(parse(bad).unwrap_err().message, format!("{no_option}{word}"));
        }
        for (bad, said) in
            [("-c work_mem", "-c work_mem requires a value"), ("--work-mem", "--work-mem requires a value")]
        {
            assert_eq!(parse(bad).unwrap_err().message, said);
        }
    }
}
