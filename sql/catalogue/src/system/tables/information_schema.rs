//! Tables of the SQL standard.

use crate::system::{SystemTable, information_schema};
use sql_types::TypeId::{Int4, Name, Text};

pub(super) const TABLES: &[SystemTable] = &[
    SystemTable {
        schema: "information_schema",
        name: "tables",
        about: "Tables and views, by the SQL standard",
        oid: 13100,
        columns: &[
            ("table_catalog", Name),
            ("table_schema", Name),
            ("table_name", Name),
            ("table_type", Text),
            ("is_insertable_into", Text),
            ("is_typed", Text),
        ],
        rows: information_schema::tables,
    },
    SystemTable {
        schema: "information_schema",
        name: "columns",
        about: "Columns of tables and views, by the SQL standard",
        oid: 13101,
        columns: &[
            ("table_catalog", Name),
            ("table_schema", Name),
            ("table_name", Name),
            ("column_name", Name),
            ("ordinal_position", Int4),
            ("column_default", Text),
            ("is_nullable", Text),
            ("data_type", Text),
            ("character_maximum_length", Int4),
            ("numeric_precision", Int4),
            ("numeric_scale", Int4),
            ("datetime_precision", Int4),
            ("udt_name", Name),
            ("is_identity", Text),
            ("is_generated", Text),
            ("is_updatable", Text),
        ],
        rows: information_schema::columns,
    },
    SystemTable {
        schema: "information_schema",
        name: "schemata",
        about: "Schemas, by the SQL standard",
        oid: 13102,
        columns: &[("catalog_name", Name), ("schema_name", Name), ("schema_owner", Name)],
        rows: information_schema::schemata,
    },
];
