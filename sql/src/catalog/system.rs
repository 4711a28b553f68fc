//! The catalogue's views of itself: pg_class and its kin, as rows made when they are asked for.

use super::model::{
    BOOTSTRAP_ROLE_OID, Catalogue, INFORMATION_SCHEMA_OID, PG_CATALOG_OID, POSTGRES_DATABASE, PUBLIC_OID, Relation,
};
use crate::environment::{Environment, SettingActor};
use crate::error::Result;
use datum::{Array, Category, Datum, TypeId};
use std::sync::Arc;
use storage::Database;

/// One of these views.
pub(crate) struct SystemTable {
    pub(crate) schema: &'static str,
    pub(crate) name: &'static str,
    pub(crate) oid: u32,
    pub(crate) columns: &'static [(&'static str, TypeId)],
    rows: fn(&Context<'_>) -> Vec<Vec<Datum>>,
}

/// What the views are made from.
pub(crate) struct Context<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) environment: &'a dyn Environment,
    pub(crate) database: &'a Database,
    pub(crate) actor: SettingActor,
}

use TypeId::{Bool, Char, Float4, Int2, Int2Array, Int4, Name, Oid, Text, TextArray, Timestamptz, Xid};

/// All of them; a plan names one by its place.
pub(crate) static TABLES: &[SystemTable] = &[
    SystemTable {
        schema: "pg_catalog",
        name: "pg_namespace",
        oid: 2615,
        columns: &[("oid", Oid), ("nspname", Name), ("nspowner", Oid), ("nspacl", TextArray)],
        rows: namespaces,
    },
    SystemTable {
        schema: "pg_catalog",
        name: "pg_class",
        oid: 1259,
        columns: &[
            ("oid", Oid),
            ("relname", Name),
            ("relnamespace", Oid),
            ("reltype", Oid),
            ("reloftype", Oid),
            ("relowner", Oid),
            ("relam", Oid),
            ("relfilenode", Oid),
            ("reltablespace", Oid),
            ("relpages", Int4),
            ("reltuples", Float4),
            ("relallvisible", Int4),
            ("reltoastrelid", Oid),
            ("relhasindex", Bool),
            ("relisshared", Bool),
            ("relpersistence", Char),
            ("relkind", Char),
            ("relnatts", Int2),
            ("relchecks", Int2),
            ("relhasrules", Bool),
            ("relhastriggers", Bool),
            ("relhassubclass", Bool),
            ("relrowsecurity", Bool),
            ("relforcerowsecurity", Bool),
            ("relispopulated", Bool),
            ("relreplident", Char),
            ("relispartition", Bool),
            ("relrewrite", Oid),
            ("relfrozenxid", Xid),
            ("relminmxid", Xid),
            ("relacl", TextArray),
            ("reloptions", TextArray),
            ("relpartbound", Text),
        ],
        rows: classes,
    },
    SystemTable {
        schema: "pg_catalog",
        name: "pg_attribute",
        oid: 1249,
        columns: &[
            ("attrelid", Oid),
            ("attname", Name),
            ("atttypid", Oid),
            ("attstattarget", Int4),
            ("attlen", Int2),
            ("attnum", Int2),
            ("attndims", Int4),
            ("attcacheoff", Int4),
            ("atttypmod", Int4),
            ("attbyval", Bool),
            ("attalign", Char),
            ("attstorage", Char),
            ("attcompression", Char),
            ("attnotnull", Bool),
            ("atthasdef", Bool),
            ("atthasmissing", Bool),
            ("attidentity", Char),
            ("attgenerated", Char),
            ("attisdropped", Bool),
            ("attislocal", Bool),
            ("attinhcount", Int4),
            ("attcollation", Oid),
            ("attacl", TextArray),
            ("attoptions", TextArray),
            ("attfdwoptions", TextArray),
            ("attmissingval", Text),
        ],
        rows: attributes,
    },
    SystemTable {
        schema: "pg_catalog",
        name: "pg_attrdef",
        oid: 2604,
        columns: &[("oid", Oid), ("adrelid", Oid), ("adnum", Int2), ("adbin", Text)],
        rows: defaults,
    },
    SystemTable {
        schema: "pg_catalog",
        name: "pg_type",
        oid: 1247,
        columns: &[
            ("oid", Oid),
            ("typname", Name),
            ("typnamespace", Oid),
            ("typowner", Oid),
            ("typlen", Int2),
            ("typbyval", Bool),
            ("typtype", Char),
            ("typcategory", Char),
            ("typispreferred", Bool),
            ("typisdefined", Bool),
            ("typdelim", Char),
            ("typrelid", Oid),
            ("typsubscript", Text),
            ("typelem", Oid),
            ("typarray", Oid),
            ("typinput", Text),
            ("typoutput", Text),
            ("typreceive", Text),
            ("typsend", Text),
            ("typnotnull", Bool),
            ("typbasetype", Oid),
            ("typtypmod", Int4),
            ("typndims", Int4),
            ("typcollation", Oid),
            ("typdefault", Text),
        ],
        rows: types,
    },
    SystemTable {
        schema: "pg_catalog",
        name: "pg_index",
        oid: 2610,
        columns: &[
            ("indexrelid", Oid),
            ("indrelid", Oid),
            ("indnatts", Int2),
            ("indnkeyatts", Int2),
            ("indisunique", Bool),
            ("indnullsnotdistinct", Bool),
            ("indisprimary", Bool),
            ("indisexclusion", Bool),
            ("indimmediate", Bool),
            ("indisclustered", Bool),
            ("indisvalid", Bool),
            ("indcheckxmin", Bool),
            ("indisready", Bool),
            ("indislive", Bool),
            ("indisreplident", Bool),
            ("indkey", Int2Array),
            ("indexprs", Text),
            ("indpred", Text),
        ],
        rows: indexes,
    },
    SystemTable {
        schema: "pg_catalog",
        name: "pg_constraint",
        oid: 2606,
        columns: &[
            ("oid", Oid),
            ("conname", Name),
            ("connamespace", Oid),
            ("contype", Char),
            ("condeferrable", Bool),
            ("condeferred", Bool),
            ("convalidated", Bool),
            ("conrelid", Oid),
            ("contypid", Oid),
            ("conindid", Oid),
            ("conparentid", Oid),
            ("confrelid", Oid),
            ("conkey", Int2Array),
            ("confkey", Int2Array),
        ],
        rows: constraints,
    },
    SystemTable {
        schema: "pg_catalog",
        name: "pg_am",
        oid: 2601,
        columns: &[("oid", Oid), ("amname", Name), ("amhandler", Text), ("amtype", Char)],
        rows: access_methods,
    },
    SystemTable {
        schema: "pg_catalog",
        name: "pg_database",
        oid: 1262,
        columns: &[
            ("oid", Oid),
            ("datname", Name),
            ("datdba", Oid),
            ("encoding", Int4),
            ("datlocprovider", Char),
            ("datistemplate", Bool),
            ("datallowconn", Bool),
            ("datconnlimit", Int4),
            ("datfrozenxid", Xid),
            ("datminmxid", Xid),
            ("dattablespace", Oid),
            ("datcollate", Text),
            ("datctype", Text),
            ("daticulocale", Text),
            ("datcollversion", Text),
            ("datacl", TextArray),
        ],
        rows: databases,
    },
    SystemTable { schema: "pg_catalog", name: "pg_authid", oid: 1260, columns: ROLE_COLUMNS, rows: authids },
    SystemTable { schema: "pg_catalog", name: "pg_roles", oid: 12000, columns: ROLE_COLUMNS, rows: roles },
    SystemTable {
        schema: "pg_catalog",
        name: "pg_user",
        oid: 12001,
        columns: &[
            ("usename", Name),
            ("usesysid", Oid),
            ("usecreatedb", Bool),
            ("usesuper", Bool),
            ("userepl", Bool),
            ("usebypassrls", Bool),
            ("passwd", Text),
            ("valuntil", Timestamptz),
        ],
        rows: users,
    },
    SystemTable {
        schema: "pg_catalog",
        name: "pg_tablespace",
        oid: 1213,
        columns: &[("oid", Oid), ("spcname", Name), ("spcowner", Oid), ("spcacl", TextArray), ("spcoptions", TextArray)],
        rows: tablespaces,
    },
    SystemTable {
        schema: "pg_catalog",
        name: "pg_tables",
        oid: 12002,
        columns: &[
            ("schemaname", Name),
            ("tablename", Name),
            ("tableowner", Name),
            ("tablespace", Name),
            ("hasindexes", Bool),
            ("hasrules", Bool),
            ("hastriggers", Bool),
            ("rowsecurity", Bool),
        ],
        rows: tables,
    },
    SystemTable {
        schema: "pg_catalog",
        name: "pg_indexes",
        oid: 12003,
        columns: &[
            ("schemaname", Name),
            ("tablename", Name),
            ("indexname", Name),
            ("tablespace", Name),
            ("indexdef", Text),
        ],
        rows: index_definitions,
    },
    empty("pg_description", 2609, &[("objoid", Oid), ("classoid", Oid), ("objsubid", Int4), ("description", Text)]),
    empty("pg_inherits", 2611, &[("inhrelid", Oid), ("inhparent", Oid), ("inhseqno", Int4), ("inhdetachpending", Bool)]),
    empty("pg_trigger", 2620, &[("oid", Oid), ("tgrelid", Oid), ("tgname", Name), ("tgisinternal", Bool)]),
    empty("pg_policy", 3256, &[("oid", Oid), ("polname", Name), ("polrelid", Oid)]),
    empty("pg_rewrite", 2618, &[("oid", Oid), ("rulename", Name), ("ev_class", Oid)]),
    empty("pg_extension", 3079, &[("oid", Oid), ("extname", Name), ("extnamespace", Oid), ("extversion", Text)]),
    empty("pg_enum", 3501, &[("oid", Oid), ("enumtypid", Oid), ("enumsortorder", Float4), ("enumlabel", Name)]),
    empty("pg_range", 3541, &[("rngtypid", Oid), ("rngsubtype", Oid)]),
    empty("pg_auth_members", 1261, &[("roleid", Oid), ("member", Oid), ("grantor", Oid), ("admin_option", Bool)]),
    empty("pg_publication", 6104, &[("oid", Oid), ("pubname", Name), ("puballtables", Bool)]),
    empty("pg_publication_rel", 6106, &[("oid", Oid), ("prpubid", Oid), ("prrelid", Oid)]),
    empty("pg_statistic_ext", 3381, &[("oid", Oid), ("stxrelid", Oid), ("stxname", Name)]),
    empty("pg_foreign_table", 3118, &[("ftrelid", Oid), ("ftserver", Oid)]),
    empty("pg_collation", 3456, &[("oid", Oid), ("collname", Name), ("collnamespace", Oid)]),
    SystemTable {
        schema: "information_schema",
        name: "tables",
        oid: 13100,
        columns: &[
            ("table_catalog", Name),
            ("table_schema", Name),
            ("table_name", Name),
            ("table_type", Text),
            ("is_insertable_into", Text),
            ("is_typed", Text),
        ],
        rows: information_tables,
    },
    SystemTable {
        schema: "information_schema",
        name: "columns",
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
        rows: information_columns,
    },
    SystemTable {
        schema: "information_schema",
        name: "schemata",
        oid: 13102,
        columns: &[("catalog_name", Name), ("schema_name", Name), ("schema_owner", Name)],
        rows: information_schemata,
    },
];

