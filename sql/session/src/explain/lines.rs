//! What operators say of themselves: conditions, keys and calls as texts, with the names that columns have in
//! the statement.

use identifier::quote;
use sql_catalogue::{Relation, system};
use sql_interface::{Environment, NodeReturns};
use sql_language::expr::{Comparison, Expr, RowNames, Shown};
use sql_language::plan::{
    ACL_COLUMNS, Arbiter, DeferredSource, DeferredValues, FunctionPlan, GeneratedPlan, GeneratedSource, Node,
    ScanPlan, SequenceFunction, SetCall, SetFunction, SortKey,
};
use sql_types::{Style, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

/// How expressions are written.
pub(super) struct Lines<'a> {
    pub(super) environment: &'a dyn Environment,
    pub(super) style: &'a Style,
    /// Whether what operators say in general names columns with their tables, what they give, and what is
    /// said of a single table.
    pub(super) qualifies: Qualifies,
    /// Names of subqueries by the list of deferred values and their place in it.
    pub(super) subplans: HashMap<(usize, usize), String>,
}

/// Where columns are named with their tables.
#[derive(Clone, Copy)]
pub(super) struct Qualifies {
    pub(super) general: bool,
    pub(super) output: bool,
    pub(super) scan: bool,
}

/// The rows that a node gives, and the row that it stands in.
#[derive(Clone, Copy)]
pub(super) struct Rows<'n> {
    pub(super) node: &'n Node,
    pub(super) outer: Option<&'n Rows<'n>>,
}

/// A row with deferred values as an expression sees it.
struct Row<'n, 'l> {
    lines: &'l Lines<'l>,
    rows: Rows<'n>,
    deferred: Option<&'n DeferredValues>,
    qualifies: bool,
}

/// A list of deferred values as a key.
fn key(slots: &DeferredValues) -> usize {
    Arc::as_ptr(slots).addr()
}

impl RowNames for Row<'_, '_> {
    fn column(&self, index: usize, text: &mut Shown<'_>) {
        self.lines.column(self.rows, index, self.qualifies, text);
    }

    fn outer(&self, depth: usize, index: usize, text: &mut Shown<'_>) {
        let mut row = self.rows.outer;
        for _ in 0..depth {
            row = row.and_then(|row| row.outer);
        }
        match row {
            Some(row) => self.lines.column(*row, index, true, text),
            None => text.put("..."),
        }
    }

    fn deferred(&self, index: usize, text: &mut Shown<'_>) {
        let Some(slots) = self.deferred else { return text.put("...") };
        match (self.lines.subplans.get(&(key(slots), index)), slots.get(index)) {
            (Some(name), _) => text.put(name),
            (None, Some(slot)) => {
                text.put(self.lines.waiting(&slot.source));
                text.put("(");
                text.list(slot.source.arguments(), ", ", self);
                text.put(")");
            }
            (None, None) => text.put("..."),
        }
    }
}

