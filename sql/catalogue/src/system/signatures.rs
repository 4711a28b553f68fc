//! Arguments and results of functions as PostgreSQL writes them in their definitions.

use super::known::{FUNCTIONS, KnownFunction, type_name};

/// Defaults of the last arguments of functions that have any, by their OIDs.
const DEFAULTS: [(u32, &[&str]); 6] = [
    (2096, &["0"]),
    (2172, &["false"]),
    (2739, &["true"]),
    (3436, &["true", "60"]),
    (3464, &["0", "0", "0", "0", "0", "0", "0.0"]),
    (3779, &["false", "false"]),
];

/// An argument: its mode, its name (perhaps empty) and its type.
struct Argument {
    mode: char,
    name: &'static str,
    data_type: &'static str,
}

impl Argument {
    fn text(&self) -> String {
        if self.name.is_empty() {
            return self.data_type.to_owned();
        }
        format!("{} {}", identifier::quote(self.name), self.data_type)
    }
}

impl KnownFunction {
    /// The function of an OID.
    pub fn of(oid: u32) -> Option<&'static Self> {
        FUNCTIONS.iter().find(|function| function.oid == oid)
    }

    fn described(&self) -> impl Iterator<Item = Argument> {
        let types = if self.all_arguments.is_empty() { &self.arguments } else { &self.all_arguments };
        types.iter().enumerate().map(|(at, oid)| Argument {
            mode: self.modes.get(at).and_then(|mode| mode.chars().next()).unwrap_or('i'),
            name: self.names.get(at).copied().unwrap_or_default(),
            data_type: type_name(*oid),
        })
    }

    /// What stands behind RETURNS.
    pub fn result_text(&self) -> String {
        let columns: Vec<String> =
            self.described().filter(|one| one.mode == 't').map(|column| column.text()).collect();
        if !columns.is_empty() {
            return format!("TABLE({})", columns.join(", "));
        }
        format!("{}{}", if self.set { "SETOF " } else { "" }, type_name(self.result))
    }

    /// What stands between the parentheses, with or without DEFAULT.
    pub fn arguments_text(&self, with_defaults: bool) -> String {
        let defaults = DEFAULTS.iter().find(|(oid, _)| *oid == self.oid).map_or(&[][..], |(_, texts)| *texts);
        let required = self.arguments.len().saturating_sub(defaults.len());
        let (mut given, mut texts) = (0, Vec::new());
        for argument in self.described().filter(|argument| argument.mode != 't') {
            let mode = match argument.mode {
                'o' => "OUT ",
                'b' => "INOUT ",
                'v' => "VARIADIC ",
                _ => "",
            };
            let mut text = format!("{mode}{}", argument.text());
            if argument.mode != 'o' {
                let default = usize::checked_sub(given, required).and_then(|at| defaults.get(at));
                if let (Some(default), true) = (default, with_defaults) {
                    text.push_str(&format!(" DEFAULT {default}"));
                }
                given += 1;
            }
            texts.push(text);
        }
        texts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_written_as_in_a_definition() {
        let text =
            |oid: u32, defaults: bool| KnownFunction::of(oid).map(|known| known.arguments_text(defaults));
        assert_eq!(text(2172, true).as_deref(), Some("label text, fast boolean DEFAULT false"));
        assert_eq!(text(2172, false).as_deref(), Some("label text, fast boolean"));
        let stop =
            "wait_for_archive boolean DEFAULT true, OUT lsn pg_lsn, OUT labelfile text, OUT spcmapfile text";
        assert_eq!(text(2739, true).as_deref(), Some(stop));
        assert_eq!(KnownFunction::of(1067).map(KnownFunction::result_text).as_deref(), Some("SETOF integer"));
    }
}