const ROLE_COLUMNS: &[(&str, TypeId)] = &[
    ("oid", Oid),
    ("rolname", Name),
    ("rolsuper", Bool),
    ("rolinherit", Bool),
    ("rolcreaterole", Bool),
    ("rolcreatedb", Bool),
    ("rolcanlogin", Bool),
    ("rolreplication", Bool),
    ("rolbypassrls", Bool),
    ("rolconnlimit", Int4),
    ("rolpassword", Text),
    ("rolvaliduntil", Timestamptz),
    ("rolconfig", TextArray),
];

/// A view of something that does not exist here: tools that ask for it find nothing.
const fn empty(name: &'static str, oid: u32, columns: &'static [(&'static str, TypeId)]) -> SystemTable {
    SystemTable { schema: "pg_catalog", name, oid, columns, rows: |_| Vec::new() }
}

/// The rows of a view.
pub(crate) fn rows(table: usize, context: &Context<'_>) -> Result<Vec<Vec<Datum>>> {
    Ok(TABLES.get(table).map_or_else(Vec::new, |table| (table.rows)(context)))
}

/// The heap access method, for PostgreSQL's tools.
const HEAP_OID: u32 = 2;
const BTREE_OID: u32 = 403;

fn name(value: &str) -> Datum {
    Datum::text(value)
}

fn flag(value: char) -> Datum {
    let mut buffer = [0; 4];
    Datum::text(&*value.encode_utf8(&mut buffer))
}

fn int2(value: usize) -> Datum {
    Datum::Int2(i16::try_from(value).unwrap_or(i16::MAX))
}

fn int2_array(values: impl Iterator<Item = i16>) -> Datum {
    Datum::Array(Arc::new(Array::of(Int2, values.map(Datum::Int2).collect())))
}

fn schemas() -> [(u32, &'static str); 3] {
    [(PG_CATALOG_OID, "pg_catalog"), (PUBLIC_OID, "public"), (INFORMATION_SCHEMA_OID, "information_schema")]
}

/// Schema, name and OID of every made-up table.
fn virtual_tables<'a>(environment: &'a dyn Environment) -> impl Iterator<Item = (&'static str, &'static str, u32, usize)> + 'a {
    let own = TABLES.iter().map(|table| (table.schema, table.name, table.oid, table.columns.len()));
    own.chain(environment.node_tables().iter().map(|table| (table.schema, table.name, table.oid, table.columns.len())))
}

fn schema_oid(schema: &str) -> u32 {
    schemas().iter().find(|(_, known)| *known == schema).map_or(PUBLIC_OID, |(oid, _)| *oid)
}

/// The OID of a table by its name, for regclass. pg_catalog is searched before public.
pub(crate) fn relation_oid(
    catalogue: &Catalogue,
    environment: &dyn Environment,
    schema: Option<&str>,
    table: &str,
) -> Option<u32> {
    let wanted = schema.unwrap_or("pg_catalog");
    let made_up = virtual_tables(environment).find(|(schema, name, ..)| *schema == wanted && *name == table);
    if let Some((_, _, oid, _)) = made_up {
        return Some(oid);
    }
    if schema.is_some_and(|schema| schema != "public") {
        return None;
    }
    let index = || {
        let keys = catalogue.relations.values().filter_map(|relation| relation.primary_key.as_ref());
        keys.into_iter().find(|key| key.name == table).map(|key| key.oid)
    };
    catalogue.relation(table).map(|relation| relation.oid).or_else(index)
}

/// The name of a table by its OID, as regclass prints it.
pub(crate) fn relation_name(catalogue: &Catalogue, environment: &dyn Environment, oid: u32) -> Option<String> {
    if let Some(relation) = catalogue.relations.get(&oid) {
        return Some(quote(&relation.name));
    }
    let mut keys = catalogue.relations.values().filter_map(|relation| relation.primary_key.as_ref());
    if let Some(key) = keys.find(|key| key.oid == oid) {
        return Some(quote(&key.name));
    }
    let (schema, name, ..) = virtual_tables(environment).find(|(_, _, known, _)| *known == oid)?;
    Some(if schema == "pg_catalog" { name.to_owned() } else { format!("{schema}.{name}") })
}

/// An identifier as SQL must write it.
pub(crate) fn quote(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty();
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn sorted_relations(catalogue: &Catalogue) -> Vec<&Arc<Relation>> {
    let mut all: Vec<&Arc<Relation>> = catalogue.relations.values().collect();
    all.sort_by_key(|relation| relation.oid);
    all
}

fn namespaces(_: &Context<'_>) -> Vec<Vec<Datum>> {
    schemas()
        .iter()
        .map(|(oid, schema)| vec![Datum::Oid(*oid), name(schema), Datum::Oid(BOOTSTRAP_ROLE_OID), Datum::Null])
        .collect()
}

struct ClassRow<'a> {
    oid: u32,
    name: &'a str,
    schema: u32,
    owner: u32,
    access_method: u32,
    file: u32,
    pages: i32,
    has_index: bool,
    kind: char,
    columns: usize,
    checks: usize,
}

fn class_row(class: &ClassRow<'_>) -> Vec<Datum> {
    vec![
        Datum::Oid(class.oid),
        name(class.name),
        Datum::Oid(class.schema),
        Datum::Oid(0),
        Datum::Oid(0),
        Datum::Oid(class.owner),
        Datum::Oid(class.access_method),
        Datum::Oid(class.file),
        Datum::Oid(0),
        Datum::Int4(class.pages),
        Datum::Float4(-1.0),
        Datum::Int4(0),
        Datum::Oid(0),
        Datum::Bool(class.has_index),
        Datum::Bool(false),
        flag('p'),
        flag(class.kind),
        int2(class.columns),
        int2(class.checks),
        Datum::Bool(false),
        Datum::Bool(false),
        Datum::Bool(false),
        Datum::Bool(false),
        Datum::Bool(false),
        Datum::Bool(true),
        flag('d'),
        Datum::Bool(false),
        Datum::Oid(0),
        Datum::Xid(3),
        Datum::Xid(1),
        Datum::Null,
        Datum::Null,
        Datum::Null,
    ]
}

fn classes(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        let bytes = context.database.tree_size_bytes(relation.tree).unwrap_or(0);
        rows.push(class_row(&ClassRow {
            oid: relation.oid,
            name: &relation.name,
            schema: PUBLIC_OID,
            owner: relation.owner,
            access_method: HEAP_OID,
            file: relation.tree.relation,
            pages: i32::try_from(bytes / 8192).unwrap_or(i32::MAX),
            has_index: relation.primary_key.is_some(),
            kind: 'r',
            columns: relation.columns.len(),
            checks: relation.checks.len(),
        }));
        if let Some(key) = &relation.primary_key {
            rows.push(class_row(&ClassRow {
                oid: key.oid,
                name: &key.name,
                schema: PUBLIC_OID,
                owner: relation.owner,
                access_method: BTREE_OID,
                file: relation.tree.relation,
                pages: 0,
                has_index: false,
                kind: 'i',
                columns: key.columns.len(),
                checks: 0,
            }));
        }
    }
    for (schema, table, oid, columns) in virtual_tables(context.environment) {
        rows.push(class_row(&ClassRow {
            oid,
            name: table,
            schema: schema_oid(schema),
            owner: BOOTSTRAP_ROLE_OID,
            access_method: 0,
            file: 0,
            pages: 0,
            has_index: false,
            kind: 'v',
            columns,
            checks: 0,
        }));
    }
    rows
}

