//! Whether two parts of a plan compute the same, as far as their forms tell.

use super::node::{Node, ScanPlan};
use std::sync::Arc;

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unit, Self::Unit) => true,
            (Self::Values(one), Self::Values(other)) => one == other,
            (Self::Scan(one), Self::Scan(other)) => one == other,
            (Self::Generated(one), Self::Generated(other)) => one == other,
            (Self::Function(one), Self::Function(other)) => one == other,
            (Self::Filter(one), Self::Filter(other)) => one == other,
            (Self::Project(one), Self::Project(other)) => one == other,
            (Self::ProjectSet(one), Self::ProjectSet(other)) => one == other,
            (Self::Join(one), Self::Join(other)) => one == other,
            (Self::Aggregate(one), Self::Aggregate(other)) => one == other,
            (Self::Sort(one), Self::Sort(other)) => one == other,
            (Self::Limit(one), Self::Limit(other)) => one == other,
            (Self::Distinct(one), Self::Distinct(other)) => one == other,
            (Self::SetOperation(one), Self::SetOperation(other)) => one == other,
            // What changes or locks rows, or is looked at, is like nothing else.
            _ => false,
        }
    }
}

impl PartialEq for ScanPlan {
    fn eq(&self, other: &Self) -> bool {
        // In one catalogue a table is one object.
        let Self {
            relation,
            needed,
            emit_key,
            index,
            range,
            direction,
            is_ordered: _,
            is_lookup: _,
            filter,
            alias,
        } = self;
        Arc::ptr_eq(relation, &other.relation)
            && (emit_key, index, direction) == (&other.emit_key, &other.index, &other.direction)
            && (needed, filter, range, alias) == (&other.needed, &other.filter, &other.range, &other.alias)
    }
}
