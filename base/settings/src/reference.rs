//! The table of all settings in words: what the documentation of settings is generated from.

use crate::definition::{Kind, Meaning};
use crate::table::definitions;
use crate::value::Value;

/// One setting, as a reader of the documentation wants to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceEntry {
    /// The name.
    pub name: &'static str,
    /// The group, as pg_settings.category has it.
    pub category: &'static str,
    /// bool, integer, real, string or enum.
    pub value_type: &'static str,
    /// The unit that a number without one counts in; None for a plain number and for what is no number.
    pub unit: Option<&'static str>,
    /// The default as SHOW prints it; empty if it is the empty text.
    pub default: String,
    /// What is allowed.
    pub allowed: Allowed,
    /// Who may change it when: the word in pg_settings.context.
    pub context: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// False: it is checked, stored and shown, and has no effect here.
    pub has_effect: bool,
}

/// The values that a setting takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Any of its type (a check may narrow a text).
    Any,
    /// Numbers from the first to the second, both included, as SHOW prints them.
    Range(String, String),
    /// One of these words.
    Words(&'static [&'static str]),
}

/// All settings, sorted by name as SHOW ALL lists them.
pub fn reference() -> impl Iterator<Item = ReferenceEntry> {
    definitions().iter().map(|known| {
        let show = |value: Value| value.show(known);
        ReferenceEntry {
            name: known.name,
            category: known.category,
            value_type: known.kind.name(),
            unit: known.kind.unit().name(),
            default: show(Value::boot(known)),
            allowed: match known.kind {
                Kind::Bool { .. } | Kind::Text { .. } => Allowed::Any,
                Kind::Integer { min, max, .. } => {
                    Allowed::Range(show(Value::Integer(min)), show(Value::Integer(max)))
                }
                Kind::Real { min, max, .. } => Allowed::Range(show(Value::Real(min)), show(Value::Real(max))),
                Kind::Choice { words, .. } => Allowed::Words(words),
            },
            context: known.context.name(),
            description: known.description(),
            has_effect: known.meaning() == Meaning::Used,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_there_with_what_the_documentation_says_of_it() {
        assert_eq!(reference().count(), definitions().len());
        let of = |name: &str| reference().find(|entry| entry.name == name).unwrap();
        let timeout = of("wal_sender_timeout");
        assert_eq!((timeout.value_type, timeout.unit, timeout.context), ("integer", Some("ms"), "user"));
        assert_eq!((timeout.default.as_str(), timeout.has_effect), ("1min", true));
        assert_eq!(of("port").allowed, Allowed::Range("1".to_owned(), "65535".to_owned()));
        let levels = of("synchronous_commit");
        assert_eq!(levels.allowed, Allowed::Words(&["local", "remote_write", "remote_apply", "on", "off"]));
        assert_eq!((levels.default.as_str(), of("geqo").has_effect), ("on", false));
        assert!(reference().all(|entry| entry.description.ends_with('.')));
    }
}