impl Lines<'_> {
    /// Names a subquery.
    pub(super) fn name_subplan(&mut self, slots: &DeferredValues, index: usize, name: String) {
        self.subplans.insert((key(slots), index), name);
    }

    fn written(&self, write: impl FnOnce(&mut Shown<'_>)) -> String {
        Shown::text(self.style, write)
    }

    fn row<'n, 'l>(
        &'l self,
        rows: Rows<'n>,
        deferred: Option<&'n DeferredValues>,
        qualifies: bool,
    ) -> Row<'n, 'l> {
        Row { lines: self, rows, deferred, qualifies }
    }

    fn qualified(table: &str, column: &str, qualifies: bool) -> String {
        if qualifies { format!("{}.{}", quote(table), quote(column)) } else { quote(column) }
    }

    /// What a column of a node's rows is called, or the expression that it is.
    fn column(&self, rows: Rows<'_>, index: usize, qualifies: bool, text: &mut Shown<'_>) {
        let below = |node| Rows { node, ..rows };
        match rows.node {
            Node::Scan(plan) => text.put(&Self::scanned(plan, index, qualifies)),
            Node::Generated(plan) => text.put(&self.generated(plan, index, qualifies)),
            Node::Function(plan) => {
                let columns = self.function_columns(plan);
                let column = columns.get(index).map_or("...", String::as_str);
                text.put(&Self::qualified(&plan.alias, column, qualifies));
            }
            Node::Values(plan) => match plan.rows.as_slice() {
                [row] => self.of(row.get(index), self.row(rows, Some(&plan.deferred), qualifies), text),
                _ => text.put(&Self::qualified("*VALUES*", &format!("column{}", index + 1), qualifies)),
            },
            Node::Project(plan) => {
                let expr = plan.exprs.get(index);
                // PostgreSQL has parentheses around what was computed below.
                let computed = match expr {
                    Some(Expr::Column { index, .. }) => is_aggregate(&plan.input, *index),
                    _ => true,
                };
                text.put(if computed { "(" } else { "" });
                self.of(expr, self.row(below(&plan.input), Some(&plan.deferred), qualifies), text);
                text.put(if computed { ")" } else { "" });
            }
            Node::Join(plan) if index < plan.left_width => {
                self.column(below(&plan.left), index, qualifies, text);
            }
            Node::Join(plan) => {
                let left = below(&plan.left);
                let outer = if plan.lateral { Some(&left) } else { rows.outer };
                self.column(Rows { node: &plan.right, outer }, index - plan.left_width, qualifies, text);
            }
            Node::Aggregate(plan) => {
                let row = self.row(below(&plan.input), None, qualifies);
                match plan.aggregates.get(index.wrapping_sub(plan.group_by.len())) {
                    Some(call) => text.aggregate(call, &row),
                    None => self.of(plan.group_by.get(index), row, text),
                }
            }
            Node::ProjectSet(plan) => {
                let width = self.width(&plan.input);
                let row = self.row(below(&plan.input), Some(&plan.deferred), qualifies);
                match plan.calls.get(index.wrapping_sub(width)) {
                    Some(call) => self.put_call(call, &row, text),
                    None => self.column(below(&plan.input), index, qualifies, text),
                }
            }
            other => match other.inputs().next() {
                Some(input) => self.column(below(input), index, qualifies, text),
                None => text.put("..."),
            },
        }
    }

    fn of(&self, expr: Option<&Expr>, row: Row<'_, '_>, text: &mut Shown<'_>) {
        match expr {
            Some(expr) => text.expr(expr, &row),
            None => text.put("..."),
        }
    }

    fn scanned(plan: &ScanPlan, index: usize, qualifies: bool) -> String {
        let column = plan.relation.columns.get(index);
        Self::qualified(&plan.alias, column.map_or("ctid", |column| column.name.as_str()), qualifies)
    }

    fn generated(&self, plan: &GeneratedPlan, index: usize, qualifies: bool) -> String {
        let columns = self.generated_columns(plan);
        Self::qualified(&plan.alias, columns.get(index).unwrap_or(&"..."), qualifies)
    }

    /// The columns of rows that are made up.
    fn generated_columns(&self, plan: &GeneratedPlan) -> Vec<&'static str> {
        let of_system = |columns: &[(&'static str, TypeId)]| columns.iter().map(|(name, _)| *name).collect();
        match plan.source {
            GeneratedSource::Node(at) => {
                let table = self.environment.node_tables().get(at);
                table.map_or_else(Vec::new, |table| table.columns.iter().map(|(name, _)| *name).collect())
            }
            GeneratedSource::System(at) => {
                system::TABLES.get(at).map_or_else(Vec::new, |table| of_system(table.columns))
            }
            GeneratedSource::Sequence(_) => of_system(system::SEQUENCE_COLUMNS),
        }
    }

    /// The columns that a function in FROM gives.
    fn function_columns(&self, plan: &FunctionPlan) -> Vec<String> {
        let names = |names: &[(&'static str, sql_types::Type)]| -> Vec<String> {
            names.iter().map(|(name, _)| (*name).to_owned()).collect()
        };
        let mut columns = match plan.call.function {
            SetFunction::AclExplode => ACL_COLUMNS.map(|(name, _)| name.to_owned()).to_vec(),
            SetFunction::Node { function, .. } => {
                match self.environment.node_functions().get(function).map(|known| &known.returns) {
                    Some(NodeReturns::Record(columns) | NodeReturns::Set(columns)) if columns.len() > 1 => {
                        names(columns)
                    }
                    _ => vec![plan.alias.to_string()],
                }
            }
            // The one column is called as the function is.
            _ => vec![plan.alias.to_string()],
        };
        if plan.ordinality {
            columns.push("ordinality".to_owned());
        }
        columns
    }

    /// All columns of a node's rows.
    pub(super) fn columns(&self, rows: Rows<'_>) -> Vec<String> {
        let qualifies = self.qualifies.output;
        if let Node::Project(plan) = rows.node {
            let row = self.row(Rows { node: &plan.input, ..rows }, Some(&plan.deferred), qualifies);
            return plan.exprs.iter().map(|expr| self.written(|text| text.expr(expr, &row))).collect();
        }
        let column = |index| self.written(|text| self.column(rows, index, qualifies, text));
        (0..self.width(rows.node)).map(column).collect()
    }

    /// The columns that a scan decodes.
    pub(super) fn needed(&self, plan: &ScanPlan) -> Vec<String> {
        plan.needed.iter().map(|index| Self::scanned(plan, *index, self.qualifies.output)).collect()
    }

    pub(super) fn exprs(&self, exprs: &[Expr], rows: Rows<'_>) -> Vec<String> {
        let row = self.row(rows, None, self.qualifies.general);
        exprs.iter().map(|expr| self.written(|text| text.expr(expr, &row))).collect()
    }

    /// A condition over the rows of a node.
    pub(super) fn condition(
        &self,
        conditions: &[Expr],
        rows: Rows<'_>,
        deferred: Option<&DeferredValues>,
    ) -> String {
        let qualifies = if is_of_scan(rows.node) { self.qualifies.scan } else { self.qualifies.general };
        self.written(|text| text.all(conditions, &self.row(rows, deferred, qualifies)))
    }

    pub(super) fn sort_key(&self, key: &SortKey, rows: Rows<'_>) -> String {
        let row = self.row(rows, None, self.qualifies.general);
        self.written(|text| text.sort_key(&key.expr, key.descending, key.nulls_first, &row))
    }

    /// That the sides of a hash join are equal.
    pub(super) fn equal(&self, keys: &[(Expr, Expr)], left: Rows<'_>, right: Rows<'_>) -> String {
        let row = |rows| self.row(rows, None, self.qualifies.general);
        let (left, right) = (row(left), row(right));
        self.written(|text| {
            text.put(if keys.len() > 1 { "(" } else { "" });
            for (at, (a, b)) in keys.iter().enumerate() {
                text.put(if at > 0 { " AND (" } else { "(" });
                text.operand(a, &left);
                text.put(" = ");
                text.operand(b, &right);
                text.put(")");
            }
            text.put(if keys.len() > 1 { ")" } else { "" });
        })
    }

    /// A call of a set-returning function.
    pub(super) fn call(&self, call: &SetCall, rows: Rows<'_>, deferred: Option<&DeferredValues>) -> String {
        self.written(|text| self.put_call(call, &self.row(rows, deferred, self.qualifies.general), text))
    }

    fn put_call(&self, call: &SetCall, row: &Row<'_, '_>, text: &mut Shown<'_>) {
        text.put(self.function_name(call.function));
        text.put("(");
        text.list(&call.arguments, ", ", row);
        text.put(")");
    }

    /// How many columns the rows of a node have.
    fn width(&self, node: &Node) -> usize {
        match node {
            Node::Unit | Node::Insert(_) | Node::Update(_) | Node::Delete(_) => 0,
            Node::Scan(plan) => plan.relation.columns.len() + usize::from(plan.emit_key),
            Node::Generated(plan) => self.generated_columns(plan).len(),
            Node::Values(plan) => plan.rows.first().map_or(0, Vec::len),
            Node::Function(plan) => self.function_columns(plan).len(),
            Node::Project(plan) => plan.exprs.len(),
            Node::Join(plan) => plan.left_width + plan.right_width,
            Node::Aggregate(plan) => plan.group_by.len() + plan.aggregates.len(),
            Node::ProjectSet(plan) => self.width(&plan.input) + plan.calls.len(),
            other => other.inputs().next().map_or(0, |input| self.width(input)),
        }
    }

    /// The name of a set-returning function.
    pub(super) fn function_name(&self, function: SetFunction) -> &'static str {
        match function {
            SetFunction::GenerateSeries(_) => "generate_series",
            SetFunction::Unnest => "unnest",
            SetFunction::GenerateSubscripts => "generate_subscripts",
            SetFunction::AclExplode => "aclexplode",
            SetFunction::RegexpMatches => "regexp_matches",
            SetFunction::Node { function, .. } => {
                self.environment.node_functions().get(function).map_or("...", |function| function.name)
            }
        }
    }

    /// The name of a function whose result is waited for.
    fn waiting(&self, source: &DeferredSource) -> &'static str {
        match source {
            DeferredSource::Call { function, .. } => {
                self.environment.node_functions().get(*function).map_or("...", |function| function.name)
            }
            DeferredSource::Sequence { function, .. } => match function {
                SequenceFunction::Next => "nextval",
                SequenceFunction::Set => "setval",
                SequenceFunction::Current => "currval",
                SequenceFunction::Last => "lastval",
            },
            _ => "...",
        }
    }
}

