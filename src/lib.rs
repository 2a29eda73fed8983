//! The native delegation core under AI-agent gateways.
//!
//! A parent agent hands work to a subagent in the background; when the subagent ends, its result
//! re-enters the conversation that asked. This crate holds the parts that carry that promise:
//! the registry of delegations, the completion queue, the capacity cap and the notification text.
//! It knows no Python; the `python` feature adds the binding that hermes-agent imports.

pub mod delegation;
pub mod error;
pub mod event;
pub mod failpoint;
pub mod ledger;
pub mod memory;
pub mod queue;
pub mod state;
pub mod sync;
pub mod text;

#[cfg(feature = "python")]
mod python;
