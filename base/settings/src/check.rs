//! Checks of text settings that need nothing but the text. The server adds those that know more (time zones,
//! synchronous_standby_names).

use crate::encodings::encoding_name;
use crate::error::Refusal;
use crate::node::Check;

pub(crate) static BUILT_IN: &[(&str, Check)] = &[
    ("client_encoding", client_encoding),
    ("DateStyle", date_style),
    ("default_table_access_method", access_method),
    ("default_with_oids", always_off),
    ("lc_messages", messages_locale),
    ("lc_monetary", locale),
    ("lc_numeric", locale),
    ("lc_time", locale),
    ("log_destination", log_destination),
    ("restrict_nonsystem_relation_kind", relation_kinds),
    ("search_path", identifier_list),
    ("shared_preload_libraries", preload_libraries),
    ("standard_conforming_strings", always_on),
    ("timezone_abbreviations", abbreviations),
    ("wal_consistency_checking", consistency_checked),
    ("application_name", printable),
    ("cluster_name", printable),
    ("plimsoll.read_after", read_after),
    ("recovery_target", recovery_target),
    ("recovery_target_lsn", recovery_target_lsn),
    ("recovery_target_name", recovery_target_name),
    ("recovery_target_timeline", recovery_target_timeline),
    ("recovery_target_xid", recovery_target_xid),
];

/// A client that is told `off` would double the backslashes of its literals.
fn always_on(text: &str) -> Result<String, Refusal> {
    if text == "on" {
        Ok(text.to_owned())
    } else {
        Err(Refusal::Absent(format!("standard_conforming_strings = {text}")))
    }
}

/// PostgreSQL 15 has the setting for scripts that turn it off.
fn always_off(text: &str) -> Result<String, Refusal> {
    if text == "off" { Ok(text.to_owned()) } else { Err(Refusal::Absent("a table WITH OIDS".to_owned())) }
}

/// UTF8 is the only encoding here.
fn client_encoding(text: &str) -> Result<String, Refusal> {
    match crate::encodings::encoding_number(text).map(|number| encoding_name(number.into())) {
        Some("UTF8") => Ok("UTF8".to_owned()),
        Some(other) => Err(Refusal::Absent(format!("client_encoding = {other}"))),
        None => Err("".into()),
    }
}

/// The order of day, month and year that a word of DateStyle names.
fn date_order(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "mdy" | "us" | "noneuro" | "noneuropean" => Some("MDY"),
        "dmy" | "euro" | "european" => Some("DMY"),
        "ymd" => Some("YMD"),
        _ => None,
    }
}

/// The style that a word of DateStyle names.
fn style_word(word: &str) -> Option<&'static str> {
    let is_named = |name: &&str| {
        // Of what begins with POSTGRES the rest does not count.
        name.eq_ignore_ascii_case(word)
            || *name == "Postgres" && word.get(..8).is_some_and(|begin| begin.eq_ignore_ascii_case(name))
    };
    ["ISO", "SQL", "Postgres", "German"].into_iter().find(is_named)
}

/// `ISO`, the only style here, and an order of day, month and year, which is PostgreSQL's default where
/// none is named.
fn date_style(text: &str) -> Result<String, Refusal> {
    let conflict = || Refusal::from("Conflicting \"datestyle\" specifications.");
    let (mut order, mut style) = (None, None);
    let words = crate::list::split_identifiers(text).ok_or("List syntax is invalid.")?;
    for word in words {
        if let Some(named) = date_order(&word) {
            if order.replace(named).is_some_and(|before| before != named) {
                return Err(conflict());
            }
        } else if let Some(named) = style_word(&word) {
            if style.replace(named).is_some_and(|before| before != named) {
                return Err(conflict());
            }
        } else if !word.eq_ignore_ascii_case("default") {
            return Err(format!("Unrecognized key word: \"{word}\".").into());
        }
    }
    if let Some(style) = style.filter(|style| *style != "ISO") {
        return Err(Refusal::Absent(format!("DateStyle = {style}")));
    }
    Ok(format!("ISO, {}", order.unwrap_or("MDY")))
}

/// Whether this is a value of DateStyle that leaves the order as it is.
pub(crate) fn keeps_date_order(name: &str, text: &str) -> bool {
    name.eq_ignore_ascii_case("DateStyle")
        && crate::list::split_identifiers(text)
            .is_none_or(|words| words.iter().all(|word| date_order(word).is_none()))
}

/// Whether there is one of this name, only SET asks.
fn access_method(text: &str) -> Result<String, Refusal> {
    if text.is_empty() { Err("It needs the name of an access method.".into()) } else { Ok(text.to_owned()) }
}

