//! Abbreviations of time zones with their seconds ahead of UTC: PostgreSQL's default set, as the view
//! pg_timezone_abbrevs of a PostgreSQL 15 server lists it (`SELECT abbrev, extract(epoch FROM utc_offset)`).
//!
//! Most are one offset. Some stand for what a zone of the database has used over time.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Sorted by name, lower case. Those of [`OF_ZONES`] are here with what the view shows of them.
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("acdt", 37800),
    ("acsst", 37800),
    ("acst", 34200),
    ("act", -18000),
    ("acwst", 31500),
    ("adt", -10800),
    ("aedt", 39600),
    ("aesst", 39600),
    ("aest", 36000),
    ("aft", 16200),
    ("akdt", -28800),
    ("akst", -32400),
    ("almst", 25200),
    ("almt", 21600),
    ("amst", 14400),
    ("amt", -14400),
    ("anast", 43200),
    ("anat", 43200),
    ("arst", -10800),
    ("art", -10800),
    ("ast", -14400),
    ("awsst", 32400),
    ("awst", 28800),
    ("azost", 0),
    ("azot", -3600),
    ("azst", 14400),
    ("azt", 14400),
    ("bdst", 7200),
    ("bdt", 21600),
    ("bnt", 28800),
    ("bort", 28800),
    ("bot", -14400),
    ("bra", -10800),
    ("brst", -7200),
    ("brt", -10800),
    ("bst", 3600),
    ("btt", 21600),
    ("cadt", 37800),
    ("cast", 34200),
    ("cct", 28800),
    ("cdt", -18000),
    ("cest", 7200),
    ("cet", 3600),
    ("cetdst", 7200),
    ("chadt", 49500),
    ("chast", 45900),
    ("chut", 36000),
    ("ckt", -36000),
    ("clst", -10800),
    ("clt", -10800),
    ("cot", -18000),
    ("cst", -21600),
    ("cxt", 25200),
    ("davt", 25200),
    ("ddut", 36000),
    ("easst", -18000),
    ("east", -18000),
    ("eat", 10800),
    ("edt", -14400),
    ("eest", 10800),
    ("eet", 7200),
    ("eetdst", 10800),
    ("egst", 0),
    ("egt", -3600),
    ("est", -18000),
    ("fet", 10800),
    ("fjst", 46800),
    ("fjt", 43200),
    ("fkst", -10800),
    ("fkt", -10800),
    ("fnst", -3600),
    ("fnt", -7200),
    ("galt", -21600),
    ("gamt", -32400),
    ("gest", 14400),
    ("get", 14400),
    ("gft", -10800),
    ("gilt", 43200),
    ("gmt", 0),
    ("gyt", -14400),
    ("hkt", 28800),
    ("hst", -36000),
    ("ict", 25200),
    ("idt", 10800),
    ("iot", 21600),
    ("irkst", 28800),
    ("irkt", 28800),
    ("irt", 12600),
    ("ist", 7200),
    ("jayt", 32400),
    ("jst", 32400),
    ("kdt", 36000),
    ("kgst", 21600),
    ("kgt", 21600),
    ("kost", 39600),
    ("krast", 25200),
    ("krat", 25200),
    ("kst", 32400),
    ("lhdt", 39600),
    ("lhst", 37800),
    ("ligt", 36000),
    ("lint", 50400),
    ("lkt", 19800),
    ("magst", 39600),
    ("magt", 39600),
    ("mart", -34200),
    ("mawt", 18000),
    ("mdt", -21600),
    ("mest", 7200),
    ("mesz", 7200),
    ("met", 3600),
    ("metdst", 7200),
    ("mez", 3600),
    ("mht", 43200),
    ("mmt", 23400),
    ("mpt", 36000),
    ("msd", 14400),
    ("msk", 10800),
    ("mst", -25200),
    ("must", 18000),
    ("mut", 14400),
    ("mvt", 18000),
    ("myt", 28800),
    ("ndt", -9000),
    ("nft", -12600),
    ("novst", 25200),
    ("novt", 25200),
    ("npt", 20700),
    ("nst", -12600),
    ("nut", -39600),
    ("nzdt", 46800),
    ("nzst", 43200),
    ("nzt", 43200),
    ("omsst", 21600),
    ("omst", 21600),
    ("pdt", -25200),
    ("pet", -18000),
    ("petst", 43200),
    ("pett", 43200),
    ("pgt", 36000),
    ("pht", 28800),
    ("pkst", 21600),
    ("pkt", 18000),
    ("pmdt", -7200),
    ("pmst", -10800),
    ("pont", 39600),
    ("pst", -28800),
    ("pwt", 32400),
    ("pyst", -10800),
    ("pyt", -10800),
    ("ret", 14400),
    ("sadt", 37800),
    ("sast", 7200),
    ("sct", 14400),
    ("sgt", 28800),
    ("taht", -36000),
    ("tft", 18000),
    ("tjt", 18000),
    ("tkt", 46800),
    ("tmt", 18000),
    ("tot", 46800),
    ("trut", 36000),
    ("tvt", 43200),
    ("uct", 0),
    ("ulast", 32400),
    ("ulat", 28800),
    ("ut", 0),
    ("utc", 0),
    ("uyst", -7200),
    ("uyt", -10800),
    ("uzst", 21600),
    ("uzt", 18000),
    ("vet", -14400),
    ("vlast", 36000),
    ("vlat", 36000),
    ("volt", 10800),
    ("vut", 39600),
    ("wadt", 28800),
    ("wakt", 43200),
    ("wast", 25200),
    ("wat", 3600),
    ("wdt", 32400),
    ("wet", 0),
    ("wetdst", 3600),
    ("wft", 43200),
    ("wgst", -7200),
    ("wgt", -10800),
    ("xjt", 21600),
    ("yakst", 32400),
    ("yakt", 32400),
    ("yapt", 36000),
    ("yekst", 21600),
    ("yekt", 18000),
    ("z", 0),
    ("zulu", 0),
];

