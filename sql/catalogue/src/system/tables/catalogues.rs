//! PostgreSQL's tables of its catalogue: their shapes are PostgreSQL's own (`known`), their rows what there
//! is here.

use crate::system::known::SHAPES;
use crate::system::{
    Context, SystemTable, behaviour, indexes, relations, role_dependencies, sequences, shared, types,
};
use sql_types::Datum;

type Rows = fn(&Context<'_>) -> Vec<Vec<Datum>>;

/// All of them: name, what it shows, and its rows.
const CATALOGUES: &[(&str, &str, Rows)] = &[
    ("pg_namespace", "Schemas", relations::namespaces),
    ("pg_class", "Tables, indexes, sequences and views", relations::classes),
    ("pg_attribute", "Columns of tables, indexes, sequences and views", relations::attributes),
    ("pg_attrdef", "DEFAULT expressions of columns", relations::defaults),
    ("pg_type", "Types", types::types),
    ("pg_index", "Indexes", indexes::indexes),
    ("pg_constraint", "Primary keys, UNIQUE and CHECK constraints", indexes::constraints),
    ("pg_am", "Access methods", relations::access_methods),
    ("pg_database", "Databases", shared::databases),
    ("pg_tablespace", "Tablespaces", shared::tablespaces),
    ("pg_description", "Comments on objects: always empty", none),
    ("pg_inherits", "Inheritance of tables: always empty", none),
    ("pg_trigger", "Triggers: always empty", none),
    ("pg_policy", "Row security policies: always empty", none),
    ("pg_rewrite", "Rewrite rules: always empty", none),
    ("pg_extension", "Extensions: always empty", none),
    ("pg_enum", "Values of enum types: always empty", none),
    ("pg_range", "Range types: always empty", none),
    ("pg_auth_members", "Memberships of roles", shared::members),
    ("pg_publication", "Publications of logical replication: always empty", none),
    ("pg_publication_rel", "Tables of publications: always empty", none),
    ("pg_statistic_ext", "Extended statistics: always empty", none),
    ("pg_foreign_table", "Foreign tables: always empty", none),
    ("pg_partitioned_table", "Partitioned tables: always empty", none),
    ("pg_sequence", "Sequences", sequences::definitions),
    ("pg_publication_namespace", "Schemas of publications: always empty", none),
    ("pg_foreign_data_wrapper", "Foreign-data wrappers: always empty", none),
    ("pg_language", "Languages that functions are written in", behaviour::languages),
    ("pg_depend", "Which sequence goes with which column", sequences::dependencies),
    ("pg_foreign_server", "Foreign servers: always empty", none),
    ("pg_proc", "Functions and aggregates of PostgreSQL that exist here", behaviour::functions),
    ("pg_collation", "Collations: those that mean the order of bytes", behaviour::collations),
    ("pg_aggregate", "Parts of aggregates: always empty", none),
    ("pg_amop", "Operators of operator families of btree", behaviour::family_operators),
    ("pg_amproc", "Functions of operator families: always empty", none),
    ("pg_cast", "Casts between types", behaviour::casts),
    ("pg_conversion", "Conversions between encodings: always empty", none),
    ("pg_db_role_setting", "Settings that sessions of a role or in a database begin with", shared::settings),
    ("pg_default_acl", "Rights that new objects begin with", shared::default_acls),
    ("pg_event_trigger", "Event triggers: always empty", none),
    ("pg_init_privs", "Rights from before any grant", role_dependencies::initial_rights),
    ("pg_largeobject", "Data of large objects: always empty", none),
    ("pg_largeobject_metadata", "Large objects: always empty", none),
    ("pg_opclass", "Operator classes of btree indexes", behaviour::operator_classes),
    ("pg_operator", "Operators", behaviour::operators),
    ("pg_opfamily", "Operator families of btree indexes", behaviour::operator_families),
    ("pg_parameter_acl", "Rights on settings: always empty", none),
    ("pg_replication_origin", "Origins of replication: always empty", none),
    ("pg_seclabel", "Security labels: always empty", none),
    ("pg_shdepend", "What depends on roles", role_dependencies::dependencies),
    ("pg_shdescription", "Comments on databases and roles: always empty", none),
    ("pg_shseclabel", "Security labels of shared objects: always empty", none),
    ("pg_statistic", "Statistics of columns: always empty", none),
    ("pg_statistic_ext_data", "Values of extended statistics: always empty", none),
    ("pg_subscription", "Subscriptions: always empty", none),
    ("pg_subscription_rel", "Tables of subscriptions: always empty", none),
    ("pg_transform", "Transforms of types: always empty", none),
    ("pg_ts_config", "Text search configurations: always empty", none),
    ("pg_ts_config_map", "Text search mappings: always empty", none),
    ("pg_ts_dict", "Text search dictionaries: always empty", none),
    ("pg_ts_parser", "Text search parsers: always empty", none),
    ("pg_ts_template", "Text search templates: always empty", none),
    ("pg_user_mapping", "User mappings of foreign servers: always empty", none),
];

/// A table of what does not exist here: tools that ask for it find nothing.
fn none(_: &Context<'_>) -> Vec<Vec<Datum>> {
    Vec::new()
}

pub(super) fn tables() -> impl Iterator<Item = SystemTable> {
    CATALOGUES.iter().map(|(name, about, rows)| {
        let (oid, columns) = SHAPES.get(name).copied().unwrap_or_default();
        SystemTable { schema: "pg_catalog", name, about, oid, columns, rows: *rows }
    })
}
