//! Objects that the values of settings name: which of them are not there.

/// Where PostgreSQL puts what is not shared, and what is.
const TABLESPACES: [&str; 2] = ["pg_default", "pg_global"];

/// Text search configurations that PostgreSQL 15 brings along, in pg_catalog.
const TEXT_SEARCH: [&str; 29] = [
    "simple",
    "arabic",
    "armenian",
    "basque",
    "catalan",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hindi",
    "hungarian",
    "indonesian",
    "irish",
    "italian",
    "lithuanian",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "serbian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
    "yiddish",
];

/// An object that a setting's value names and that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingObject {
    /// Its kind, as in "tablespace".
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// The first object that a value of this setting names and that is not there.
pub fn missing_object(setting: &str, value: &str) -> Option<MissingObject> {
    let is_space = |name: &str| name.is_empty() || TABLESPACES.contains(&name);
    let missing =
        |kind, name: &str, is_there: bool| (!is_there).then(|| MissingObject { kind, name: name.to_owned() });
    match setting.to_ascii_lowercase().as_str() {
        "default_tablespace" => missing("tablespace", value, is_space(value)),
        "temp_tablespaces" => {
            let names = settings::split_identifiers(value).unwrap_or_default();
            names.iter().find_map(|name| missing("tablespace", name, is_space(name)))
        }
        "default_table_access_method" => {
            missing("table access method", value, value.is_empty() || value == "heap")
        }
        "default_text_search_config" => {
            let plain = value.to_ascii_lowercase();
            let name = plain.strip_prefix("pg_catalog.").unwrap_or(&plain);
            missing("text search configuration", value, TEXT_SEARCH.contains(&name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_setting_names_is_there_or_is_told_by_its_kind() {
        for (setting, value, expected) in [
            ("default_tablespace", "", None),
            ("Default_Tablespace", "nosuch", Some(("tablespace", "nosuch"))),
            ("temp_tablespaces", "pg_default, a", Some(("tablespace", "a"))),
            ("default_table_access_method", "heap", None),
            ("default_table_access_method", "HEAP", Some(("table access method", "HEAP"))),
            ("default_text_search_config", "pg_catalog.English", None),
            ("default_text_search_config", "x.english", Some(("text search configuration", "x.english"))),
            ("work_mem", "nosuch", None),
        ] {
            let found = missing_object(setting, value);
            let found = found.as_ref().map(|missing| (missing.kind, missing.name.as_str()));
            assert_eq!(found, expected, "{setting} {value}");
        }
    }
}
