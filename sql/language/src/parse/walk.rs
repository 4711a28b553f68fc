//! One walk over sqlparser's trees for all who look at every query or expression. Its code is a third of a
//! megabyte, once for each kind of visitor: so there is one kind.

use sqlparser::ast::{Expr, Query, VisitMut, VisitorMut};
use std::ops::ControlFlow;

/// What is done to the parts of a tree, outer ones first.
pub(super) trait Walk {
    /// A query, before its parts.
    fn query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// A query, after its parts.
    fn query_left(&mut self) {}

    /// An expression, before its parts.
    fn expr(&mut self, _expr: &mut Expr) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// An expression, after its parts.
    fn expr_left(&mut self) {}
}

struct Walker<'a>(&'a mut dyn Walk);

impl VisitorMut for Walker<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.0.query(query)
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.0.query_left();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.0.expr(expr)
    }

    fn post_visit_expr(&mut self, _expr: &mut Expr) -> ControlFlow<()> {
        self.0.expr_left();
        ControlFlow::Continue(())
    }
}

/// Has all parts of a tree looked at, until one says Break.
pub(super) fn walk<T: VisitMut>(tree: &mut T, visitor: &mut dyn Walk) -> ControlFlow<()> {
    tree.visit(&mut Walker(visitor))
}

/// Has all expressions of a tree looked at.
pub(super) fn expressions<T: VisitMut>(tree: &mut T, look: impl FnMut(&mut Expr)) {
    struct Look<F>(F);

    impl<F: FnMut(&mut Expr)> Walk for Look<F> {
        fn expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            (self.0)(expr);
            ControlFlow::Continue(())
        }
    }

    let _: ControlFlow<()> = walk(tree, &mut Look(look));
}