/// Whether rows are those of a single table or function.
fn is_of_scan(node: &Node) -> bool {
    match node {
        Node::Scan(_) | Node::Generated(_) | Node::Function(_) => true,
        Node::Observed(plan) => is_of_scan(&plan.input),
        Node::Filter(plan) => is_of_scan(&plan.input),
        _ => false,
    }
}

/// Whether a column is the result of an aggregate.
fn is_aggregate(node: &Node, index: usize) -> bool {
    match node {
        Node::Aggregate(plan) => index >= plan.group_by.len(),
        Node::Observed(plan) => is_aggregate(&plan.input, index),
        Node::Filter(plan) => is_aggregate(&plan.input, index),
        _ => false,
    }
}

/// The parts of a condition that all are to hold.
pub(super) fn conjuncts(condition: &Expr) -> &[Expr] {
    match condition {
        Expr::And(parts) => parts.as_slice(),
        one => std::slice::from_ref(one),
    }
}

/// The index of a unique key that ON CONFLICT is about.
pub(super) fn arbiter(relation: &Relation, arbiter: Arbiter) -> Option<String> {
    match arbiter {
        Arbiter::Primary => relation.primary_key.as_ref().map(|key| key.name.clone()),
        Arbiter::Index(at) => relation.indexes.get(at).map(|index| index.name.clone()),
    }
}