struct AttributeRow<'a> {
    relation: u32,
    name: &'a str,
    ty: datum::Type,
    number: i16,
    not_null: bool,
    has_default: bool,
    dropped: bool,
}

fn attribute_row(column: &AttributeRow<'_>) -> Vec<Datum> {
    let id = column.ty.id;
    let collation = if id.is_string() { 100 } else { 0 };
    vec![
        Datum::Oid(column.relation),
        name(column.name),
        Datum::Oid(if column.dropped { 0 } else { id.oid() }),
        Datum::Int4(-1),
        Datum::Int2(id.info().len),
        Datum::Int2(column.number),
        Datum::Int4(i32::from(id.element().is_some())),
        Datum::Int4(-1),
        Datum::Int4(column.ty.modifier),
        Datum::Bool(matches!(id.info().len, 1 | 2 | 4 | 8)),
        flag(match id.info().len {
            1 => 'c',
            2 => 's',
            8 => 'd',
            _ => 'i',
        }),
        flag(if id.info().len < 0 { 'x' } else { 'p' }),
        Datum::text(""),
        Datum::Bool(column.not_null),
        Datum::Bool(column.has_default),
        Datum::Bool(false),
        Datum::text(""),
        Datum::text(""),
        Datum::Bool(column.dropped),
        Datum::Bool(true),
        Datum::Int4(0),
        Datum::Oid(collation),
        Datum::Null,
        Datum::Null,
        Datum::Null,
        Datum::Null,
    ]
}

