//! Types that PostgreSQL 15 has and this server has not: who names one hears that, and not that there is no
//! such type.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsentType {
    /// Its OID.
    pub oid: u32,
    /// That of the arrays of it; 0 if there are none.
    pub array_oid: u32,
    /// Its name in pg_type.
    pub name: &'static str,
    /// How SQL calls it.
    pub sql_name: &'static str,
}

const fn absent(oid: u32, array_oid: u32, name: &'static str, sql_name: &'static str) -> AbsentType {
    AbsentType { oid, array_oid, name, sql_name }
}

/// Ordered by name.
pub const ABSENT_TYPES: [AbsentType; 57] = [
    absent(4538, 0, "anycompatiblemultirange", "anycompatiblemultirange"),
    absent(5080, 0, "anycompatiblerange", "anycompatiblerange"),
    absent(3500, 0, "anyenum", "anyenum"),
    absent(4537, 0, "anymultirange", "anymultirange"),
    absent(3831, 0, "anyrange", "anyrange"),
    absent(1560, 1561, "bit", "bit"),
    absent(603, 1020, "box", "box"),
    absent(29, 1012, "cid", "cid"),
    absent(650, 651, "cidr", "cidr"),
    absent(718, 719, "circle", "circle"),
    absent(4535, 6155, "datemultirange", "datemultirange"),
    absent(3912, 3913, "daterange", "daterange"),
    absent(3115, 0, "fdw_handler", "fdw_handler"),
    absent(3642, 3644, "gtsvector", "gtsvector"),
    absent(325, 0, "index_am_handler", "index_am_handler"),
    absent(4451, 6150, "int4multirange", "int4multirange"),
    absent(3904, 3905, "int4range", "int4range"),
    absent(4536, 6157, "int8multirange", "int8multirange"),
    absent(3926, 3927, "int8range", "int8range"),
    absent(114, 199, "json", "json"),
    absent(3802, 3807, "jsonb", "jsonb"),
    absent(4072, 4073, "jsonpath", "jsonpath"),
    absent(2280, 0, "language_handler", "language_handler"),
    absent(628, 629, "line", "line"),
    absent(601, 1018, "lseg", "lseg"),
    absent(829, 1040, "macaddr", "macaddr"),
    absent(774, 775, "macaddr8", "macaddr8"),
    absent(790, 791, "money", "money"),
    absent(4532, 6151, "nummultirange", "nummultirange"),
    absent(3906, 3907, "numrange", "numrange"),
    absent(602, 1019, "path", "path"),
    absent(4600, 0, "pg_brin_bloom_summary", "pg_brin_bloom_summary"),
    absent(4601, 0, "pg_brin_minmax_multi_summary", "pg_brin_minmax_multi_summary"),
    absent(32, 0, "pg_ddl_command", "pg_ddl_command"),
    absent(3402, 0, "pg_dependencies", "pg_dependencies"),
    absent(5017, 0, "pg_mcv_list", "pg_mcv_list"),
    absent(3361, 0, "pg_ndistinct", "pg_ndistinct"),
    absent(194, 0, "pg_node_tree", "pg_node_tree"),
    absent(5038, 5039, "pg_snapshot", "pg_snapshot"),
    absent(600, 1017, "point", "point"),
    absent(604, 1027, "polygon", "polygon"),
    absent(1790, 2201, "refcursor", "refcursor"),
    absent(3734, 3735, "regconfig", "regconfig"),
    absent(3769, 3770, "regdictionary", "regdictionary"),
    absent(269, 0, "table_am_handler", "table_am_handler"),
    absent(27, 1010, "tid", "tid"),
    absent(1266, 1270, "timetz", "time with time zone"),
    absent(3310, 0, "tsm_handler", "tsm_handler"),
    absent(4533, 6152, "tsmultirange", "tsmultirange"),
    absent(3615, 3645, "tsquery", "tsquery"),
    absent(3908, 3909, "tsrange", "tsrange"),
    absent(4534, 6153, "tstzmultirange", "tstzmultirange"),
    absent(3910, 3911, "tstzrange", "tstzrange"),
    absent(3614, 3643, "tsvector", "tsvector"),
    absent(2970, 2949, "txid_snapshot", "txid_snapshot"),
    absent(1562, 1563, "varbit", "bit varying"),
    absent(142, 143, "xml", "xml"),
];

impl AbsentType {
    /// The one of this name in pg_type.
    pub fn named(name: &str) -> Option<&'static Self> {
        ABSENT_TYPES.iter().find(|absent| absent.name == name)
    }

    /// The one with this OID, and whether it is that of its arrays.
    pub fn of_oid(oid: u32) -> Option<(&'static Self, bool)> {
        let found = ABSENT_TYPES.iter().find(|absent| oid == absent.oid || oid == absent.array_oid);
        found.filter(|_| oid != 0).map(|absent| (absent, oid == absent.array_oid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TypeId;

    #[test]
    fn no_type_is_called_absent_that_is_there() {
        for absent in ABSENT_TYPES {
            assert!(
                TypeId::from_oid(absent.oid).is_none() && TypeId::from_name(absent.name).is_none(),
                "{absent:?}"
            );
        }
    }

    #[test]
    fn they_are_found_by_name_and_by_oid() {
        assert_eq!(
            AbsentType::of_oid(1270).map(|(absent, array)| (absent.sql_name, array)),
            Some(("time with time zone", true))
        );
        assert_eq!(AbsentType::of_oid(114), AbsentType::named("json").map(|absent| (absent, false)));
        assert_eq!(AbsentType::of_oid(0), None);
    }
}
