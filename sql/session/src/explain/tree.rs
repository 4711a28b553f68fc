//! A plan as a tree of operators with the names that PostgreSQL has for them.

use super::lines::{self, Lines, Qualifies, Rows};
use sql_catalogue::Relation;
use sql_interface::Environment;
use sql_language::expr::Expr;
use sql_language::plan::{
    AggregatePlan, ConflictAction, DeferredSource, DeferredValues, FilterPlan, FunctionPlan, GeneratedPlan,
    GeneratedSource, InsertPlan, JoinKind, JoinPlan, Node, Observed, RangePlan, ScanPlan, SetKind,
};
use sql_types::Style;
use std::collections::HashMap;
use storage::Direction;

/// The kind of what makes up the rows of a view.
const VIEW: &str = "System View Scan";

/// What an operator says of itself in a line of its own.
#[derive(Debug)]
pub(super) enum Detail {
    Text(String),
    List(Vec<String>),
    Count(u64),
}

/// A subquery of an operator's expressions.
#[derive(Debug)]
pub(super) struct SubPlan {
    pub(super) title: String,
    /// It runs once, before the operator.
    pub(super) once: bool,
    pub(super) root: Operator,
}

/// One operator.
#[derive(Debug, Default)]
pub(super) struct Operator {
    /// "Node Type"
    pub(super) kind: &'static str,
    /// What a line of text begins with, where that is not the kind.
    pub(super) line: Option<String>,
    /// Facts of its own, by PostgreSQL's names.
    pub(super) facts: Vec<(&'static str, String)>,
    /// The table that it reads or changes.
    pub(super) relation: Option<String>,
    /// The function that it calls.
    pub(super) function: Option<String>,
    /// What the statement calls that.
    pub(super) alias: Option<String>,
    /// The index that it goes through.
    pub(super) index: Option<String>,
    pub(super) backward: bool,
    /// What it gives.
    pub(super) output: Vec<String>,
    /// What it says besides, in PostgreSQL's order, without its filter.
    pub(super) details: Vec<(&'static str, Detail)>,
    /// The conditions that its rows fulfil.
    filters: Vec<String>,
    /// What was seen of it.
    pub(super) observed: Option<Observed>,
    /// What was seen before the filter.
    unfiltered: Option<Observed>,
    pub(super) inputs: Vec<Operator>,
    pub(super) subplans: Vec<SubPlan>,
}

impl Operator {
    /// The operators of a plan; a projection is part of what is below it.
    pub(super) fn of(node: &Node, environment: &dyn Environment, style: &Style, verbose: bool) -> Self {
        let many = sources(node) > 1;
        let qualifies = Qualifies { general: many || verbose, output: many, scan: verbose };
        let lines = Lines { environment, style, qualifies, subplans: HashMap::new() };
        let mut tree = Tree { lines, verbose, subplans: 0, once: 0 };
        tree.node(Rows { node, outer: None })
    }

    fn kind(kind: &'static str) -> Self {
        Self { kind, ..Self::default() }
    }

    /// The schema of what it reads.
    pub(super) fn schema(&self) -> &'static str {
        if self.kind == VIEW || self.function.is_some() { "pg_catalog" } else { "public" }
    }

    fn shown_as(mut self, line: &str) -> Self {
        self.line = Some(line.to_owned());
        self
    }

    fn fact(mut self, name: &'static str, value: &str) -> Self {
        self.facts.push((name, value.to_owned()));
        self
    }

    fn list(mut self, name: &'static str, values: Vec<String>) -> Self {
        if !values.is_empty() {
            self.details.push((name, Detail::List(values)));
        }
        self
    }

    /// A change of a table.
    fn modify(operation: &str, relation: &Relation) -> Self {
        let modify = Self::kind("ModifyTable").shown_as(operation).fact("Operation", operation);
        Self { relation: Some(relation.name.clone()), ..modify }
    }

    /// Whether PostgreSQL has such an operator drop rows by itself.
    fn may_filter(&self) -> bool {
        !matches!(
            self.kind,
            "ModifyTable" | "ProjectSet" | "Sort" | "Limit" | "Unique" | "Append" | "SetOp" | "LockRows"
        )
    }

    /// What it says of its filter, and (`always`) of what that removed even where it was nothing.
    pub(super) fn filter_details(&self, always: bool) -> Vec<(&'static str, Detail)> {
        let mut more = Vec::new();
        if !self.filters.is_empty() {
            let filter = match self.filters.as_slice() {
                [one] => one.clone(),
                several => format!("({})", several.join(" AND ")),
            };
            let name = if self.kind == "Result" { "One-Time Filter" } else { "Filter" };
            more.push((name, Detail::Text(filter)));
            if let (Some(before), Some(after)) = (self.unfiltered, self.observed) {
                let removed = per_loop(before.rows.saturating_sub(after.rows), after.loops);
                if always || removed > 0 {
                    more.push(("Rows Removed by Filter", Detail::Count(removed)));
                }
            }
        }
        more
    }
}

/// Tables and functions that a plan reads: names of columns are qualified where there are several.
fn sources(node: &Node) -> usize {
    let own = matches!(node, Node::Scan(_) | Node::Generated(_) | Node::Function(_));
    let waiting = match node {
        Node::Filter(plan) => Some(&plan.deferred),
        Node::Project(plan) => Some(&plan.deferred),
        Node::Join(plan) => Some(&plan.deferred),
        _ => None,
    };
    let slots = waiting.into_iter().flat_map(|slots| slots.iter());
    let subqueries = slots.filter_map(|slot| slot.source.node()).map(sources).sum::<usize>();
    usize::from(own) + subqueries + node.inputs().map(sources).sum::<usize>()
}

/// What the tree is made with.
struct Tree<'a> {
    lines: Lines<'a>,
    verbose: bool,
    /// Subqueries so far, and those that run once.
    subplans: usize,
    once: usize,
}

