//! EXPLAIN: the plan's operators as a tree of lines. No costs are estimated, so none are printed.

use super::portal::Run;
use super::{PARAMETERS_MAX, SqlSession};
use identifier::quote;
use sql_catalogue::Relation;
use sql_interface::{CommandTag, Result, SqlError, stack};
use sql_language::parse::{ExplainOptions, Parsed, SqlCommand};
use sql_language::plan::{BATCH, JoinKind, JoinPlan, Node, Plan, RangePlan, ScanPlan, SetKind};
use sql_types::Datum;
use std::sync::Arc;
use storage::Direction;

impl SqlSession {
    pub(super) async fn explain(&mut self, options: ExplainOptions, inner: &Parsed) -> Result<Run> {
        if !matches!(
            inner.command,
            SqlCommand::Query(_) | SqlCommand::Insert(_) | SqlCommand::Update(_) | SqlCommand::Delete(_)
        ) {
            return Err(SqlError::unsupported("EXPLAIN of this statement"));
        }
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        let plan: Plan = self.plan(inner, &[], &catalogue, PARAMETERS_MAX)?;
        self.check_rights(&plan, &catalogue)?;
        let mut lines = Vec::new();
        stack::with_bytes(plan.stack_bytes, || describe(&plan.node, 0, &mut lines));
        if options.analyze {
            let plan = self.settle_plan(inner, &[], Arc::new(plan)).await?;
            self.refuse_in_read_only(plan.writes, plan.words())?;
            let clock = self.facts.host.clock.clone();
            let started = clock.monotonic();
            let mut cx = self.context(&[])?;
            cx.suit(&plan);
            let run = async {
                let mut exec = sql_execution::build(&plan.node);
                let mut rows = 0_u64;
                while let Some(batch) = exec.next(&mut cx, BATCH).await? {
                    rows += batch.len() as u64;
                }
                Ok::<_, SqlError>(rows.max(cx.affected))
            };
            lines.push(format!("Rows: {}", stack::on(plan.stack_bytes, run).await?));
            let upto = cx.transaction.evaluated_up_to();
            self.wait_for_evaluated(upto).await?;
            let elapsed = clock.monotonic().saturating_sub(started);
            lines.push(format!("Execution Time: {:.3} ms", elapsed.as_secs_f64() * 1000.0));
        }
        let rows: Vec<Vec<Datum>> = lines.into_iter().map(|line| vec![Datum::from(line)]).collect();
        Ok(Run::Rows(rows.into_iter(), CommandTag::Words("EXPLAIN")))
    }
}

fn scan_line(plan: &ScanPlan) -> String {
    let Relation { name, primary_key, .. } = &*plan.relation;
    let RangePlan { equal, lower, upper, points, .. } = &plan.range;
    let name = quote(name);
    let bound = !equal.is_empty() || lower.is_some() || upper.is_some() || points.is_some();
    let backward = plan.direction == Direction::Backward;
    if plan.index.is_none() && !bound && !backward {
        return format!("Seq Scan on {name}");
    }
    let key = match plan.index() {
        Some(index) => quote(&index.name),
        None => primary_key.as_ref().map_or_else(String::new, |key| quote(&key.name)),
    };
    format!("Index Scan{} using {key} on {name}", if backward { " Backward" } else { "" })
}

fn describe(node: &Node, depth: usize, lines: &mut Vec<String>) {
    let mut below = depth;
    if let Some(text) = operator(node) {
        let arrow =
            if depth == 0 { String::new() } else { format!("{}->  ", "      ".repeat(depth - 1) + "  ") };
        lines.push(format!("{arrow}{text}"));
        below += 1;
    }
    node.inputs().for_each(|input| describe(input, below, lines));
}

/// A node's line; None for a projection, which PostgreSQL shows as part of what is below it.
fn operator(node: &Node) -> Option<String> {
    let plain = match node {
        Node::Project(_) => return None,
        Node::Values(plan) => return Some(format!("Values Scan ({} rows)", plan.rows.len())),
        Node::Scan(plan) => return Some(scan_line(plan)),
        Node::Join(plan) => return Some(join_line(plan)),
        Node::Insert(plan) => return Some(format!("Insert on {}", plan.target.relation.name)),
        Node::Update(plan) => return Some(format!("Update on {}", plan.target.relation.name)),
        Node::Delete(plan) => return Some(format!("Delete on {}", plan.target.relation.name)),
        Node::Unit => "Result",
        Node::Generated(_) => "System View Scan",
        Node::Function(_) => "Function Scan",
        Node::Filter(_) => "Filter",
        Node::ProjectSet(_) => "ProjectSet",
        Node::Aggregate(plan) if plan.plain => "Aggregate",
        Node::Aggregate(_) => "HashAggregate",
        Node::Sort(plan) if plan.limit.is_some() => "Top-N Sort",
        Node::Sort(_) => "Sort",
        Node::Limit(_) => "Limit",
        Node::Distinct(_) => "Unique",
        Node::SetOperation(plan) => match plan.kind {
            SetKind::Union => "Append",
            SetKind::Intersect => "HashSetOp Intersect",
            SetKind::Except => "HashSetOp Except",
        },
        Node::Lock(_) => "LockRows",
    };
    Some(plain.to_owned())
}

fn join_line(plan: &JoinPlan) -> String {
    let kind = match plan.kind {
        JoinKind::Inner => "",
        JoinKind::Left => " Left",
        JoinKind::Right => " Right",
        JoinKind::Full => " Full",
    };
    let looked_up = matches!(&plan.right, Node::Scan(scan) if plan.lateral && !scan.range.equal.is_empty());
    let how = match (looked_up, plan.hash_keys.is_empty()) {
        (true, _) => "Lookup",
        (false, true) => "Nested Loop",
        (false, false) => "Hash",
    };
    format!("{how}{kind} Join")
}