/// A text that could be the name of a locale: `C`, `POSIX`, `language_TERRITORY`, with an encoding and a
/// modifier. Which ones a machine has is not asked, since none of them has an effect here.
fn is_locale(text: &str) -> bool {
    let (name, modifier) = text.split_once('@').unwrap_or((text, "x"));
    let (name, encoding) = name.split_once('.').unwrap_or((name, "UTF-8"));
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_language = name.split_once('_').is_some_and(|(language, territory)| {
        (2..=3).contains(&language.len())
            && language.bytes().all(|byte| byte.is_ascii_lowercase())
            && (territory.len() == 2 && territory.bytes().all(|byte| byte.is_ascii_uppercase()))
    });
    text == "POSIX" || (name == "C" || is_language) && is_word(encoding) && is_word(modifier)
}

/// The environment's where it is empty.
fn locale(text: &str) -> Result<String, Refusal> {
    if text.is_empty() || is_locale(text) { Ok(text.to_owned()) } else { Err("".into()) }
}

fn messages_locale(text: &str) -> Result<String, Refusal> {
    if text.is_empty() { Err("".into()) } else { locale(text) }
}

/// The files of abbreviations that PostgreSQL brings along.
fn abbreviations(text: &str) -> Result<String, Refusal> {
    if ["Default", "Australia", "India"].contains(&text) { Ok(text.to_owned()) } else { Err("".into()) }
}

/// Resource managers whose pages can be compared (those with a rm_mask).
const COMPARABLE: [&str; 10] =
    ["heap2", "heap", "btree", "hash", "gin", "gist", "sequence", "spgist", "brin", "generic"];

fn consistency_checked(text: &str) -> Result<String, Refusal> {
    let words = crate::list::split_identifiers(text).ok_or("List syntax is invalid.")?;
    let is_known = |word: &String| {
        let known = |name: &&str| name.eq_ignore_ascii_case(word);
        word.eq_ignore_ascii_case("all") || COMPARABLE.iter().any(known)
    };
    match words.iter().find(|word| !is_known(word)) {
        Some(word) => Err(format!("Unrecognized key word: \"{word}\".").into()),
        None => Ok(text.to_owned()),
    }
}

fn log_destination(text: &str) -> Result<String, Refusal> {
    for word in text.split(',').map(str::trim) {
        if word.eq_ignore_ascii_case("syslog") {
            return Err("syslog is not supported: use stderr, csvlog or jsonlog.".into());
        }
        if !["stderr", "csvlog", "jsonlog"].iter().any(|known| known.eq_ignore_ascii_case(word)) {
            return Err(format!("Unrecognized key word: \"{word}\".").into());
        }
    }
    Ok(text.to_owned())
}

fn identifier_list(text: &str) -> Result<String, Refusal> {
    crate::list::split_identifiers(text)
        .map(|_| text.to_owned())
        .ok_or_else(|| "List syntax is invalid.".into())
}

fn relation_kinds(text: &str) -> Result<String, Refusal> {
    let kinds = crate::list::split_identifiers(text).ok_or("List syntax is invalid.")?;
    match kinds.iter().find(|kind| !["view", "foreign-table"].contains(&kind.as_str())) {
        None => Ok(text.to_owned()),
        Some(other) => Err(format!("Unrecognized key word: \"{other}\".").into()),
    }
}

/// A module that is not there would be missed.
fn preload_libraries(text: &str) -> Result<String, Refusal> {
    let names = crate::list::split_identifiers(text).ok_or("List syntax is invalid.")?;
    match names.iter().find(|name| *name != "pg_stat_statements") {
        None => Ok(text.to_owned()),
        Some(other) => {
            Err(format!("There is no module \"{other}\": pg_stat_statements is the only one here.").into())
        }
    }
}

/// Clients' names reach logs and other sessions: bytes outside printable ASCII become question marks, and
/// those behind the 63rd are left out.
pub fn shown_name(text: &str) -> String {
    let clean = |byte: u8| if (32..127).contains(&byte) { char::from(byte) } else { '?' };
    text.bytes().map(clean).take(63).collect()
}

fn printable(text: &str) -> Result<String, Refusal> {
    Ok(shown_name(text))
}

fn recovery_target_timeline(text: &str) -> Result<String, Refusal> {
    match text {
        "current" | "latest" => Ok(text.to_owned()),
        number if number.parse::<u32>().is_ok() => Ok(text.to_owned()),
        _ => Err("It is not \"current\", \"latest\" or a number.".into()),
    }
}

fn recovery_target(text: &str) -> Result<String, Refusal> {
    match text {
        "" | "immediate" => Ok(text.to_owned()),
        _ => Err("The only allowed value is \"immediate\".".into()),
    }
}

