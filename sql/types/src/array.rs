//! Arrays: any number of dimensions, each with its lower bound.

use crate::datum::Datum;
use crate::error::{Error, Result};
use crate::ops::compare_mixed;
use crate::style::Style;
use crate::types::TypeId;
use crate::work;
use sqlstate::SqlState;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

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
    /// What the elements take, with what they hold.
    bytes: usize,
    order: Order,
}

/// The places of the elements that are not NULL, in their order. To find it out costs more than to go through
/// the elements once, so it is done when they are looked through again.
#[derive(Clone, Debug, Default)]
struct Order {
    asked: OnceLock<()>,
    places: OnceLock<Box<[u32]>>,
}

/// Fewer elements are gone through.
const LOOKED_UP: usize = 16;

/// Length and lower bound of one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dimension {
    /// How many elements.
    pub len: u32,
    /// The subscript of the first one, usually 1.
    pub lower: i32,
}

impl Array {
    fn made(element: TypeId, dimensions: Vec<Dimension>, values: Vec<Datum>, vector: bool) -> Self {
        let bytes = values.iter().map(|value| size_of::<Datum>().saturating_add(value.heap_bytes()));
        let bytes = bytes.fold(0, usize::saturating_add);
        Self { element, dimensions, values, vector, bytes, order: Order::default() }
    }
    /// What the elements take, with what they hold, in bytes; of several that share it each counts it.
    pub fn heap_bytes(&self) -> usize {
        self.bytes
    }
    /// A one-dimensional array with subscripts from 1 (or the empty array).
    pub fn of(element: TypeId, values: Vec<Datum>) -> Self {
        let dimensions = match u32::try_from(values.len()) {
            Ok(0) | Err(_) => Vec::new(),
            Ok(len) => vec![Dimension { len, lower: 1 }],
        };
        Self::made(element, dimensions, values, false)
    }
    /// An int2vector or oidvector, by its elements' type.
    pub fn vector(element: TypeId, values: Vec<Datum>) -> Self {
        let len = u32::try_from(values.len()).unwrap_or(0);
        let dimensions = vec![Dimension { len, lower: 0 }];
        Self::made(element, dimensions, values, true)
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
            return Ok(Self::of(element, values));
        }
        Ok(Self::made(element, dimensions, values, false))
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
        let Self { element, dimensions, values, vector, bytes: _, order: _ } = self;
        (element, dimensions, vector) == (&other.element, &other.dimensions, &other.vector)
            && values.len() == other.values.len()
            && values.iter().zip(&other.values).all(|(one, other)| one.is_identical(other))
    }
    /// Whether an element equals this value, by a look into their order. None where they are to be gone
    /// through: they are few, or are looked through for the first time, or are of another kind.
    ///
    /// # Errors
    ///
    /// 57014 if the work is to stop, 53200 if there is no memory for it.
    pub fn look_up(&self, value: &Datum, style: &Style) -> Result<Option<bool>> {
        let count = self.values.len();
        if count < LOOKED_UP || self.order.asked.set(()).is_ok() {
            return Ok(None);
        }
        let one_kind = |element: &Datum| {
            let integers = element.as_i64().is_some() && value.as_i64().is_some();
            element.rank() == value.rank() || integers
        };
        let Some(first) = self.values.iter().find(|element| !element.is_null()) else {
            return Ok(Some(false));
        };
        if !one_kind(first) {
            return Ok(None);
        }
        let places = match self.order.places.get() {
            Some(places) => places,
            None => {
                let places = self.in_order()?;
                self.order.places.get_or_init(|| places)
            }
        };
        let compared = |place: &u32| {
            let element = self.values.get(*place as usize).unwrap_or(&Datum::Null);
            compare_mixed(element, value, style)
        };
        Ok(Some(places.binary_search_by(compared).is_ok()))
    }

    fn in_order(&self) -> Result<Box<[u32]>> {
        let mut places: Vec<(u32, &Datum)> = (0..).zip(&self.values).collect();
        places.retain(|(_, element)| !element.is_null());
        work::sort_by(&mut places, |(_, a), (_, b)| a.cmp(b))?;
        Ok(places.into_iter().map(|(place, _)| place).collect())
    }

    /// Whether elements are NULL.
    pub fn has_nulls(&self) -> bool {
        match self.order.places.get() {
            Some(places) => places.len() < self.values.len(),
            None => self.values.iter().any(Datum::is_null),
        }
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
