//! What PostgreSQL 15's own catalogue says of things that are the same here: the shapes of its tables, and
//! the numbers and properties of types, functions, operators and casts. The files in `data` have it, a line
//! each; what does not exist here is left out where rows are made.

use sql_types::TypeId;
use std::collections::HashMap;
use std::sync::LazyLock;

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

fn number(word: Option<&str>) -> u32 {
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn is_true(word: Option<&str>) -> bool {
    word == Some("t")
}

fn letter(word: Option<&str>) -> char {
    word.and_then(|word| word.chars().next()).unwrap_or(' ')
}

fn numbers(list: &'static str) -> Vec<u32> {
    list.split(',').filter_map(|oid| oid.parse().ok()).collect()
}

/// Names and types of columns.
type Columns = Vec<(&'static str, TypeId)>;

/// A table of the catalogue: its OID, and names and types of its columns.
pub(super) type Shape = (u32, &'static [(&'static str, TypeId)]);

/// The shapes of PostgreSQL's tables. Types that do not exist here are those that their values have here.
pub(super) static SHAPES: LazyLock<HashMap<&'static str, Shape>> = LazyLock::new(|| {
    let mut shapes = HashMap::new();
    let mut current: Option<(&'static str, u32, Columns)> = None;
    let mut finish = |table: Option<(&'static str, u32, Columns)>| {
        if let Some((name, oid, columns)) = table {
            let columns: &'static [(&'static str, TypeId)] = columns.leak();
            shapes.insert(name, (oid, columns));
        }
    };
    for line in lines(include_str!("data/columns.txt")) {
        let mut words = line.split_whitespace();
        let (Some(name), second) = (words.next(), words.next()) else { continue };
        if line.starts_with(' ') {
            if let Some((.., columns)) = &mut current {
                columns.push((name, column_type(second.unwrap_or_default())));
            }
        } else {
            finish(current.replace((name, number(second), Vec::new())));
        }
    }
    finish(current);
    shapes
});

/// Columns of PostgreSQL's tables that are never NULL although their types have no fixed width.
const NEVER_NULL: &[(&str, &str)] = &[
    ("pg_attrdef", "adbin"),
    ("pg_database", "datcollate"),
    ("pg_database", "datctype"),
    ("pg_default_acl", "defaclacl"),
    ("pg_description", "description"),
    ("pg_extension", "extversion"),
    ("pg_init_privs", "initprivs"),
    ("pg_largeobject", "data"),
    ("pg_parameter_acl", "parname"),
    ("pg_policy", "polroles"),
    ("pg_proc", "prosrc"),
    ("pg_replication_origin", "roname"),
    ("pg_rewrite", "ev_action"),
    ("pg_rewrite", "ev_qual"),
    ("pg_seclabel", "label"),
    ("pg_seclabel", "provider"),
    ("pg_shdescription", "description"),
    ("pg_shseclabel", "label"),
    ("pg_shseclabel", "provider"),
    ("pg_statistic_ext", "stxkind"),
    ("pg_subscription", "subconninfo"),
    ("pg_subscription", "subpublications"),
    ("pg_subscription", "subsynccommit"),
    ("pg_trigger", "tgargs"),
];

/// Columns of PostgreSQL's tables that may be NULL although their types have a fixed width.
const MAY_BE_NULL: &[(&str, &str)] = &[
    ("pg_authid", "rolvaliduntil"),
    ("pg_publication_rel", "prattrs"),
    ("pg_subscription", "subslotname"),
    ("pg_subscription_rel", "srsublsn"),
    ("pg_trigger", "tgnewtable"),
    ("pg_trigger", "tgoldtable"),
];

/// Whether a column of a table that the catalogue makes up is NOT NULL; none of a view is.
pub(super) fn is_never_null(table: &str, column: &str, id: TypeId) -> bool {
    let fixed = id.info().len > 0 || matches!(id, TypeId::OidVector | TypeId::Int2Vector);
    let is_in = |list: &[(&str, &str)]| list.contains(&(table, column));
    SHAPES.contains_key(table) && if fixed { !is_in(MAY_BE_NULL) } else { is_in(NEVER_NULL) }
}