fn attributes(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        for column in &relation.columns {
            rows.push(attribute_row(&AttributeRow {
                relation: relation.oid,
                name: &column.name,
                ty: column.ty,
                number: column.number,
                not_null: column.not_null,
                has_default: column.default.is_some(),
                dropped: column.dropped,
            }));
        }
        for (key, (place, at)) in
            relation.primary_key.iter().flat_map(|key| key.columns.iter().enumerate().map(move |part| (key, part)))
        {
            let Some(column) = relation.columns.get(*at) else { continue };
            rows.push(attribute_row(&AttributeRow {
                relation: key.oid,
                name: &column.name,
                ty: column.ty,
                number: i16::try_from(place + 1).unwrap_or(i16::MAX),
                not_null: false,
                has_default: false,
                dropped: false,
            }));
        }
    }
    let mut made_up = |oid: u32, columns: &[(&str, datum::Type)]| {
        for (number, (column, ty)) in (1..).zip(columns) {
            rows.push(attribute_row(&AttributeRow {
                relation: oid,
                name: column,
                ty: *ty,
                number,
                not_null: false,
                has_default: false,
                dropped: false,
            }));
        }
    };
    for table in TABLES {
        let columns: Vec<(&str, datum::Type)> =
            table.columns.iter().map(|(name, id)| (*name, datum::Type::of(*id))).collect();
        made_up(table.oid, &columns);
    }
    for table in context.environment.node_tables() {
        made_up(table.oid, &table.columns);
    }
    rows
}

