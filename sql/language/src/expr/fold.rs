//! Constants computed ahead: only where the value hangs on nothing of the session, neither on a setting nor
//! on the time, since a plan is kept while these change.

use super::node::Expr;
use sql_types::TypeId as T;
use sql_types::ops::BinaryOperator;

impl Expr {
    /// With its value if it can only have one and its parts are values. What fails stays, so that it fails
    /// when it is reached.
    pub(super) fn fold_here(self) -> Self {
        if !self.is_foldable() {
            return self;
        }
        let ty = self.ty();
        match self.eval_constant() {
            Ok(value) => Self::constant(value, ty),
            Err(_) => self,
        }
    }

    /// Whether all parts below are values and what this does with them never changes.
    fn is_foldable(&self) -> bool {
        let immutable = match self {
            Self::Const(..)
            | Self::Column { .. }
            | Self::Outer { .. }
            | Self::Param { .. }
            | Self::Deferred { .. }
            | Self::Aggregate { .. } => false,
            Self::Call { function, .. } => function.0.is_immutable(),
            Self::Cast { operand, to, .. } => is_free_cast(operand.ty().id, to.id),
            Self::Binary { operator, .. } | Self::Quantified { operator, .. } => is_free_operator(operator.0),
            Self::Compare { left, right, .. } => is_free_comparison(left.ty().id, right.ty().id),
            Self::Distinct { sides, .. } => {
                let [left, right] = sides.as_ref();
                is_free_comparison(left.ty().id, right.ty().id)
            }
            // These compare values of one type, or none.
            Self::In { .. }
            | Self::And(_)
            | Self::Or(_)
            | Self::Not(_)
            | Self::Unary { .. }
            | Self::Case { .. }
            | Self::Coalesce(..)
            | Self::NullIf { .. }
            | Self::Extreme { .. }
            | Self::IsNull { .. }
            | Self::IsTruth { .. }
            | Self::Array { .. }
            | Self::Subscript { .. } => true,
        };
        let mut constant = immutable;
        self.for_each_child(&mut |child| constant &= matches!(child, Self::Const(..)));
        constant
    }
}

/// Types whose text is read and printed alike in every session.
const fn has_fixed_text(id: T) -> bool {
    is_string(id)
        || matches!(id, T::Bool | T::Int2 | T::Int4 | T::Int8 | T::Numeric)
        || matches!(id, T::Oid | T::Lsn | T::Uuid | T::Xid | T::Xid8)
}

const fn is_string(id: T) -> bool {
    matches!(id, T::Text | T::Varchar | T::Bpchar | T::Name)
}

const fn is_float(id: T) -> bool {
    matches!(id, T::Float4 | T::Float8)
}

/// Times that no zone has a part in.
const fn is_local_time(id: T) -> bool {
    matches!(id, T::Date | T::Time | T::Timestamp | T::Interval)
}

/// Whether the cast gives the same in every session.
fn is_free_cast(from: T, to: T) -> bool {
    let numbers = |id| is_float(id) || (has_fixed_text(id) && !is_string(id));
    from == to
        || (has_fixed_text(from) && has_fixed_text(to))
        || (numbers(from) && numbers(to))
        || (is_local_time(from) && is_local_time(to))
}

/// Whether values of these types compare alike in every session.
fn is_free_comparison(left: T, right: T) -> bool {
    let plain = |id| has_fixed_text(id) || is_float(id) || is_local_time(id);
    left == right || (plain(left) && plain(right))
}

/// Whether the operator gives the same in every session: two moments have no zone either, but a moment and
/// days do.
fn is_free_operator(operator: &BinaryOperator) -> bool {
    let BinaryOperator { left, right, .. } = *operator;
    let moments = left == T::Timestamptz && right == T::Timestamptz;
    let arrays = left == right && operator.result == T::Bool;
    moments
        || arrays
        || (left != T::Timestamptz && right != T::Timestamptz && is_free_comparison(left, right))
}
