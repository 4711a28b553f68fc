//! Seeded clients.
