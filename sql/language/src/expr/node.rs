//! The nodes of an expression, and ways through them.

use super::functions::Function;
use sql_interface::Result;
use sql_types::ops::{BinaryOperator, UnaryOperator};
use sql_types::{Datum, Type, TypeId};
use std::cmp::Ordering;

/// The six comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

impl Comparison {
    /// The comparison of this operator name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "=" => Self::Eq,
            "<>" => Self::Ne,
            "<" => Self::Lt,
            "<=" => Self::Le,
            ">" => Self::Gt,
            ">=" => Self::Ge,
            _ => return None,
        })
    }
    /// The comparison that says the same with both sides exchanged.
    #[must_use]
    pub(crate) const fn swapped(self) -> Self {
        match self {
            Self::Eq => Self::Eq,
            Self::Ne => Self::Ne,
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
        }
    }
    /// Whether an order of two values satisfies it.
    pub const fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
            Self::Lt => order.is_lt(),
            Self::Le => order.is_le(),
            Self::Gt => order.is_gt(),
            Self::Ge => order.is_ge(),
        }
    }
}

/// A chosen operator or function: an entry of a table that lives as long as the process, the same only as
/// itself.
#[derive(Debug)]
pub struct Chosen<T: 'static>(pub(super) &'static T);

impl<T> Clone for Chosen<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Chosen<T> {}
impl<T> PartialEq for Chosen<T> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

/// The value of a constant. Two are the same only if they are identical: equal ones that are not, such as
/// 1 month and 30 days, lead to different results.
#[derive(Clone, Debug)]
pub struct Constant(pub Datum);

impl PartialEq for Constant {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_identical(&other.0)
    }
}