fn column_type(name: &str) -> TypeId {
    match name {
        "_aclitem" => TypeId::AclitemArray,
        // Expressions are what pg_get_expr makes of them.
        "pg_node_tree" | "anyarray" => TypeId::Text,
        "pg_ndistinct" | "pg_dependencies" | "pg_mcv_list" | "_pg_statistic" => TypeId::Bytea,
        "char" => TypeId::Char,
        _ => TypeId::from_name(name).unwrap_or(TypeId::Text),
    }
}

/// What pg_type says of a type besides what the type itself knows. Functions by their OIDs.
pub(super) struct KnownType {
    pub(super) by_value: bool,
    pub(super) align: char,
    pub(super) storage: char,
    pub(super) subscript: u32,
    pub(super) input: u32,
    pub(super) output: u32,
    pub(super) receive: u32,
    pub(super) send: u32,
    pub(super) modifier_in: u32,
    pub(super) modifier_out: u32,
    pub(super) analyze: u32,
    pub(super) collation: u32,
}

/// By their OIDs.
pub(super) static TYPES: LazyLock<HashMap<u32, KnownType>> = LazyLock::new(|| {
    let read = |line: &'static str| {
        let mut words = line.split(' ');
        let oid = number(words.next());
        let known = KnownType {
            by_value: is_true(words.next()),
            align: letter(words.next()),
            storage: letter(words.next()),
            subscript: number(words.next()),
            input: number(words.next()),
            output: number(words.next()),
            receive: number(words.next()),
            send: number(words.next()),
            modifier_in: number(words.next()),
            modifier_out: number(words.next()),
            analyze: number(words.next()),
            collation: number(words.next()),
        };
        (oid, known)
    };
    lines(include_str!("data/types.txt")).map(read).collect()
});

/// A function of PostgreSQL, as pg_proc has it.
pub struct KnownFunction {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: &'static str,
    /// OIDs of the types of its arguments.
    pub arguments: Vec<u32>,
    /// f, a, w or p.
    pub kind: char,
    pub(super) volatility: char,
    pub(super) parallel: char,
    pub(super) strict: bool,
    pub(super) set: bool,
    pub(super) variadic: u32,
    pub(super) cost: f32,
    pub(super) rows: f32,
    pub(super) result: u32,
    pub(super) defaults: i16,
    pub(super) all_arguments: Vec<u32>,
    pub(super) modes: Vec<&'static str>,
    pub(super) names: Vec<&'static str>,
}

impl KnownFunction {
    /// The text that regprocedure has of it.
    pub fn signature(&self) -> String {
        let types: Vec<&str> = self.arguments.iter().map(|oid| type_name(*oid)).collect();
        format!("{}({})", self.name, types.join(","))
    }

    /// The text by which a grant keeps it.
    pub(super) fn granted_name(&self) -> String {
        let types: Vec<&str> = self.arguments.iter().map(|oid| type_name(*oid)).collect();
        format!("{}({})", self.name, types.join(", "))
    }
}

/// Whether PostgreSQL has a volatile function of this name.
pub fn is_volatile(name: &str) -> bool {
    FUNCTIONS.iter().any(|function| function.name == name && function.volatility == 'v')
}

/// The name of a type, also of one that stands for others.
pub fn type_name(oid: u32) -> &'static str {
    match oid {
        27 => "tid",
        194 => "pg_node_tree",
        269 => "table_am_handler",
        325 => "index_am_handler",
        601 => "lseg",
        602 => "path",
        774 => "macaddr8",
        790 => "money",
        829 => "macaddr",
        1263 => "cstring[]",
        1266 => "time with time zone",
        1560 => "bit",
        2275 => "cstring",
        2276 => "\"any\"",
        2281 => "internal",
        2277 => "anyarray",
        2278 => "void",
        2283 => "anyelement",
        3500 => "anyenum",
        3614 => "tsvector",
        3831 => "anyrange",
        4537 => "anymultirange",
        2249 => "record",
        2776 => "anynonarray",
        5077 => "anycompatible",
        5078 => "anycompatiblearray",
        5079 => "anycompatiblenonarray",
        _ => TypeId::from_oid(oid).map_or("???", TypeId::sql_name),
    }
}