/// Those of them that stand for summer time (`WHERE is_dst`), sorted.
const OF_SUMMER: &[&str] = &[
    "acdt", "acsst", "adt", "aedt", "aesst", "akdt", "almst", "awsst", "azost", "bdst", "brst", "bst",
    "cadt", "cdt", "cest", "cetdst", "chadt", "clst", "clt", "easst", "east", "edt", "eest", "eetdst",
    "egst", "fjst", "fnst", "idt", "kdt", "kgst", "lhdt", "mdt", "mest", "mesz", "metdst", "msd", "must",
    "ndt", "nzdt", "pdt", "pkst", "pmdt", "pyst", "sadt", "ulast", "uyst", "uzst", "wadt", "wdt", "wetdst",
    "wgst", "yekst",
];

/// Those that mean what their zone had for them at a time, as the time zone set `Default` lists them.
const OF_ZONES: &[(&str, &str)] = &[
    ("amst", "Asia/Yerevan"),
    ("anast", "Asia/Anadyr"),
    ("anat", "Asia/Anadyr"),
    ("arst", "America/Argentina/Buenos_Aires"),
    ("art", "America/Argentina/Buenos_Aires"),
    ("azst", "Asia/Baku"),
    ("azt", "Asia/Baku"),
    ("ckt", "Pacific/Rarotonga"),
    ("clt", "America/Santiago"),
    ("davt", "Antarctica/Davis"),
    ("easst", "Pacific/Easter"),
    ("east", "Pacific/Easter"),
    ("fkst", "Atlantic/Stanley"),
    ("fkt", "Atlantic/Stanley"),
    ("gest", "Asia/Tbilisi"),
    ("get", "Asia/Tbilisi"),
    ("gyt", "America/Guyana"),
    ("iot", "Indian/Chagos"),
    ("irkst", "Asia/Irkutsk"),
    ("irkt", "Asia/Irkutsk"),
    ("kgt", "Asia/Bishkek"),
    ("kost", "Pacific/Kosrae"),
    ("krast", "Asia/Krasnoyarsk"),
    ("krat", "Asia/Krasnoyarsk"),
    ("lhdt", "Australia/Lord_Howe"),
    ("lint", "Pacific/Kiritimati"),
    ("lkt", "Asia/Colombo"),
    ("magst", "Asia/Magadan"),
    ("magt", "Asia/Magadan"),
    ("mawt", "Antarctica/Mawson"),
    ("msk", "Europe/Moscow"),
    ("novst", "Asia/Novosibirsk"),
    ("novt", "Asia/Novosibirsk"),
    ("nut", "Pacific/Niue"),
    ("omsst", "Asia/Omsk"),
    ("omst", "Asia/Omsk"),
    ("petst", "Asia/Kamchatka"),
    ("pett", "Asia/Kamchatka"),
    ("pyt", "America/Asuncion"),
    ("sgt", "Asia/Singapore"),
    ("tkt", "Pacific/Fakaofo"),
    ("tmt", "Asia/Ashgabat"),
    ("ulat", "Asia/Ulaanbaatar"),
    ("vet", "America/Caracas"),
    ("vlast", "Asia/Vladivostok"),
    ("vlat", "Asia/Vladivostok"),
    ("volt", "Europe/Volgograd"),
    ("yakst", "Asia/Yakutsk"),
    ("yakt", "Asia/Yakutsk"),
    ("yekt", "Asia/Yekaterinburg"),
];