/// A typed expression. `==` is whether two are written alike, and so compute the same from the same row
/// unless they are volatile.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A value.
    Const(Constant, Type),
    /// A column of the current row.
    Column {
        /// Its place in the row.
        index: usize,
        /// Its type.
        ty: Type,
    },
    /// A column of an enclosing query's row.
    Outer {
        /// 0 is the nearest.
        depth: usize,
        /// Its place in that row.
        index: usize,
        /// Its type.
        ty: Type,
    },
    /// A parameter, counted from 0.
    Param {
        /// Its place among the parameters.
        index: usize,
        /// Its type; unknown until determined.
        ty: Type,
    },
    /// The result of a subquery or of an awaited function, computed before the row's expressions.
    Deferred {
        /// Its place among the deferred values.
        index: usize,
        /// Its type.
        ty: Type,
    },
    /// The result of an aggregate over the current group.
    Aggregate {
        /// Its place among the query's aggregates.
        index: usize,
        /// Its type.
        ty: Type,
    },
    /// All of these, at least two.
    And(Vec<Expr>),
    /// Any of these, at least two.
    Or(Vec<Expr>),
    /// NOT
    Not(Box<Expr>),
    /// A comparison of two values that are comparable as they are.
    Compare {
        /// Which one.
        op: Comparison,
        /// The left side.
        left: Box<Expr>,
        /// The right side.
        right: Box<Expr>,
    },
    /// Any other operator between two values.
    Binary {
        /// The chosen operator.
        operator: Chosen<BinaryOperator>,
        /// Both sides.
        sides: Box<[Expr; 2]>,
    },
    /// An operator before a value.
    Unary {
        /// The chosen operator.
        operator: Chosen<UnaryOperator>,
        /// Its operand.
        operand: Box<Expr>,
    },
    /// A scalar function.
    Call {
        /// The chosen function.
        function: Chosen<Function>,
        /// Its arguments, coerced.
        arguments: Vec<Expr>,
        /// The type of its result.
        ty: Type,
    },
    /// A conversion, or a modifier applied to a value of the same type.
    Cast {
        /// What is converted.
        operand: Box<Expr>,
        /// To which type.
        to: Type,
        /// Whether the cast was written, which lets strings be cut.
        explicit: bool,
    },
    /// CASE: the first result whose condition is true.
    Case {
        /// Conditions with their results.
        branches: Vec<(Expr, Expr)>,
        /// ELSE; NULL if missing.
        otherwise: Option<Box<Expr>>,
        /// The type of the result.
        ty: Type,
    },
    /// The first that is not NULL.
    Coalesce(Vec<Expr>, Type),
    /// NULLIF: NULL where `equal` is true, else `value`.
    NullIf {
        /// `value = other`.
        equal: Box<Expr>,
        /// The first argument.
        value: Box<Expr>,
    },
    /// GREATEST or LEAST; NULLs do not count.
    Extreme {
        /// GREATEST.
        greatest: bool,
        /// The candidates, of one type.
        arguments: Vec<Expr>,
        /// Their type.
        ty: Type,
    },
    /// IS NULL; negated, IS NOT NULL.
    IsNull {
        /// What is tested.
        operand: Box<Expr>,
        /// IS NOT NULL.
        negated: bool,
    },
    /// IS TRUE, IS FALSE, IS NOT TRUE, IS NOT FALSE.
    IsTruth {
        /// What is tested.
        operand: Box<Expr>,
        /// TRUE or FALSE.
        truth: bool,
        /// NOT.
        negated: bool,
    },
    /// IS DISTINCT FROM; negated, IS NOT DISTINCT FROM.
    Distinct {
        /// Both sides, comparable as they are.
        sides: Box<[Expr; 2]>,
        /// NOT.
        negated: bool,
    },
    /// IN over a list of values of the tested type.
    In {
        /// What is looked for.
        tested: Box<Expr>,
        /// Where.
        list: Vec<Expr>,
        /// NOT IN.
        negated: bool,
    },
    /// `left op ANY (array)` and `left op ALL (array)`.
    Quantified {
        /// The left side.
        left: Box<Expr>,
        /// The chosen operator from the left side's type and the element's.
        operator: Chosen<BinaryOperator>,
        /// The array.
        array: Box<Expr>,
        /// ALL.
        all: bool,
    },
    /// ARRAY[...]
    Array {
        /// Elements of one type, or arrays of one shape.
        elements: Vec<Expr>,
        /// The array's type.
        ty: Type,
    },
    /// `array[subscript][subscript]...`; out of range gives NULL, and so does another number of dimensions.
    Subscript {
        /// The array.
        array: Box<Expr>,
        /// Where in it, for each dimension.
        subscripts: Vec<Expr>,
        /// The element's type.
        ty: Type,
    },
}

/// How [`Expr::transform`] goes on.
pub(crate) enum Step {
    /// This stands as it is; what is below is left alone.
    Done(Expr),
    /// This stands, and what is below it is changed too.
    Into(Expr),
}

const BOOL: Type = Type::of(TypeId::Bool);

/// The constant NULL.
pub(super) fn is_null(expr: &Expr) -> bool {
    expr.as_const().is_some_and(Datum::is_null)
}

impl Expr {
    /// The type of the value.
    pub fn ty(&self) -> Type {
        match self {
            Self::Const(_, ty)
            | Self::Column { ty, .. }
            | Self::Outer { ty, .. }
            | Self::Param { ty, .. }
            | Self::Deferred { ty, .. }
            | Self::Aggregate { ty, .. }
            | Self::Call { ty, .. }
            | Self::Cast { to: ty, .. }
            | Self::Case { ty, .. }
            | Self::Coalesce(_, ty)
            | Self::Extreme { ty, .. }
            | Self::Array { ty, .. }
            | Self::Subscript { ty, .. } => *ty,
            Self::Binary { operator, .. } => Type::of(operator.0.result),
            Self::Unary { operator, .. } => Type::of(operator.0.result),
            Self::NullIf { value, .. } => value.ty(),
            Self::And(_)
            | Self::Or(_)
            | Self::Not(_)
            | Self::Compare { .. }
            | Self::IsNull { .. }
            | Self::IsTruth { .. }
            | Self::Distinct { .. }
            | Self::In { .. }
            | Self::Quantified { .. } => BOOL,
        }
    }