fn defaults(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        for column in relation.columns.iter().filter(|column| !column.dropped) {
            let Some(default) = &column.default else { continue };
            rows.push(vec![
                Datum::Oid(relation.oid),
                Datum::Oid(relation.oid),
                Datum::Int2(column.number),
                Datum::text(default.as_str()),
            ]);
        }
    }
    rows
}

fn category_letter(category: Category) -> char {
    match category {
        Category::Array => 'A',
        Category::Boolean => 'B',
        Category::DateTime => 'D',
        Category::Network => 'I',
        Category::Numeric => 'N',
        Category::Pseudo => 'P',
        Category::String => 'S',
        Category::Timespan => 'T',
        Category::User => 'U',
        Category::Unknown => 'X',
        Category::Internal => 'Z',
    }
}

fn types(_: &Context<'_>) -> Vec<Vec<Datum>> {
    TypeId::ALL
        .iter()
        .map(|id| {
            let info = id.info();
            let stem = if id.element().is_some() { "array_" } else { info.name };
            vec![
                Datum::Oid(info.oid),
                name(info.name),
                Datum::Oid(PG_CATALOG_OID),
                Datum::Oid(BOOTSTRAP_ROLE_OID),
                Datum::Int2(info.len),
                Datum::Bool(matches!(info.len, 1 | 2 | 4 | 8)),
                flag(if matches!(info.category, Category::Pseudo | Category::Unknown) { 'p' } else { 'b' }),
                flag(category_letter(info.category)),
                Datum::Bool(info.preferred),
                Datum::Bool(true),
                flag(','),
                Datum::Oid(0),
                Datum::text("-"),
                Datum::Oid(id.element().map_or(0, TypeId::oid)),
                Datum::Oid(id.array().map_or(0, TypeId::oid)),
                Datum::text(format!("{stem}in")),
                Datum::text(format!("{stem}out")),
                Datum::text(format!("{stem}recv")),
                Datum::text(format!("{stem}send")),
                Datum::Bool(false),
                Datum::Oid(0),
                Datum::Int4(-1),
                Datum::Int4(0),
                Datum::Oid(if id.is_string() { 100 } else { 0 }),
                Datum::Null,
            ]
        })
        .collect()
}