/// Functions whose names there are here, in the order of their OIDs. Which of them exist, only the crates
/// above know, except for those of types.
pub static FUNCTIONS: LazyLock<Vec<KnownFunction>> = LazyLock::new(|| {
    let read = |line: &'static str| {
        let mut words = line.split(' ');
        let (oid, name) = (number(words.next()), words.next().unwrap_or_default());
        let (kind, volatility, parallel) = (letter(words.next()), letter(words.next()), letter(words.next()));
        let (strict, set, variadic) = (is_true(words.next()), is_true(words.next()), number(words.next()));
        let mut float = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
        let (cost, rows) = (float(), float());
        let result = number(words.next());
        let (arguments, defaults) =
            words.next().map_or(("", ""), |word| word.split_once('/').unwrap_or((word, "0")));
        let mut list = || words.next().filter(|word| *word != "-").unwrap_or_default();
        let (all_arguments, modes, names) = (list(), list(), list());
        let texts =
            |list: &'static str| list.split(',').filter(|text| !list.is_empty() && !text.contains('"'));
        KnownFunction {
            oid,
            name,
            arguments: numbers(arguments),
            kind,
            volatility,
            parallel,
            strict,
            set,
            variadic,
            cost,
            rows,
            result,
            defaults: defaults.parse().unwrap_or(0),
            all_arguments: numbers(all_arguments),
            modes: texts(modes).collect(),
            names: if names.contains('"') { Vec::new() } else { texts(names).collect() },
        }
    };
    lines(include_str!("data/functions.txt")).map(read).collect()
});

/// The functions of the access methods heap and btree.
const HANDLERS: [u32; 2] = [3, 330];

/// Whether a function belongs to a type (reads its text, prints it, and so on) or to an access method.
pub fn is_of_type(oid: u32) -> bool {
    static OF_TYPES: LazyLock<std::collections::HashSet<u32>> = LazyLock::new(|| {
        let of = |known: &KnownType| {
            let ends = [known.input, known.output, known.receive, known.send];
            let more = [known.subscript, known.modifier_in, known.modifier_out, known.analyze];
            ends.into_iter().chain(more)
        };
        TYPES.values().flat_map(of).chain(HANDLERS).filter(|oid| *oid > 0).collect()
    });
    OF_TYPES.contains(&oid)
}

/// An operator of PostgreSQL, as pg_operator has it.
pub struct KnownOperator {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: &'static str,
    /// OIDs of the types of its sides; 0 on the left for one that stands before its operand.
    pub sides: (u32, u32),
    pub(super) kind: char,
    pub(super) merges: bool,
    pub(super) hashes: bool,
    pub(super) result: u32,
    pub(super) commutator: u32,
    pub(super) negator: u32,
    pub(super) code: u32,
    pub(super) restriction: u32,
    pub(super) join: u32,
}

impl KnownOperator {
    /// Whether there is such an operator here.
    pub(super) fn exists(&self) -> bool {
        let id = TypeId::from_oid;
        match (id(self.sides.0), id(self.sides.1)) {
            (Some(left), Some(right)) => sql_types::ops::operators(self.name)
                .iter()
                .any(|known| (known.left, known.right) == (left, right)),
            (None, Some(right)) if self.kind == 'l' => {
                sql_types::ops::unary_operators(self.name).iter().any(|known| known.operand == right)
            }
            _ => false,
        }
    }
}

/// The operators that exist here, in the order of PostgreSQL's catalogue.
pub static OPERATORS: LazyLock<Vec<KnownOperator>> =
    LazyLock::new(|| read_operators().filter(KnownOperator::exists).collect());

/// PostgreSQL's operators between types that are here, which are not here themselves.
pub(super) static ABSENT_OPERATORS: LazyLock<Vec<KnownOperator>> =
    LazyLock::new(|| read_operators().filter(|known| !known.exists()).collect());

fn read_operators() -> impl Iterator<Item = KnownOperator> {
    let read = |line: &'static str| {
        let mut words = line.split(' ');
        let (oid, name, kind) =
            (number(words.next()), words.next().unwrap_or_default(), letter(words.next()));
        let (merges, hashes) = (is_true(words.next()), is_true(words.next()));
        let sides = (number(words.next()), number(words.next()));
        KnownOperator {
            oid,
            name,
            sides,
            kind,
            merges,
            hashes,
            result: number(words.next()),
            commutator: number(words.next()),
            negator: number(words.next()),
            code: number(words.next()),
            restriction: number(words.next()),
            join: number(words.next()),
        }
    };
    lines(include_str!("data/operators.txt")).map(read)
}

