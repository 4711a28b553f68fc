//! The names of encodings.

/// PostgreSQL's encodings by their numbers. Texts are in UTF8 here.
const ENCODINGS: [&str; 42] = [
    "SQL_ASCII",
    "EUC_JP",
    "EUC_CN",
    "EUC_KR",
    "EUC_TW",
    "EUC_JIS_2004",
    "UTF8",
    "MULE_INTERNAL",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "WIN1256",
    "WIN1258",
    "WIN866",
    "WIN874",
    "KOI8R",
    "WIN1251",
    "WIN1252",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "WIN1250",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1257",
    "KOI8U",
    "SJIS",
    "BIG5",
    "GBK",
    "UHC",
    "GB18030",
    "JOHAB",
    "SHIFT_JIS_2004",
];

/// The name of an encoding by its number.
pub(crate) fn encoding_name(number: i64) -> &'static str {
    usize::try_from(number).ok().and_then(|number| ENCODINGS.get(number)).copied().unwrap_or_default()
}

/// The number of an encoding, if there is one of the name: signs between its letters and digits do not count.
pub(crate) fn encoding_number(name: &str) -> Option<i32> {
    let plain = |name: &str| -> String {
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let wanted = match plain(name).as_str() {
        "unicode" => "utf8".to_owned(),
        other => other.to_owned(),
    };
    let found = ENCODINGS.iter().position(|name| plain(name) == wanted);
    found.and_then(|number| i32::try_from(number).ok())
}