    /// A value of a type.
    pub(crate) const fn constant(value: Datum, ty: Type) -> Self {
        Self::Const(Constant(value), ty)
    }

    /// Whether it is the same for all rows and runs, and known.
    pub fn is_const(&self) -> bool {
        self.as_const().is_some()
    }
    /// The value, if this is one.
    pub(crate) fn as_const(&self) -> Option<&Datum> {
        if let Self::Const(Constant(value), _) = self { Some(value) } else { None }
    }

    /// A comparison and its sides.
    pub(crate) fn as_comparison(&self) -> Option<(Comparison, &Self, &Self)> {
        match self {
            Self::Compare { op, left, right } => Some((*op, left, right)),
            _ => None,
        }
    }

    /// What IN looks for, and the list; None for NOT IN.
    pub(crate) fn as_in_list(&self) -> Option<(&Self, &[Self])> {
        match self {
            Self::In { tested, list, negated: false } => Some((tested, list)),
            _ => None,
        }
    }

    /// Calls `visit` for each part directly below this one.
    pub(super) fn for_each_child<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        match self {
            Self::Const(..)
            | Self::Column { .. }
            | Self::Outer { .. }
            | Self::Param { .. }
            | Self::Deferred { .. }
            | Self::Aggregate { .. } => {}
            Self::And(parts) | Self::Or(parts) | Self::Coalesce(parts, _) => parts.iter().for_each(visit),
            Self::Call { arguments: parts, .. }
            | Self::Extreme { arguments: parts, .. }
            | Self::Array { elements: parts, .. } => parts.iter().for_each(visit),
            Self::Not(operand)
            | Self::Unary { operand, .. }
            | Self::Cast { operand, .. }
            | Self::IsNull { operand, .. }
            | Self::IsTruth { operand, .. } => visit(operand),
            Self::Compare { left, right, .. } => {
                visit(left);
                visit(right);
            }
            Self::Quantified { left, array, .. } => {
                visit(left);
                visit(array);
            }
            Self::Subscript { array, subscripts, .. } => {
                visit(array);
                subscripts.iter().for_each(visit);
            }
            Self::NullIf { equal, value } => {
                visit(equal);
                visit(value);
            }
            Self::Binary { sides, .. } | Self::Distinct { sides, .. } => sides.iter().for_each(visit),
            Self::Case { branches, otherwise, .. } => {
                for (condition, result) in branches {
                    visit(condition);
                    visit(result);
                }
                if let Some(otherwise) = otherwise {
                    visit(otherwise);
                }
            }
            Self::In { tested, list, .. } => {
                visit(tested);
                list.iter().for_each(visit);
            }
        }
    }

    /// This with each part directly below it replaced.
    fn map_children(self, change: &mut dyn FnMut(Self) -> Result<Self>) -> Result<Self> {
        fn boxed(part: Expr, change: &mut dyn FnMut(Expr) -> Result<Expr>) -> Result<Box<Expr>> {
            change(part).map(Box::new)
        }
        fn all(parts: Vec<Expr>, change: &mut dyn FnMut(Expr) -> Result<Expr>) -> Result<Vec<Expr>> {
            parts.into_iter().map(change).collect()
        }
        fn pair(sides: [Expr; 2], change: &mut dyn FnMut(Expr) -> Result<Expr>) -> Result<Box<[Expr; 2]>> {
            let [left, right] = sides;
            Ok(Box::new([change(left)?, change(right)?]))
        }
        Ok(match self {
            leaf @ (Self::Const(..)
            | Self::Column { .. }
            | Self::Outer { .. }
            | Self::Param { .. }
            | Self::Deferred { .. }
            | Self::Aggregate { .. }) => leaf,
            Self::And(parts) => Self::And(all(parts, change)?),
            Self::Or(parts) => Self::Or(all(parts, change)?),
            Self::Coalesce(parts, ty) => Self::Coalesce(all(parts, change)?, ty),
            Self::Call { function, arguments, ty } => {
                Self::Call { function, arguments: all(arguments, change)?, ty }
            }
            Self::Extreme { greatest, arguments, ty } => {
                Self::Extreme { greatest, arguments: all(arguments, change)?, ty }
            }
            Self::Array { elements, ty } => Self::Array { elements: all(elements, change)?, ty },
            Self::Not(operand) => Self::Not(boxed(*operand, change)?),
            Self::Unary { operator, operand } => Self::Unary { operator, operand: boxed(*operand, change)? },
            Self::Cast { operand, to, explicit } => {
                Self::Cast { operand: boxed(*operand, change)?, to, explicit }
            }
            Self::IsNull { operand, negated } => Self::IsNull { operand: boxed(*operand, change)?, negated },
            Self::IsTruth { operand, truth, negated } => {
                Self::IsTruth { operand: boxed(*operand, change)?, truth, negated }
            }
            Self::Compare { op, left, right } => {
                Self::Compare { op, left: boxed(*left, change)?, right: boxed(*right, change)? }
            }
            Self::Quantified { left, operator, array, all } => {
                Self::Quantified { left: boxed(*left, change)?, operator, array: boxed(*array, change)?, all }
            }
            Self::Subscript { array, subscripts, ty } => {
                Self::Subscript { array: boxed(*array, change)?, subscripts: all(subscripts, change)?, ty }
            }
            Self::NullIf { equal, value } => {
                Self::NullIf { equal: boxed(*equal, change)?, value: boxed(*value, change)? }
            }
            Self::Binary { operator, sides } => Self::Binary { operator, sides: pair(*sides, change)? },
            Self::Distinct { sides, negated } => Self::Distinct { sides: pair(*sides, change)?, negated },
            Self::Case { branches, otherwise, ty } => Self::Case {
                branches: branches
                    .into_iter()
                    .map(|(condition, result)| Ok((change(condition)?, change(result)?)))
                    .collect::<Result<_>>()?,
                otherwise: otherwise.map(|part| boxed(*part, change)).transpose()?,
                ty,
            },
            Self::In { tested, list, negated } => {
                Self::In { tested: boxed(*tested, change)?, list: all(list, change)?, negated }
            }
        })
    }

    /// Visits this and all parts below it, each before its own parts; false from `visit` skips those.
    pub fn walk(&self, visit: &mut dyn FnMut(&Self) -> bool) {
        if visit(self) {
            self.for_each_child(&mut |child| child.walk(visit));
        }
    }

    /// Replaces parts from the top down.
    pub(crate) fn transform(self, change: &mut dyn FnMut(Self) -> Result<Step>) -> Result<Self> {
        match change(self)? {
            Step::Done(done) => Ok(done),
            Step::Into(part) => part.map_children(&mut |child| child.transform(change)),
        }
    }

    /// Whether evaluating it again may give another value, or does something.
    pub fn is_volatile(&self) -> bool {
        let mut volatile = false;
        self.walk(&mut |part| {
            volatile |= matches!(part, Self::Call { function, .. } if function.0.is_volatile());
            !volatile
        });
        volatile
    }

    /// How often it names rows: by columns of its own query or of one around it, aggregates, subqueries.
    pub(super) fn rows_named(&self) -> usize {
        let mut count = 0;
        self.walk(&mut |part| {
            count += usize::from(matches!(
                part,
                Self::Column { .. } | Self::Outer { .. } | Self::Aggregate { .. } | Self::Deferred { .. }
            ));
            true
        });
        count
    }

    /// Whether it looks at columns of its own query's rows.
    pub(super) fn names_columns(&self) -> bool {
        let mut names = false;
        self.walk(&mut |part| {
            names |= matches!(part, Self::Column { .. } | Self::Aggregate { .. });
            !names
        });
        names
    }

    /// Of how many parts it is made.
    pub(crate) fn nodes(&self) -> usize {
        let mut nodes = 0;
        self.walk(&mut |_| {
            nodes += 1;
            true
        });
        nodes
    }

    /// How many levels it has: 1 for a leaf.
    pub(crate) fn levels(&self) -> usize {
        let mut below = 0;
        self.for_each_child(&mut |child| below = below.max(child.levels()));
        below + 1
    }
}
