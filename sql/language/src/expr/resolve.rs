//! Choosing among overloaded operators and functions, by the rules of PostgreSQL's manual (chapter Type
//! Conversion).

use super::coerce::can_coerce;
use sql_types::cast::CastContext;
use sql_types::{Category, TypeId};

/// What one parameter of a candidate takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Values of this type.
    Type(TypeId),
    /// Values of any type.
    Any,
    /// Arrays of any type.
    AnyArray,
}

/// The outcome of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The candidate at this place.
    One(usize),
    /// No candidate takes these types.
    None,
    /// More than one does, none better than the others.
    Ambiguous,
}

impl Takes {
    fn exactly(self, given: TypeId) -> bool {
        self == Self::Type(given)
    }
    fn accepts(self, given: TypeId) -> bool {
        match self {
            Self::Type(wanted) => can_coerce(given, wanted, CastContext::Implicit),
            Self::Any => true,
            Self::AnyArray => given.element().is_some() || given == TypeId::Unknown,
        }
    }
    fn preferred_for(self, given: TypeId) -> bool {
        matches!(self, Self::Type(wanted) if wanted.info().preferred && wanted.category() == given.category())
    }
}

/// Keeps the candidates with the highest score.
fn keep_best(places: &mut Vec<usize>, score: impl Fn(usize) -> usize) {
    let best = places.iter().map(|place| score(*place)).max().unwrap_or(0);
    places.retain(|place| score(*place) == best);
}

/// Chooses the candidate for arguments of these types. All candidates take as many arguments as there are.
pub(super) fn choose(given: &[TypeId], candidates: &[Vec<Takes>]) -> Choice {
    let unknown = |id: TypeId| id == TypeId::Unknown;
    let parameters = |place: usize| {
        candidates.get(place).map_or(&[][..], Vec::as_slice).iter().copied().zip(given.iter().copied())
    };
    let exact = |place: usize| parameters(place).all(|(takes, given)| takes.exactly(given));
    if let Some(found) = (0..candidates.len()).find(|place| exact(*place)) {
        return Choice::One(found);
    }
    let mut places: Vec<usize> = (0..candidates.len())
        .filter(|place| parameters(*place).all(|(takes, given)| takes.accepts(given)))
        .collect();
    if let Some(choice) = settled(&places) {
        return choice;
    }
    let known = |place: usize| parameters(place).filter(move |(_, given)| !unknown(*given));
    keep_best(&mut places, |place| known(place).filter(|(takes, given)| takes.exactly(*given)).count());
    if let Some(choice) = settled(&places) {
        return choice;
    }
    let exact_or_preferred =
        |(takes, given): &(Takes, TypeId)| takes.exactly(*given) || takes.preferred_for(*given);
    keep_best(&mut places, |place| known(place).filter(exact_or_preferred).count());
    if let Some(choice) = settled(&places) {
        return choice;
    }
    if given.iter().any(|id| unknown(*id)) {
        by_category(given, candidates, &mut places);
        if let Some(choice) = settled(&places) {
            return choice;
        }
        if let Some(found) = by_known_type(given, candidates, &places) {
            return Choice::One(found);
        }
    }
    Choice::Ambiguous
}

fn settled(places: &[usize]) -> Option<Choice> {
    match places {
        [] => Some(Choice::None),
        [one] => Some(Choice::One(*one)),
        _ => None,
    }
}

/// For each unknown argument: string if any candidate takes that, else the one category that all take; then
/// the favourite type of that category, if a candidate takes it.
fn by_category(given: &[TypeId], candidates: &[Vec<Takes>], places: &mut Vec<usize>) {
    for at in (0..given.len()).filter(|at| given.get(*at) == Some(&TypeId::Unknown)) {
        let taken = |place: usize| match candidates.get(place).and_then(|parameters| parameters.get(at)) {
            Some(Takes::Type(id)) => Some(*id),
            _ => None,
        };
        let category = |place: usize| taken(place).map_or(Category::Pseudo, TypeId::category);
        let categories: Vec<Category> = places.iter().map(|place| category(*place)).collect();
        let chosen = if categories.contains(&Category::String) {
            Category::String
        } else {
            match categories.split_first() {
                Some((first, rest)) if rest.iter().all(|other| other == first) => *first,
                _ => return,
            }
        };
        places.retain(|place| category(*place) == chosen);
        let preferred = |place: &usize| taken(*place).is_some_and(|id| id.info().preferred);
        if places.iter().any(preferred) {
            places.retain(|place| preferred(place));
        }
    }
}

/// If all known arguments are of one type, the unknown ones are taken to be of it too.
fn by_known_type(given: &[TypeId], candidates: &[Vec<Takes>], places: &[usize]) -> Option<usize> {
    let mut known = given.iter().copied().filter(|id| *id != TypeId::Unknown);
    let first = known.next()?;
    if known.any(|id| id != first) {
        return None;
    }
    let mut fitting = places.iter().copied().filter(|place| {
        candidates.get(*place).is_some_and(|parameters| parameters.iter().all(|takes| takes.accepts(first)))
    });
    let found = fitting.next()?;
    if fitting.next().is_some() { None } else { Some(found) }
}