fn key_numbers(relation: &Relation, columns: &[usize]) -> Datum {
    int2_array(columns.iter().filter_map(|at| relation.columns.get(*at)).map(|column| column.number))
}

fn indexes(context: &Context<'_>) -> Vec<Vec<Datum>> {
    sorted_relations(context.catalogue)
        .into_iter()
        .filter_map(|relation| {
            let key = relation.primary_key.as_ref()?;
            let yes = Datum::Bool(true);
            let no = Datum::Bool(false);
            Some(vec![
                Datum::Oid(key.oid),
                Datum::Oid(relation.oid),
                int2(key.columns.len()),
                int2(key.columns.len()),
                yes.clone(),
                no.clone(),
                yes.clone(),
                no.clone(),
                yes.clone(),
                no.clone(),
                yes.clone(),
                no.clone(),
                yes.clone(),
                yes,
                no,
                key_numbers(relation, &key.columns),
                Datum::Null,
                Datum::Null,
            ])
        })
        .collect()
}

fn constraints(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        let mut add = |oid: u32, constraint: &str, kind: char, index: u32, columns: Datum| {
            rows.push(vec![
                Datum::Oid(oid),
                name(constraint),
                Datum::Oid(PUBLIC_OID),
                flag(kind),
                Datum::Bool(false),
                Datum::Bool(false),
                Datum::Bool(true),
                Datum::Oid(relation.oid),
                Datum::Oid(0),
                Datum::Oid(index),
                Datum::Oid(0),
                Datum::Oid(0),
                columns,
                Datum::Null,
            ]);
        };
        if let Some(key) = &relation.primary_key {
            add(key.oid, &key.name, 'p', key.oid, key_numbers(relation, &key.columns));
        }
        for check in &relation.checks {
            add(check.oid, &check.name, 'c', 0, Datum::Null);
        }
    }
    rows
}

