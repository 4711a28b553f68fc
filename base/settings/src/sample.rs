//! The postgresql.conf that a new data directory gets.

use crate::definition::{Meaning, flag};
use crate::file::quote;
use crate::table::definitions;
use crate::value::Value;
use std::fmt::Write;

/// What init decides, written into the file as active lines.
#[derive(Clone, Debug, Default)]
pub struct SampleValues {
    /// `(name, value)` pairs.
    pub active: Vec<(String, String)>,
}

const HEAD: &str = "\
# Settings of this Plimsoll server, in PostgreSQL's syntax:  name = value
#
# A line that begins with # is not in force and shows the default. A time may carry a unit (us, ms, s, min, h, d),
# a size too (B, kB, MB, GB, TB). `SELECT pg_reload_conf()` or SIGHUP applies changes; where it says (restart), only a
# restart does.
# All settings of PostgreSQL 15 are accepted; those listed here have an effect.
";

/// A commented file with every setting that has an effect, by category.
pub fn sample_file(values: &SampleValues) -> String {
    let mut text = HEAD.to_owned();
    let shown = |known: &&&crate::Definition| {
        known.meaning() == Meaning::Used
            && !known.has(flag::NOT_IN_SAMPLE | flag::NOT_IN_FILE)
            && known.context != crate::Context::Internal
    };
    let mut sorted: Vec<_> = definitions().iter().filter(shown).collect();
    sorted.sort_by_key(|known| known.category);
    let mut category = "";
    for known in sorted {
        if known.category != category {
            category = known.category;
            let _ = write!(text, "\n# --- {category} ---\n\n");
        }
        let active = values.active.iter().find(|(name, _)| name.eq_ignore_ascii_case(known.name));
        let value = active.map_or_else(|| Value::boot(known).show(known), |(_, value)| value.clone());
        let value = if needs_quotes(&value) { quote(&value) } else { value };
        let restart = if known.context == crate::Context::Postmaster { " (restart)" } else { "" };
        let mark = if active.is_some() { "" } else { "#" };
        let _ = writeln!(text, "# {}{restart}\n{mark}{} = {value}", known.description(), known.name);
    }
    let listed =
        |name: &str| definitions().iter().filter(shown).any(|known| known.name.eq_ignore_ascii_case(name));
    let others: Vec<_> = values.active.iter().filter(|(name, _)| !listed(name)).collect();
    if !others.is_empty() {
        text.push_str("\n# --- Set when this directory was made ---\n\n");
    }
    for (name, value) in others {
        let _ = writeln!(text, "{name} = {}", quote(value));
    }
    text
}

fn needs_quotes(value: &str) -> bool {
    !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) || value.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileContents, Phase, Settings};
    use std::path::Path;

    #[test]
    fn the_sample_reads_back_and_sets_only_what_init_decided() {
        let active = [("port", "5433"), ("max_locks_per_transaction", "64"), ("TimeZone", "Europe/Berlin")];
        let active = active.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let text = sample_file(&SampleValues { active });
        let read = FileContents::from_text(&text, Path::new("postgresql.conf"));
        let mut settings = Settings::new();
        let applied = settings.apply_files(&read, Phase::Start);
        assert!(applied.problems.is_empty(), "{:?}", applied.problems);
        assert_eq!(settings.show("port").as_deref(), Ok("5433"));
        assert_eq!(read.entries.len(), 3);
    }

    #[test]
    fn every_commented_line_would_be_accepted_too() {
        let text = sample_file(&SampleValues::default());
        let uncommented: String = text
            .lines()
            .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
            .map(|line| format!("{line}\n"))
            .collect();
        let read = FileContents::from_text(&uncommented, Path::new("x"));
        assert!(read.entries.len() > 60);
        let applied = Settings::new().apply_files(&read, Phase::Start);
        assert!(applied.problems.is_empty(), "{:?}", applied.problems);
        assert_eq!(applied.changed, [""; 0], "the sample shows the defaults");
    }
}