/// Whether a condition says no more than which keys a scan visits.
pub(super) fn is_of_keys(condition: &Expr, keys: &[Expr]) -> bool {
    let turned = |known: &Expr| match (known, condition) {
        (
            Expr::Compare { op: Comparison::Eq, left, right },
            Expr::Compare { op: Comparison::Eq, left: first, right: second },
        ) => left == second && right == first,
        _ => false,
    };
    keys.iter().any(|known| known == condition || turned(known))
}

/// The keys that a scan visits right below a filter.
pub(super) fn keys_below(node: &Node) -> Vec<Expr> {
    match node {
        Node::Scan(plan) => scan_conditions(plan),
        Node::Observed(plan) => keys_below(&plan.input),
        _ => Vec::new(),
    }
}

/// Which keys a scan visits, as conditions on the columns of the key.
pub(super) fn scan_conditions(plan: &ScanPlan) -> Vec<Expr> {
    let places: Vec<usize> = match plan.index() {
        Some(index) => index.columns.iter().map(|column| column.at).collect(),
        None => plan.relation.primary_key.as_ref().map_or_else(Vec::new, |key| key.columns.clone()),
    };
    let column = |number: usize| {
        let index = *places.get(number)?;
        Some(Expr::Column { index, ty: plan.relation.columns.get(index)?.ty })
    };
    let compared = |number: usize, op: Comparison, value: &Expr| {
        Some(Expr::Compare { op, left: Box::new(column(number)?), right: Box::new(value.clone()) })
    };
    let range = &plan.range;
    if let Some(points) = &range.points {
        let tested = column(0).map(Box::new);
        let list = |tested| Expr::In { tested, list: points.clone(), negated: false };
        return tested.map(list).into_iter().collect();
    }
    let equal = range.equal.iter().enumerate().map(|(number, value)| compared(number, Comparison::Eq, value));
    let next = range.equal.len();
    let lower = range.lower.iter().map(|(value, inclusive)| {
        compared(next, if *inclusive { Comparison::Ge } else { Comparison::Gt }, value)
    });
    let upper = range.upper.iter().map(|(value, inclusive)| {
        compared(next, if *inclusive { Comparison::Le } else { Comparison::Lt }, value)
    });
    equal.chain(lower).chain(upper).flatten().collect()
}