/// A row of pg_cast: OID, types, function, context and method.
pub(super) type KnownCast = (u32, u32, u32, u32, char, char);

pub(super) static CASTS: LazyLock<Vec<KnownCast>> = LazyLock::new(|| {
    let read = |line: &'static str| {
        let mut words = line.split(' ');
        let mut next = || number(words.next());
        let (oid, source, target, function) = (next(), next(), next(), next());
        (oid, source, target, function, letter(words.next()), letter(words.next()))
    };
    lines(include_str!("data/casts.txt")).map(read).collect()
});

/// An operator class of btree: OID, name, family, type, and whether it is its type's default.
pub(super) type KnownClass = (u32, &'static str, u32, u32, bool);

/// Operator classes and families (OID and name) of btree.
type KnownClasses = (Vec<KnownClass>, Vec<(u32, &'static str)>);

pub(super) static CLASSES: LazyLock<KnownClasses> = LazyLock::new(|| {
    let (mut classes, mut families) = (Vec::new(), Vec::new());
    for line in lines(include_str!("data/operator_classes.txt")) {
        let mut words = line.split(' ');
        let is_class = words.next() == Some("class");
        let (oid, name) = (number(words.next()), words.next().unwrap_or_default());
        if is_class {
            let (family, of) = (number(words.next()), number(words.next()));
            classes.push((oid, name, family, of, is_true(words.next())));
        } else {
            families.push((oid, name));
        }
    }
    (classes, families)
});

/// An operator of an operator family of btree: OID, family, types of its sides, strategy, and operator.
pub(super) type FamilyOperator = [u32; 6];

/// Those of the operators that exist here.
pub(super) static FAMILY_OPERATORS: LazyLock<Vec<FamilyOperator>> = LazyLock::new(|| {
    let read = |line: &'static str| {
        let mut words = line.split(' ');
        std::array::from_fn(|_| number(words.next()))
    };
    let exists = |of: &FamilyOperator| OPERATORS.iter().any(|known| known.oid == of[5]);
    lines(include_str!("data/family_operators.txt")).map(read).filter(exists).collect()
});

/// The operator class by which an index orders a type; 0 if PostgreSQL has none.
pub(super) fn class_of(id: TypeId) -> u32 {
    let wanted = match id {
        TypeId::Varchar => TypeId::Text,
        id if id.is_reg() || id == TypeId::Regtype => TypeId::Oid,
        id if id.element().is_some() => TypeId::AnyArray,
        id => id,
    };
    let found = CLASSES.0.iter().find(|(.., of, is_default)| *of == wanted.oid() && *is_default);
    found.map_or(0, |(oid, ..)| *oid)
}

/// Whether PostgreSQL has an order of values of this type (its elements', for an array).
pub fn has_order(id: TypeId) -> bool {
    class_of(id.element().filter(|_| !id.is_vector()).unwrap_or(id)) != 0
}

/// OIDs and names of the collations.
pub fn collations() -> [(u32, &'static str); 3] {
    [(100, "default"), (950, "C"), (951, "POSIX")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_known_and_its_functions_have_names() {
        for id in TypeId::ALL {
            let known = TYPES.get(&id.oid()).unwrap_or_else(|| panic!("{}", id.name()));
            for oid in [known.input, known.output, known.receive, known.send] {
                let named = FUNCTIONS.iter().any(|function| function.oid == oid);
                assert!(named || oid == 0, "{}: {oid}", id.name());
            }
        }
        assert_eq!((class_of(TypeId::Int4), class_of(TypeId::Varchar)), (1978, 3126));
    }

    #[test]
    fn shapes_and_functions_are_read_whole() {
        let (oid, columns) = SHAPES["pg_class"];
        assert_eq!((oid, columns.len(), columns[0]), (1259, 33, ("oid", TypeId::Oid)));
        assert!(SHAPES.len() > 60 && OPERATORS.len() > 200 && CASTS.len() > 80);
        let concat = FUNCTIONS.iter().find(|function| function.name == "concat").unwrap();
        assert_eq!((concat.signature().as_str(), concat.variadic), ("concat(\"any\")", 2276));
    }
}
