//! EXPLAIN: the plan's operators as a tree, in PostgreSQL's shapes. No costs are estimated, so none are told.
//!
//! | file         | what it is                                        |
//! |--------------|---------------------------------------------------|
//! | `mod`        | running what is explained, and what is told of it |
//! | `tree`       | a plan as a tree of named operators               |
//! | `lines`      | what operators say of themselves                  |
//! | `text`       | FORMAT TEXT                                       |
//! | `structured` | FORMAT JSON, XML and YAML                         |

mod lines;
mod structured;
mod text;
mod tree;

use super::portal::{Body, Given, Run};
use super::{PARAMETERS_MAX, SqlSession};
use sql_interface::{CommandTag, Result, Severity, SqlError, stack};
use sql_language::parse::{ExplainFormat, ExplainOptions, Parsed, SqlCommand, Utility};
use sql_language::plan::{BATCH, Plan, observe};
use sql_types::{Datum, Type};
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use std::time::Duration;
use tree::Operator;

/// What is told of a plan.
struct Explained {
    root: Operator,
    /// Settings that a plan depends on and that differ from their defaults, if they were asked for.
    settings: Option<Vec<(String, String)>>,
    planning: Option<Duration>,
    execution: Option<Duration>,
    verbose: bool,
    /// Whether the plan ran; then with its times, or without.
    ran: Option<Timing>,
}

/// The statement whose plan is told, and its parameters.
struct Planned {
    statement: Arc<Parsed>,
    declared: Vec<Option<Type>>,
    values: Vec<Datum>,
    parameters_max: usize,
}

/// The query of CREATE TABLE AS as a statement of its own.
pub(super) fn filling(outer: &Parsed, table: &ast::CreateTable) -> Option<Parsed> {
    let command = SqlCommand::Query(stack::copying(outer.tokens, || table.query.clone())?);
    Some(Parsed { source: outer.source.clone(), command, tokens: outer.tokens })
}

