//! The locks the core uses, in one place.
