//! A plan as a tree of operators with the names that PostgreSQL has for them.

use sql_catalogue::Relation;
use sql_interface::Environment;
use sql_language::plan::{GeneratedSource, JoinKind, JoinPlan, Node, Observed, RangePlan, ScanPlan, SetKind};
use storage::Direction;

/// The kind of what makes up the rows of a view.
const VIEW: &str = "System View Scan";

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
    /// The index that it goes through.
    pub(super) index: Option<String>,
    pub(super) backward: bool,
    /// What was seen of it.
    pub(super) observed: Option<Observed>,
    pub(super) inputs: Vec<Operator>,
}

impl Operator {
    /// The operators of a plan; a projection is part of what is below it.
    pub(super) fn of(node: &Node, environment: &dyn Environment) -> Self {
        match node {
            Node::Project(plan) => Self::of(&plan.input, environment),
            Node::Observed(plan) => {
                let inner = Self::of(&plan.input, environment);
                Self { observed: Some(plan.figures.get()), ..inner }
            }
            other => {
                let inputs = other.inputs().map(|input| Self::of(input, environment)).collect();
                Self { inputs, ..Self::alone(other, environment) }
            }
        }
    }

    fn kind(kind: &'static str) -> Self {
        Self { kind, ..Self::default() }
    }

    /// The schema of its relation.
    pub(super) fn schema(&self) -> &'static str {
        if self.kind == VIEW { "pg_catalog" } else { "public" }
    }

    fn shown_as(mut self, line: &str) -> Self {
        self.line = Some(line.to_owned());
        self
    }

    fn fact(mut self, name: &'static str, value: &str) -> Self {
        self.facts.push((name, value.to_owned()));
        self
    }

    /// A change of a table.
    fn modify(operation: &str, relation: &Relation) -> Self {
        let modify = Self::kind("ModifyTable").shown_as(operation).fact("Operation", operation);
        Self { relation: Some(relation.name.clone()), ..modify }
    }

    fn alone(node: &Node, environment: &dyn Environment) -> Self {
        match node {
            // A single row is a result, as PostgreSQL has it.
            Node::Values(plan) if plan.rows.len() == 1 => Self::kind("Result"),
            Node::Values(_) => Self::kind("Values Scan").shown_as("Values Scan on \"*VALUES*\""),
            Node::Scan(plan) => scan(plan),
            Node::Join(plan) => join(plan),
            Node::Insert(plan) => Self::modify("Insert", &plan.target.relation),
            Node::Update(plan) => Self::modify("Update", &plan.target.relation),
            Node::Delete(plan) => Self::modify("Delete", &plan.target.relation),
            Node::Unit => Self::kind("Result"),
            Node::Generated(plan) => {
                let shown = Self::kind(VIEW);
                match plan.source {
                    GeneratedSource::Node(at) => {
                        let table = environment.node_tables().get(at);
                        Self { relation: table.map(|table| table.name.to_owned()), ..shown }
                    }
                    _ => shown,
                }
            }
            Node::Function(_) => Self::kind("Function Scan"),
            Node::Filter(_) => Self::kind("Filter"),
            Node::ProjectSet(_) => Self::kind("ProjectSet"),
            Node::Aggregate(plan) if plan.plain => Self::kind("Aggregate").fact("Strategy", "Plain"),
            Node::Aggregate(_) => {
                Self::kind("Aggregate").shown_as("HashAggregate").fact("Strategy", "Hashed")
            }
            Node::Sort(plan) if plan.limit.is_some() => {
                Self::kind("Sort").shown_as("Top-N Sort").fact("Sort Method", "top-N heapsort")
            }
            Node::Sort(_) => Self::kind("Sort"),
            Node::Limit(_) => Self::kind("Limit"),
            Node::Distinct(_) => Self::kind("Unique"),
            Node::SetOperation(plan) => match plan.kind {
                SetKind::Union => Self::kind("Append"),
                SetKind::Intersect => set_operation("Intersect"),
                SetKind::Except => set_operation("Except"),
            },
            Node::Lock(_) => Self::kind("LockRows"),
            Node::Project(_) | Node::Observed(_) => Self::kind(""),
        }
    }
}

fn set_operation(command: &str) -> Operator {
    let shown = format!("HashSetOp {command}");
    Operator::kind("SetOp").shown_as(&shown).fact("Strategy", "Hashed").fact("Command", command)
}

fn scan(plan: &ScanPlan) -> Operator {
    let Relation { name, primary_key, .. } = &*plan.relation;
    let RangePlan { equal, lower, upper, points, .. } = &plan.range;
    let bound = !equal.is_empty() || lower.is_some() || upper.is_some() || points.is_some();
    let backward = plan.direction == Direction::Backward;
    let relation = Some(name.clone());
    if plan.index.is_none() && !bound && !backward {
        return Operator { relation, ..Operator::kind("Seq Scan") };
    }
    let key = match plan.index() {
        Some(index) => Some(index.name.clone()),
        None => primary_key.as_ref().map(|key| key.name.clone()),
    };
    let direction = if backward { "Backward" } else { "Forward" };
    let shown = Operator::kind("Index Scan").fact("Scan Direction", direction);
    Operator { relation, index: key, backward, ..shown }
}

fn join(plan: &JoinPlan) -> Operator {
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
    Operator::kind(how).shown_as(&line).fact("Join Type", kind)
}

/// What came in one of so many runs, rounded as PostgreSQL rounds it.
pub(super) fn per_loop(rows: u64, loops: u64) -> u64 {
    (rows + loops / 2).checked_div(loops).unwrap_or(0)
}