fn access_methods(_: &Context<'_>) -> Vec<Vec<Datum>> {
    [(HEAP_OID, "heap", "heap_tableam_handler", 't'), (BTREE_OID, "btree", "bthandler", 'i')]
        .iter()
        .map(|(oid, method, handler, kind)| vec![Datum::Oid(*oid), name(method), Datum::text(*handler), flag(*kind)])
        .collect()
}

fn databases(context: &Context<'_>) -> Vec<Vec<Datum>> {
    context
        .catalogue
        .databases
        .iter()
        .map(|entry| {
            vec![
                Datum::Oid(entry.oid),
                name(&entry.name),
                Datum::Oid(entry.owner),
                Datum::Int4(6),
                flag('c'),
                Datum::Bool(entry.template),
                Datum::Bool(entry.connections),
                Datum::Int4(-1),
                Datum::Xid(3),
                Datum::Xid(1),
                Datum::Oid(1663),
                Datum::text("C"),
                Datum::text("C"),
                Datum::Null,
                Datum::Null,
                Datum::Null,
            ]
        })
        .collect()
}

fn role_rows(context: &Context<'_>, show_passwords: bool) -> Vec<Vec<Datum>> {
    let mut all: Vec<_> = context.catalogue.roles.values().collect();
    all.sort_by_key(|role| role.oid);
    all.into_iter()
        .map(|role| {
            let password = match (&role.password, show_passwords) {
                (None, true) => Datum::Null,
                (Some(verifier), true) => Datum::text(verifier.as_str()),
                (_, false) => Datum::text("********"),
            };
            vec![
                Datum::Oid(role.oid),
                name(&role.name),
                Datum::Bool(role.superuser),
                Datum::Bool(role.inherit),
                Datum::Bool(role.create_role),
                Datum::Bool(role.create_database),
                Datum::Bool(role.login),
                Datum::Bool(role.replication),
                Datum::Bool(role.superuser),
                Datum::Int4(role.connection_limit),
                password,
                role.valid_until.map_or(Datum::Null, |until| Datum::Timestamptz(until.micros())),
                Datum::Null,
            ]
        })
        .collect()
}

fn authids(context: &Context<'_>) -> Vec<Vec<Datum>> {
    role_rows(context, context.actor.superuser)
}

fn roles(context: &Context<'_>) -> Vec<Vec<Datum>> {
    role_rows(context, false)
}

fn users(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut all: Vec<_> = context.catalogue.roles.values().filter(|role| role.login).collect();
    all.sort_by_key(|role| role.oid);
    all.into_iter()
        .map(|role| {
            vec![
                name(&role.name),
                Datum::Oid(role.oid),
                Datum::Bool(role.create_database),
                Datum::Bool(role.superuser),
                Datum::Bool(role.replication),
                Datum::Bool(role.superuser),
                Datum::text("********"),
                role.valid_until.map_or(Datum::Null, |until| Datum::Timestamptz(until.micros())),
            ]
        })
        .collect()
}

fn tablespaces(_: &Context<'_>) -> Vec<Vec<Datum>> {
    [(1663, "pg_default"), (1664, "pg_global")]
        .iter()
        .map(|(oid, space)| {
            vec![Datum::Oid(*oid), name(space), Datum::Oid(BOOTSTRAP_ROLE_OID), Datum::Null, Datum::Null]
        })
        .collect()
}

fn role_name(catalogue: &Catalogue, oid: u32) -> Datum {
    catalogue.roles.get(&oid).map_or(Datum::Null, |role| name(&role.name))
}

