//! Tests of the core, without Python.

mod notification;
mod routing;