impl Tree<'_> {
    fn node(&mut self, rows: Rows<'_>) -> Operator {
        let below = |node| Rows { node, ..rows };
        match rows.node {
            Node::Unit => Operator::kind("Result"),
            Node::Values(plan) => {
                // A single row is a result, as PostgreSQL has it.
                let shown = match plan.rows.len() {
                    1 => Operator::kind("Result"),
                    _ => Operator::kind("Values Scan").shown_as("Values Scan on \"*VALUES*\""),
                };
                let shown = Operator { subplans: self.deferred(&plan.deferred, rows), ..shown };
                self.with_output(shown, rows)
            }
            Node::Scan(plan) => self.scan(plan, rows),
            Node::Generated(plan) => self.generated(plan, rows),
            Node::Function(plan) => self.function(plan, rows),
            Node::Filter(plan) => self.filter(plan, below(&plan.input)),
            Node::Project(plan) => {
                let mut shown = self.node(below(&plan.input));
                shown.subplans.extend(self.deferred(&plan.deferred, below(&plan.input)));
                self.with_output(shown, rows)
            }
            Node::Observed(plan) => {
                let shown = self.node(below(&plan.input));
                Operator { observed: Some(plan.figures.get()), ..shown }
            }
            Node::Join(plan) => self.join(plan, rows),
            Node::Aggregate(plan) => self.aggregate(plan, rows),
            Node::SetOperation(plan) => {
                let shown = match plan.kind {
                    SetKind::Union => Operator::kind("Append"),
                    SetKind::Intersect => set_operation("Intersect"),
                    SetKind::Except => set_operation("Except"),
                };
                let inputs = vec![self.node(below(&plan.left)), self.node(below(&plan.right))];
                self.with_output(Operator { inputs, ..shown }, rows)
            }
            Node::Insert(plan) => self.insert(plan, below(&plan.input)),
            Node::Update(plan) => {
                let shown = Operator::modify("Update", &plan.target.relation);
                Operator { inputs: vec![self.node(below(&plan.input))], ..shown }
            }
            Node::Delete(plan) => {
                let shown = Operator::modify("Delete", &plan.target.relation);
                Operator { inputs: vec![self.node(below(&plan.input))], ..shown }
            }
            Node::ProjectSet(plan) => self.over(Operator::kind("ProjectSet"), Some(&plan.deferred), rows),
            Node::Limit(plan) => self.over(Operator::kind("Limit"), Some(&plan.deferred), rows),
            Node::Sort(plan) => {
                // What is below has its names first.
                let shown = self.over(Operator::kind("Sort"), None, rows);
                let keys = plan.keys.iter().map(|key| self.lines.sort_key(key, below(&plan.input)));
                let shown = shown.list("Sort Key", keys.collect());
                match &plan.limit {
                    Some(_) => shown.shown_as("Top-N Sort").fact("Sort Method", "top-N heapsort"),
                    None => shown,
                }
            }
            Node::Distinct(_) => self.over(Operator::kind("Unique"), None, rows),
            Node::Lock(_) => self.over(Operator::kind("LockRows"), None, rows),
        }
    }

    /// An operator with what it gives, if that is asked for.
    fn with_output(&self, shown: Operator, rows: Rows<'_>) -> Operator {
        let output = if self.verbose { self.lines.columns(rows) } else { Vec::new() };
        Operator { output, ..shown }
    }

    /// What hands on the rows of one node.
    fn over(&mut self, mut shown: Operator, deferred: Option<&DeferredValues>, rows: Rows<'_>) -> Operator {
        if let Some(input) = rows.node.inputs().next() {
            let below = Rows { node: input, ..rows };
            shown.inputs.push(self.node(below));
            if let Some(deferred) = deferred {
                shown.subplans = self.deferred(deferred, below);
            }
        }
        self.with_output(shown, rows)
    }

    fn insert(&mut self, plan: &InsertPlan, input: Rows<'_>) -> Operator {
        let relation = &plan.target.relation;
        let mut shown = Operator::modify("Insert", relation);
        if let Some(conflict) = &plan.conflict {
            let action = match conflict.action {
                ConflictAction::Nothing => "NOTHING",
                ConflictAction::Update { .. } => "UPDATE",
            };
            shown.details.push(("Conflict Resolution", Detail::Text(action.to_owned())));
            let names = conflict.arbiters.iter().filter_map(|arbiter| lines::arbiter(relation, *arbiter));
            shown = shown.list("Conflict Arbiter Indexes", names.collect());
        }
        Operator { inputs: vec![self.node(input)], ..shown }
    }

    fn scan(&mut self, plan: &ScanPlan, rows: Rows<'_>) -> Operator {
        let Relation { name, primary_key, .. } = &*plan.relation;
        let RangePlan { equal, lower, upper, points, .. } = &plan.range;
        let bound = !equal.is_empty() || lower.is_some() || upper.is_some() || points.is_some();
        let backward = plan.direction == Direction::Backward;
        let mut shown = if plan.index.is_none() && !bound && !backward {
            Operator::kind("Seq Scan")
        } else {
            let key = match plan.index() {
                Some(index) => Some(index.name.clone()),
                None => primary_key.as_ref().map(|key| key.name.clone()),
            };
            let direction = if backward { "Backward" } else { "Forward" };
            let shown = Operator::kind("Index Scan").fact("Scan Direction", direction);
            Operator { index: key, backward, ..shown }
        };
        let conditions = lines::scan_conditions(plan);
        if !conditions.is_empty() {
            let text = self.lines.condition(&conditions, rows, None);
            shown.details.push(("Index Cond", Detail::Text(text)));
        }
        let filters = plan.filter.iter().filter(|filter| !lines::is_of_keys(filter, &conditions));
        let filters = filters.map(|filter| self.filter_text(filter, rows, None));
        shown.filters = filters.collect();
        if self.verbose {
            shown.output = self.lines.needed(plan);
        }
        Operator { relation: Some(name.clone()), alias: Some(plan.alias.to_string()), ..shown }
    }

    fn filter_text(&self, part: &Expr, rows: Rows<'_>, deferred: Option<&DeferredValues>) -> String {
        self.lines.condition(std::slice::from_ref(part), rows, deferred)
    }

    fn generated(&mut self, plan: &GeneratedPlan, rows: Rows<'_>) -> Operator {
        let name = match plan.source {
            GeneratedSource::Node(at) => self.lines.environment.node_tables().get(at).map(|table| table.name),
            GeneratedSource::System(at) => sql_catalogue::system::TABLES.get(at).map(|table| table.name),
            GeneratedSource::Sequence(_) => None,
        };
        let shown = Operator {
            relation: Some(name.unwrap_or(&plan.alias).to_owned()),
            alias: Some(plan.alias.to_string()),
            ..Operator::kind(if name.is_some() { VIEW } else { "Seq Scan" })
        };
        self.with_output(shown, rows)
    }

    fn function(&mut self, plan: &FunctionPlan, rows: Rows<'_>) -> Operator {
        let mut shown = Operator {
            function: Some(self.lines.function_name(plan.call.function).to_owned()),
            alias: Some(plan.alias.to_string()),
            // Its arguments see no row but those around it.
            subplans: self.deferred(&plan.deferred, Rows { node: &Node::Unit, ..rows }),
            ..Operator::kind("Function Scan")
        };
        if self.verbose {
            let text = self.lines.call(&plan.call, Rows { node: &Node::Unit, ..rows }, Some(&plan.deferred));
            shown.details.push(("Function Call", Detail::Text(text)));
        }
        self.with_output(shown, rows)
    }

    fn filter(&mut self, plan: &FilterPlan, input: Rows<'_>) -> Operator {
        let below = self.node(input);
        let mut shown = if below.may_filter() {
            below
        } else {
            let (observed, output) = (below.observed, below.output.clone());
            Operator { inputs: vec![below], observed, output, ..Operator::kind("Subquery Scan") }
        };
        shown.subplans.extend(self.deferred(&plan.deferred, input));
        let keys = lines::keys_below(input.node);
        let parts = lines::conjuncts(&plan.condition).iter().filter(|part| !lines::is_of_keys(part, &keys));
        shown.filters.extend(parts.map(|part| self.filter_text(part, input, Some(&plan.deferred))));
        shown.unfiltered = shown.unfiltered.or(shown.observed);
        shown
    }

    fn join(&mut self, plan: &JoinPlan, rows: Rows<'_>) -> Operator {
        let (kind, words) = match plan.kind {
            JoinKind::Inner => ("Inner", ""),
            JoinKind::Left => ("Left", " Left"),
            JoinKind::Right => ("Right", " Right"),
            JoinKind::Full => ("Full", " Full"),
        };
        let (how, line) = match (plan.hash_keys.is_empty(), plan.kind) {
            (false, _) => ("Hash Join", format!("Hash{words} Join")),
            (true, JoinKind::Inner) => ("Nested Loop", "Nested Loop".to_owned()),
            (true, _) => ("Nested Loop", format!("Nested Loop{words} Join")),
        };
        let mut shown = Operator::kind(how).shown_as(&line).fact("Join Type", kind);
        let left = Rows { node: &plan.left, ..rows };
        let outer = if plan.lateral { Some(&left) } else { rows.outer };
        let right = Rows { node: &plan.right, outer };
        shown.inputs = vec![self.node(left), self.node(right)];
        if !plan.hash_keys.is_empty() {
            let text = self.lines.equal(&plan.hash_keys, left, right);
            shown.details.push(("Hash Cond", Detail::Text(text)));
        }
        shown.subplans = self.deferred(&plan.deferred, rows);
        if let Some(condition) = &plan.condition {
            let text = self.lines.condition(lines::conjuncts(condition), rows, Some(&plan.deferred));
            shown.details.push(("Join Filter", Detail::Text(text)));
        }
        self.with_output(shown, rows)
    }

    fn aggregate(&mut self, plan: &AggregatePlan, rows: Rows<'_>) -> Operator {
        let input = Rows { node: &plan.input, ..rows };
        let below = self.node(input);
        let shown = if plan.plain {
            Operator::kind("Aggregate").fact("Strategy", "Plain")
        } else {
            Operator::kind("Aggregate").shown_as("HashAggregate").fact("Strategy", "Hashed")
        };
        let keys = self.lines.exprs(&plan.group_by, input);
        let shown = shown.fact("Partial Mode", "Simple").list("Group Key", keys);
        self.with_output(Operator { inputs: vec![below], ..shown }, rows)
    }

    /// The subqueries among deferred values, which see the row as their nearest outer one. They get names.
    fn deferred(&mut self, slots: &DeferredValues, rows: Rows<'_>) -> Vec<SubPlan> {
        let mut subplans = Vec::new();
        for (index, slot) in slots.iter().enumerate() {
            let Some(node) = slot.source.node() else { continue };
            self.subplans += 1;
            let number = self.subplans;
            let once = !slot.per_row && !slot.source.compares();
            let (title, name) = if once {
                let value = self.once;
                self.once += 1;
                (format!("InitPlan {number} (returns ${value})"), format!("${value}"))
            } else {
                let hashed = match &slot.source {
                    DeferredSource::Quantified { hashable, .. } => *hashable,
                    source => matches!(source, DeferredSource::Partner { .. }),
                };
                let word = if hashed && !slot.per_row { "hashed SubPlan" } else { "SubPlan" };
                (format!("SubPlan {number}"), format!("({word} {number})"))
            };
            self.lines.name_subplan(slots, index, name);
            let root = self.node(Rows { node, outer: Some(&rows) });
            subplans.push(SubPlan { title, once, root });
        }
        subplans
    }
}

fn set_operation(command: &str) -> Operator {
    let shown = format!("HashSetOp {command}");
    Operator::kind("SetOp").shown_as(&shown).fact("Strategy", "Hashed").fact("Command", command)
}

/// What came in one of so many runs, rounded as PostgreSQL rounds it.
pub(super) fn per_loop(rows: u64, loops: u64) -> u64 {
    (rows + loops / 2).checked_div(loops).unwrap_or(0)
}