/// Whether an operator's times were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timing {
    Taken,
    Left,
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl SqlSession {
    /// EXPLAIN. `refusal`: what is wrong with its options, which is told behind what is wrong with a query.
    pub(super) async fn explain(
        &mut self,
        options: ExplainOptions,
        inner: &Arc<Parsed>,
        given: Given,
        refusal: &Option<Box<SqlError>>,
    ) -> Result<Run> {
        let executes = matches!(inner.command, SqlCommand::Utility(Utility::Execute { .. }));
        match refusal {
            Some(refusal) if executes => return Err(SqlError::clone(refusal)),
            Some(_) => {}
            None => self.warn_of_what_is_not_counted(options),
        }
        self.begin_statement().await?;
        let Planned { statement: inner, declared, values, parameters_max } =
            self.planned(options, inner, given).await?;
        let catalogue = self.catalogue().await?;
        let clock = self.facts.host.clock.clone();
        let planned = clock.monotonic();
        let plan: Plan = self.plan(&inner, &declared, &catalogue, parameters_max)?;
        if let Some(refusal) = refusal {
            return Err(SqlError::clone(refusal));
        }
        self.check_rights(&plan, &catalogue)?;
        let planning = clock.monotonic().saturating_sub(planned);
        let mut plan = Arc::new(plan);
        let (mut execution, mut ran) = (None, None);
        if options.analyze {
            let timing = options.timing.unwrap_or(true);
            ran = Some(if timing { Timing::Taken } else { Timing::Left });
            plan = self.settle_plan(&inner, &declared, plan).await?;
            self.refuse_in_read_only(plan.writes, plan.words())?;
            let own =
                Arc::get_mut(&mut plan).ok_or_else(|| SqlError::internal("the plan is another's, too"))?;
            observe(own, timing)?;
            let began = clock.monotonic();
            self.run_explained(&plan, &values).await?;
            execution = Some(clock.monotonic().saturating_sub(began));
        }
        let shows_summary = options.summary.unwrap_or(options.analyze);
        let explained = Explained {
            root: stack::with_bytes(plan.stack_bytes, || {
                Operator::of(&plan.node, &*self.environment, &self.facts.style, options.verbose)
            }),
            settings: options.settings.then(|| self.environment.plan_settings()),
            planning: shows_summary.then_some(planning),
            execution: execution.filter(|_| shows_summary),
            verbose: options.verbose,
            ran,
        };
        let lines = stack::with_bytes(plan.stack_bytes, || match options.format {
            ExplainFormat::Text => text::lines(&explained),
            ExplainFormat::Json => vec![structured::json(&explained)],
            ExplainFormat::Xml => vec![structured::xml(&explained)],
            ExplainFormat::Yaml => vec![structured::yaml(&explained)],
        });
        // The tree is as deep as the plan.
        stack::with_bytes(plan.stack_bytes, || drop(explained));
        let rows: Vec<Vec<Datum>> = lines.into_iter().map(|line| vec![Datum::from(line)]).collect();
        Ok(Run::Rows(rows.into_iter(), CommandTag::Words("EXPLAIN")))
    }

    /// The statement with a plan that another one has inside it, or is.
    async fn planned(
        &mut self,
        options: ExplainOptions,
        outer: &Arc<Parsed>,
        given: Given,
    ) -> Result<Planned> {
        let alone = |statement: &Arc<Parsed>| Planned {
            statement: statement.clone(),
            parameters_max: given.types.len(),
            declared: given.types,
            values: given.values,
        };
        match &outer.command {
            SqlCommand::Query(_) | SqlCommand::Insert(_) | SqlCommand::Update(_) | SqlCommand::Delete(_) => {
                Ok(alone(outer))
            }
            SqlCommand::Utility(Utility::Declare { query, .. }) => Ok(alone(query)),
            SqlCommand::Utility(Utility::Execute { name, arguments }) => {
                let (prepared, values) = self.execute_arguments(outer, name, arguments).await?;
                match &prepared.body {
                    Body::Plan { parsed, declared, .. } => {
                        let (statement, declared) = (parsed.clone(), declared.clone());
                        Ok(Planned { statement, declared, values, parameters_max: PARAMETERS_MAX })
                    }
                    Body::Empty | Body::Utility(_) => {
                        Err(SqlError::unsupported("EXPLAIN of this prepared statement"))
                    }
                }
            }
            SqlCommand::CreateTable(table) if options.analyze => {
                Err(SqlError::unsupported(format!("EXPLAIN ANALYZE of CREATE TABLE {} AS", table.name)))
            }
            SqlCommand::CreateTable(table) => {
                let catalogue = self.catalogue().await?;
                let (name, _) = self.analyzer(outer, Vec::new(), &catalogue).name_for_new(&table.name)?;
                if catalogue.relation(&name).is_some() {
                    let message = format!("relation \"{name}\" already exists");
                    return Err(SqlError::new(SqlState::DUPLICATE_TABLE, message));
                }
                let query = filling(outer, table).ok_or_else(|| SqlError::internal("a query is gone"))?;
                Ok(alone(&Arc::new(query)))
            }
            _ => Err(SqlError::unsupported("EXPLAIN of this statement")),
        }
    }

    /// Runs a plan for its figures alone.
    async fn run_explained(&mut self, plan: &Plan, values: &[Datum]) -> Result<()> {
        let mut cx = self.context(values)?;
        cx.suit(plan);
        let run = async {
            let mut exec = sql_execution::build(&plan.node);
            while exec.next(&mut cx, BATCH).await?.is_some() {}
            Ok::<_, SqlError>(())
        };
        stack::on(plan.stack_bytes, run).await?;
        let upto = cx.transaction.evaluated_up_to();
        self.wait_for_evaluated(upto).await
    }

    /// Pages and log are counted for the whole server, not for a statement.
    fn warn_of_what_is_not_counted(&mut self, options: ExplainOptions) {
        for (asked, option, what) in [
            (options.buffers, "BUFFERS", "Pages are not counted for a single statement."),
            (options.wal, "WAL", "Log is not counted for a single statement."),
        ] {
            if asked {
                let message = format!("EXPLAIN option {option} shows nothing on this server");
                let warning = SqlError::report(Severity::Warning, SqlState::WARNING, message);
                self.notices.push(warning.with_detail(what));
            }
        }
    }
}
