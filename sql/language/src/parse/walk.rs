//! One walk over sqlparser's trees for all who look at every part of them. Its code is a third of a megabyte,
//! once for each kind of visitor: so there is one kind.

use sqlparser::ast::{
    Expr, ObjectName, ObjectNamePart, OrderByExpr, Query, Select, Statement, TableFactor, VisitMut,
    VisitorMut,
};
use std::ops::ControlFlow;

/// What is done with the parts of a tree, outer ones first.
pub(super) trait Walk {
    fn enter_statement(&mut self, _statement: &Statement) {}
    fn enter_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn leave_query(&mut self) {}
    fn enter_select(&mut self, _select: &Select) {}
    fn enter_factor(&mut self, _factor: &TableFactor) {}
    fn enter_relation(&mut self, _name: &ObjectName) {}
    fn enter_order_by(&mut self, _order: &OrderByExpr) {}
    fn enter_expr(&mut self, _expr: &mut Expr) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn leave_expr(&mut self) {}
}

struct Walker<'a>(&'a mut dyn Walk);

impl VisitorMut for Walker<'_> {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<()> {
        self.0.enter_statement(statement);
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.0.enter_query(query)
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.0.leave_query();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.0.enter_select(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.0.enter_factor(factor);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        self.0.enter_relation(name);
        ControlFlow::Continue(())
    }

    fn pre_visit_order_by_expr(&mut self, order: &mut OrderByExpr) -> ControlFlow<()> {
        self.0.enter_order_by(order);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.0.enter_expr(expr)
    }

    fn post_visit_expr(&mut self, _expr: &mut Expr) -> ControlFlow<()> {
        self.0.leave_expr();
        ControlFlow::Continue(())
    }
}

/// Has all parts of a tree looked at, until one says Break.
pub(super) fn walk<T: VisitMut>(tree: &mut T, visitor: &mut dyn Walk) -> ControlFlow<()> {
    tree.visit(&mut Walker(visitor))
}

/// Whether a tree calls a function whose name, without its schema, is one of these.
pub(crate) fn calls_any<T: VisitMut>(tree: &mut T, is_one: impl Fn(&str) -> bool) -> bool {
    let mut found = false;
    expressions(tree, |expr| {
        if let Expr::Function(call) = expr
            && let Some(name) = call.name.0.last().and_then(ObjectNamePart::as_ident)
        {
            found |= is_one(&super::fold(name));
        }
    });
    found
}

/// Has all expressions of a tree looked at.
pub(super) fn expressions<T: VisitMut>(tree: &mut T, look: impl FnMut(&mut Expr)) {
    struct Look<F>(F);

    impl<F: FnMut(&mut Expr)> Walk for Look<F> {
        fn enter_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            (self.0)(expr);
            ControlFlow::Continue(())
        }
    }

    let _: ControlFlow<()> = walk(tree, &mut Look(look));
}