fn tables(context: &Context<'_>) -> Vec<Vec<Datum>> {
    sorted_relations(context.catalogue)
        .into_iter()
        .map(|relation| {
            vec![
                name("public"),
                name(&relation.name),
                role_name(context.catalogue, relation.owner),
                Datum::Null,
                Datum::Bool(relation.primary_key.is_some()),
                Datum::Bool(false),
                Datum::Bool(false),
                Datum::Bool(false),
            ]
        })
        .collect()
}

/// CREATE INDEX as pg_get_indexdef prints it.
pub(crate) fn index_definition(relation: &Relation) -> Option<String> {
    let key = relation.primary_key.as_ref()?;
    let columns: Vec<String> =
        key.columns.iter().filter_map(|at| relation.columns.get(*at)).map(|column| quote(&column.name)).collect();
    Some(format!(
        "CREATE UNIQUE INDEX {} ON public.{} USING btree ({})",
        quote(&key.name),
        quote(&relation.name),
        columns.join(", ")
    ))
}

fn index_definitions(context: &Context<'_>) -> Vec<Vec<Datum>> {
    sorted_relations(context.catalogue)
        .into_iter()
        .filter_map(|relation| {
            let key = relation.primary_key.as_ref()?;
            Some(vec![
                name("public"),
                name(&relation.name),
                name(&key.name),
                Datum::Null,
                Datum::from(index_definition(relation)),
            ])
        })
        .collect()
}

fn database_name(context: &Context<'_>) -> Datum {
    let found = context.catalogue.databases.iter().find(|entry| entry.oid == POSTGRES_DATABASE);
    found.map_or_else(|| name("postgres"), |entry| name(&entry.name))
}

fn information_tables(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows: Vec<Vec<Datum>> = sorted_relations(context.catalogue)
        .into_iter()
        .map(|relation| {
            vec![
                database_name(context),
                name("public"),
                name(&relation.name),
                Datum::text("BASE TABLE"),
                Datum::text("YES"),
                Datum::text("NO"),
            ]
        })
        .collect();
    for (schema, table, ..) in virtual_tables(context.environment) {
        rows.push(vec![
            database_name(context),
            name(schema),
            name(table),
            Datum::text("VIEW"),
            Datum::text("NO"),
            Datum::text("NO"),
        ]);
    }
    rows
}

fn information_columns(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        for (number, (_, column)) in (1..).zip(relation.live_columns()) {
            let limits = column.ty.numeric_limits();
            let (precision, scale) = match column.ty.id {
                TypeId::Int2 => (Datum::Int4(16), Datum::Int4(0)),
                TypeId::Int4 => (Datum::Int4(32), Datum::Int4(0)),
                TypeId::Int8 => (Datum::Int4(64), Datum::Int4(0)),
                _ => (
                    limits.map_or(Datum::Null, |(precision, _)| Datum::Int4(i32::from(precision))),
                    limits.map_or(Datum::Null, |(_, scale)| Datum::Int4(i32::from(scale))),
                ),
            };
            let length = column.ty.character_limit().and_then(|limit| i32::try_from(limit).ok());
            let is_time = column.ty.id.category() == Category::DateTime;
            let digits = column.ty.time_precision().and_then(|digits| i32::try_from(digits).ok()).unwrap_or(6);
            rows.push(vec![
                database_name(context),
                name("public"),
                name(&relation.name),
                name(&column.name),
                Datum::Int4(number),
                column.default.as_deref().map_or(Datum::Null, Datum::text),
                Datum::text(if column.not_null { "NO" } else { "YES" }),
                Datum::text(if column.ty.id.element().is_some() { "ARRAY" } else { column.ty.id.sql_name() }),
                length.map_or(Datum::Null, Datum::Int4),
                precision,
                scale,
                if is_time { Datum::Int4(if column.ty.id == TypeId::Date { 0 } else { digits }) } else { Datum::Null },
                name(column.ty.id.name()),
                Datum::text("NO"),
                Datum::text("NEVER"),
                Datum::text("YES"),
            ]);
        }
    }
    rows
}

fn information_schemata(context: &Context<'_>) -> Vec<Vec<Datum>> {
    schemas()
        .iter()
        .map(|(_, schema)| {
            vec![database_name(context), name(schema), role_name(context.catalogue, BOOTSTRAP_ROLE_OID)]
        })
        .collect()
}
