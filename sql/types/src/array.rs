//! Arrays: any number of dimensions, each with its lower bound.

use crate::datum::Datum;
use crate::error::{Error, Result};
use crate::types::TypeId;
use sqlstate::SqlState;
use std::hash::{Hash, Hasher};

/// Most dimensions (MAXDIM).
pub(crate) const MAX_DIMENSIONS: usize = 6;

/// An array value: elements in row-major order.
#[derive(Clone, Debug)]
pub struct Array {
    element: TypeId,
    dimensions: Vec<Dimension>,
    values: Vec<Datum>,
    /// An int2vector or oidvector, which counts from 0 and prints without braces.
    vector: bool,
}

/// Length and lower bound of one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dimension {
    /// How many elements.
    pub len: u32,
    /// The subscript of the first one, usually 1.
    pub lower: i32,
}

impl Array {
    /// A one-dimensional array with subscripts from 1 (or the empty array).
    pub fn of(element: TypeId, values: Vec<Datum>) -> Self {
        let dimensions = match u32::try_from(values.len()) {
            Ok(0) | Err(_) => Vec::new(),
            Ok(len) => vec![Dimension { len, lower: 1 }],
        };
        Self { element, dimensions, values, vector: false }
    }
    /// An int2vector or oidvector, by its elements' type.
    pub fn vector(element: TypeId, values: Vec<Datum>) -> Self {
        let len = u32::try_from(values.len()).unwrap_or(0);
        Self { element, dimensions: vec![Dimension { len, lower: 0 }], values, vector: true }
    }
    /// An array of the given shape; fails unless the elements fill it.
    ///
    /// # Errors
    ///
    /// 2202E if the elements do not fill the shape, 54000 if it has too many dimensions.
    pub fn with_dimensions(element: TypeId, dimensions: Vec<Dimension>, values: Vec<Datum>) -> Result<Self> {
        let expected = dimensions.iter().try_fold(1usize, |all, one| all.checked_mul(one.len as usize));
        let expected = if dimensions.is_empty() { Some(0) } else { expected };
        if dimensions.len() > MAX_DIMENSIONS {
            let message = format!(
                "number of array dimensions ({}) exceeds the maximum allowed ({MAX_DIMENSIONS})",
                dimensions.len()
            );
            return Err(Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        if expected != Some(values.len()) {
            return Err(Error::new(
                SqlState::ARRAY_SUBSCRIPT_ERROR,
                "the elements do not fill the array's dimensions",
            ));
        }
        if values.is_empty() {
            return Ok(Self { element, dimensions: Vec::new(), values, vector: false });
        }
        Ok(Self { element, dimensions, values, vector: false })
    }
    /// Arrays of one shape as an array of one dimension more; the empty array of none.
    ///
    /// # Errors
    ///
    /// 22004 for NULL among them, 2202E for empty ones and others of another shape, 54000 for too many
    /// dimensions.
    pub fn of_arrays(element: TypeId, arrays: &[Datum]) -> Result<Self> {
        let wrong = |what| Error::new(SqlState::ARRAY_SUBSCRIPT_ERROR, format!("cannot accumulate {what}"));
        let (mut dimensions, mut values) = (Vec::new(), Vec::new());
        for array in arrays {
            let Datum::Array(array) = array else {
                return Err(Error::new(SqlState::NULL_VALUE_NOT_ALLOWED, "cannot accumulate null arrays"));
            };
            if dimensions.is_empty() {
                if array.dimensions.is_empty() {
                    return Err(wrong("empty arrays"));
                }
                dimensions.push(Dimension { len: u32::try_from(arrays.len()).unwrap_or(u32::MAX), lower: 1 });
                dimensions.extend(&array.dimensions);
            } else if dimensions.get(1..) != Some(&array.dimensions) {
                return Err(wrong("arrays of different dimensionality"));
            }
            values.extend_from_slice(&array.values);
        }
        Self::with_dimensions(element, dimensions, values)
    }
    /// Refuses dimensions whose subscripts, or the one behind them, are no integers.
    ///
    /// # Errors
    ///
    /// 54000 for such a dimension.
    pub fn check_bounds(dimensions: &[Dimension]) -> Result<()> {
        let behind = |dimension: &Dimension| i64::from(dimension.lower) + i64::from(dimension.len);
        match dimensions.iter().find(|dimension| i32::try_from(behind(dimension)).is_err()) {
            Some(dimension) => Err(Error::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("array lower bound is too large: {}", dimension.lower),
            )),
            None => Ok(()),
        }
    }
    /// The type of the elements.
    pub fn element(&self) -> TypeId {
        self.element
    }
    /// Whether it is an int2vector or oidvector.
    pub fn is_vector(&self) -> bool {
        self.vector
    }
    /// The dimensions; none for the empty array.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }
    /// The elements in row-major order.
    pub fn values(&self) -> &[Datum] {
        &self.values
    }
    /// Whether it is of the same shape and type, with elements that are identical.
    pub(crate) fn is_identical(&self, other: &Self) -> bool {
        let Self { element, dimensions, values, vector } = self;
        (element, dimensions, vector) == (&other.element, &other.dimensions, &other.vector)
            && values.len() == other.values.len()
            && values.iter().zip(&other.values).all(|(one, other)| one.is_identical(other))
    }
    /// The element of these subscripts, one for each dimension.
    pub fn get(&self, subscripts: &[i64]) -> Option<&Datum> {
        if subscripts.is_empty() || subscripts.len() != self.dimensions.len() {
            return None;
        }
        let mut place = 0usize;
        for (subscript, dimension) in subscripts.iter().zip(&self.dimensions) {
            let at = usize::try_from(subscript.checked_sub(i64::from(dimension.lower))?).ok()?;
            let len = dimension.len as usize;
            if at >= len {
                return None;
            }
            place = place.checked_mul(len)?.checked_add(at)?;
        }
        self.values.get(place)
    }
}

impl Hash for Array {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.values.hash(state);
    }
}
