//! Tables of rights: memberships, settings of roles, default privileges, and the SQL standard's views of what
//! was granted.

use crate::system::{SystemTable, rights, shared};
use sql_types::TypeId::{self, Bool, Name, Oid, OidArray, Text, TextArray, Timestamptz};

const fn catalogue(
    name: &'static str,
    about: &'static str,
    oid: u32,
    columns: &'static [(&'static str, TypeId)],
    rows: fn(&crate::system::Context<'_>) -> Vec<Vec<sql_types::Datum>>,
) -> SystemTable {
    SystemTable { schema: "pg_catalog", name, about, oid, columns, rows }
}

const fn standard(
    name: &'static str,
    about: &'static str,
    oid: u32,
    columns: &'static [(&'static str, TypeId)],
    rows: fn(&crate::system::Context<'_>) -> Vec<Vec<sql_types::Datum>>,
) -> SystemTable {
    SystemTable { schema: "information_schema", name, about, oid, columns, rows }
}

const TABLE_PRIVILEGES: &[(&str, TypeId)] = &[
    ("grantor", Name),
    ("grantee", Name),
    ("table_catalog", Name),
    ("table_schema", Name),
    ("table_name", Name),
    ("privilege_type", Text),
    ("is_grantable", Text),
    ("with_hierarchy", Text),
];

const COLUMN_PRIVILEGES: &[(&str, TypeId)] = &[
    ("grantor", Name),
    ("grantee", Name),
    ("table_catalog", Name),
    ("table_schema", Name),
    ("table_name", Name),
    ("column_name", Name),
    ("privilege_type", Text),
    ("is_grantable", Text),
];

const USAGE_PRIVILEGES: &[(&str, TypeId)] = &[
    ("grantor", Name),
    ("grantee", Name),
    ("object_catalog", Name),
    ("object_schema", Name),
    ("object_name", Name),
    ("object_type", Text),
    ("privilege_type", Text),
    ("is_grantable", Text),
];

const MEMBERS: &[(&str, TypeId)] = &[("grantee", Name), ("role_name", Name), ("is_grantable", Text)];

pub(super) const TABLES: &[SystemTable] = &[
    catalogue(
        "pg_shadow",
        "Roles that may log in, with their password verifiers",
        12007,
        &[
            ("usename", Name),
            ("usesysid", Oid),
            ("usecreatedb", Bool),
            ("usesuper", Bool),
            ("userepl", Bool),
            ("usebypassrls", Bool),
            ("passwd", Text),
            ("valuntil", Timestamptz),
            ("useconfig", TextArray),
        ],
        shared::shadows,
    ),
    catalogue(
        "pg_group",
        "Roles that may not log in, with their members",
        12009,
        &[("groname", Name), ("grosysid", Oid), ("grolist", OidArray)],
        shared::groups,
    ),
    standard(
        "table_privileges",
        "Rights on tables and views that concern the current role or PUBLIC",
        13110,
        TABLE_PRIVILEGES,
        |context| rights::table_privileges(context, true),
    ),
    standard(
        "role_table_grants",
        "Rights on tables and views that concern the current role",
        13111,
        TABLE_PRIVILEGES,
        |context| rights::table_privileges(context, false),
    ),
    standard(
        "column_privileges",
        "Rights on columns that concern the current role or PUBLIC",
        13112,
        COLUMN_PRIVILEGES,
        |context| rights::column_privileges(context, true),
    ),
    standard(
        "role_column_grants",
        "Rights on columns that concern the current role",
        13113,
        COLUMN_PRIVILEGES,
        |context| rights::column_privileges(context, false),
    ),
    standard(
        "usage_privileges",
        "USAGE of sequences that concerns the current role or PUBLIC",
        13114,
        USAGE_PRIVILEGES,
        |context| rights::usage_privileges(context, true),
    ),
    standard(
        "role_usage_grants",
        "USAGE of sequences that concerns the current role",
        13115,
        USAGE_PRIVILEGES,
        |context| rights::usage_privileges(context, false),
    ),
    standard(
        "applicable_roles",
        "Memberships of the current role, and of those that it is a member of",
        13116,
        MEMBERS,
        rights::applicable_roles,
    ),
    standard(
        "administrable_role_authorizations",
        "Roles that the current role may grant",
        13117,
        MEMBERS,
        rights::administrable_roles,
    ),
    standard(
        "enabled_roles",
        "The current role, and those whose rights it has",
        13118,
        &[("role_name", Name)],
        rights::enabled_roles,
    ),
];
