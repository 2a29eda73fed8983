//! Tests of the core, without Python.

mod capacity;
mod delivery;
mod handoff;
mod logging;
mod notification;
mod queue;
mod queue_model;
mod registry;
mod routing;
mod wake;
