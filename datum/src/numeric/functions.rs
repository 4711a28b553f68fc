//! Roots, logarithms and powers of numeric.
