//! LIKE and regular expressions.