/// A position with or without its timeline, which may have the id of its branch.
fn read_after(text: &str) -> Result<String, Refusal> {
    let wrong = || Refusal::from("It is not a position like 0/3000148 or 1:0/3000148.");
    let is_place = |place: &str| {
        let (timeline, branch) = place.split_once('-').unwrap_or((place, "0123456789abcdef"));
        let is_branch = branch.len() == 16 && branch.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_branch && timeline.parse::<u32>().is_ok()
    };
    match text.split_once(':') {
        Some((place, lsn)) if is_place(place) && !lsn.is_empty() => {
            recovery_target_lsn(lsn).map(|_| text.to_owned()).map_err(|_| wrong())
        }
        Some(_) => Err(wrong()),
        None => recovery_target_lsn(text).map_err(|_| wrong()),
    }
}

fn recovery_target_lsn(text: &str) -> Result<String, Refusal> {
    let half =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.split_once('/') {
        Some((high, low)) if half(high) && half(low) => Ok(text.to_owned()),
        None if text.is_empty() => Ok(String::new()),
        _ => Err("It is not a position like 0/3000148.".into()),
    }
}

fn recovery_target_name(text: &str) -> Result<String, Refusal> {
    if text.len() < 64 {
        Ok(text.to_owned())
    } else {
        Err("\"recovery_target_name\" is too long (maximum 63 characters).".into())
    }
}

fn recovery_target_xid(text: &str) -> Result<String, Refusal> {
    if text.is_empty() || text.parse::<u64>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("It is not a transaction id.".into())
    }
}

#[cfg(test)]
mod tests {
    use crate::Settings;

    #[test]
    fn checked_texts_become_canonical_or_say_what_is_wrong() {
        let settings = Settings::new();
        let read = |name: &str, text: &str| {
            settings.parse(name, text).map(|value| value.show(crate::find(name).unwrap()))
        };
        assert_eq!(read("client_encoding", "utf-8").as_deref(), Ok("UTF8"));
        assert_eq!(read("client_encoding", "nosuch").unwrap_err().sqlstate().as_str(), "22023");
        assert_eq!(read("datestyle", "iso, dmy").as_deref(), Ok("ISO, DMY"));
        let wrong = read("datestyle", "foo").unwrap_err();
        assert_eq!(wrong.detail(), Some("Unrecognized key word: \"foo\"."));
        assert_eq!(read("application_name", "a\tü").as_deref(), Ok("a???"));
        assert!(read("search_path", "a, \"B c\"").is_ok());
        assert!(read("search_path", "a,,b").is_err());
    }

    /// Each was said to PostgreSQL 15 on a machine with the locales that it names.
    #[test]
    fn settings_without_an_effect_take_what_postgresql_takes() {
        let settings = Settings::new();
        for (name, good, wrong) in [
            (
                "lc_messages",
                &["C", "POSIX", "C.UTF-8", "en_US.UTF-8", "de_DE@euro"][..],
                &["", "xx", "c"][..],
            ),
            ("lc_monetary", &["", "C", "sr_RS.utf8@latin"], &["xx", "en_US.", "en_us", "german"]),
            ("lc_time", &["", "POSIX"], &["nosuch"]),
            ("default_table_access_method", &["heap", "columnar"], &[""]),
            ("timezone_abbreviations", &["Default", "India", "Australia"], &["", "nosuch", "a/b"]),
            ("wal_consistency_checking", &["", "all", "heap, btree", "HEAP2"], &["nosuch", "heap,,gin"]),
        ] {
            for text in good {
                assert!(settings.parse(name, text).is_ok(), "{name} {text}");
            }
            for text in wrong {
                let error = settings.parse(name, text).unwrap_err();
                assert_eq!(error.sqlstate().as_str(), "22023", "{name} {text}");
            }
        }
    }

    #[test]
    fn values_that_are_not_there_say_so_and_wrong_ones_are_wrong() {
        let settings = Settings::new();
        for (name, text, message) in [
            ("client_encoding", "iso-8859-1", "client_encoding = LATIN1 is not supported"),
            ("client_encoding", "windows-1252", "client_encoding = WIN1252 is not supported"),
            ("datestyle", "german", "DateStyle = German is not supported"),
            ("datestyle", "SQL, DMY", "DateStyle = SQL is not supported"),
            ("datestyle", "postgresql", "DateStyle = Postgres is not supported"),
            ("standard_conforming_strings", "no", "standard_conforming_strings = off is not supported"),
        ] {
            let error = settings.parse(name, text).unwrap_err();
            assert_eq!((error.sqlstate().as_str(), error.to_string().as_str()), ("0A000", message));
        }
        for (name, text) in [
            ("client_encoding", "nosuch"),
            ("datestyle", "sql, foo"),
            ("datestyle", "iso, sql"),
            ("datestyle", "german, mdy, dmy"),
            ("standard_conforming_strings", "perhaps"),
        ] {
            assert_eq!(settings.parse(name, text).unwrap_err().sqlstate().as_str(), "22023", "{text}");
        }
    }
}