/// An abbreviation, upper case, its seconds ahead of UTC, and whether it stands for summer time.
pub type Abbreviation = (String, i32, bool);

/// All of them, by their names.
pub fn abbreviations() -> impl Iterator<Item = Abbreviation> {
    let is_summer = |name: &&str| OF_SUMMER.binary_search(name).is_ok();
    ABBREVIATIONS.iter().map(move |(name, offset)| (name.to_ascii_uppercase(), *offset, is_summer(name)))
}

/// What an abbreviation means.
pub(super) enum Meaning {
    /// Seconds ahead of UTC at all times.
    Offset(i32),
    /// The offsets of a zone over time.
    Zone(TimeZone),
}

/// The meaning of an abbreviation in lower case.
pub(super) fn meaning(abbreviation: &str) -> Option<Meaning> {
    static ZONES: LazyLock<BTreeMap<&str, TimeZone>> = LazyLock::new(|| {
        let zones = OF_ZONES.iter().filter_map(|(name, zone)| {
            let zone = TimeZone::get(zone).ok()?;
            Some((*name, narrowed(&name.to_ascii_uppercase(), &zone).unwrap_or(zone)))
        });
        zones.collect()
    });
    let at = ABBREVIATIONS.binary_search_by(|(name, _)| (*name).cmp(abbreviation)).ok()?;
    Some(match ZONES.get(abbreviation) {
        Some(zone) => Meaning::Zone(zone.clone()),
        None => Meaning::Offset(ABBREVIATIONS.get(at)?.1),
    })
}

/// 2038-01-01 in Unix time: zones list their changes up to here, and follow a rule from then on.
const LISTED_UNTIL_SECONDS: i64 = 2_145_916_800;
const SECONDS_PER_HOUR: i32 = 3600;

/// A zone that has, at any time, the offset for which the given one last used the abbreviation before, or
/// first did after. None where it never used it: then the abbreviation is just another name of it.
fn narrowed(abbreviation: &str, zone: &TimeZone) -> Option<TimeZone> {
    let mut uses: Vec<(i64, i32)> = Vec::new();
    let until = Timestamp::from_second(LISTED_UNTIL_SECONDS).ok()?;
    for change in zone.following(Timestamp::MIN).take_while(|change| change.timestamp() < until) {
        let offset = change.offset().seconds();
        let is_new = uses.last().is_none_or(|(_, last)| *last != offset);
        if change.abbreviation() == abbreviation && is_new {
            uses.push((change.timestamp().as_second(), offset));
        }
    }
    TimeZone::tzif(abbreviation, &tzif(abbreviation, &uses)?).ok()
}

/// A file of the zone database (TZif, RFC 9636) of one abbreviation with its offsets from some times on; the
/// first of them holds before, too. None without any.
fn tzif(abbreviation: &str, uses: &[(i64, i32)]) -> Option<Vec<u8>> {
    let (_, last) = uses.last()?;
    let count = u32::try_from(uses.len()).ok().filter(|count| *count < 256)?;
    let characters = u32::try_from(abbreviation.len()).ok()? + 1;
    let header = |changes: u32, types: u32, characters: u32| {
        let mut bytes = b"TZif2".to_vec();
        bytes.resize(20, 0);
        for count in [0, 0, 0, changes, types, characters] {
            bytes.extend(count.to_be_bytes());
        }
        bytes
    };
    // The part for readers of 32 bits has no changes, and must have one offset.
    let mut bytes = header(0, 1, 1);
    bytes.resize(bytes.len() + 7, 0);
    bytes.extend(header(count, count, characters));
    bytes.extend(uses.iter().flat_map(|(at, _)| at.to_be_bytes()));
    bytes.extend((0..=u8::MAX).take(uses.len()));
    for (_, offset) in uses {
        bytes.extend(offset.to_be_bytes());
        // Standard time, under the first of the names.
        bytes.extend([0, 0]);
    }
    bytes.extend(abbreviation.bytes());
    bytes.push(0);
    let (sign, west) = if *last > 0 { ("-", *last) } else { ("", -last) };
    let (hours, minutes) = (west / SECONDS_PER_HOUR, west % SECONDS_PER_HOUR / 60);
    bytes.extend(format!("\n{abbreviation}{sign}{hours}:{minutes:02}\n").into_bytes());
    Some(bytes)
}
