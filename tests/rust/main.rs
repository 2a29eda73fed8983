//! Tests of the core, without Python.

use proptest::test_runner::Config;

mod capacity;
mod dead_letter;
mod delivery;
mod handoff;
mod judge;
mod lease;
mod ledger;
mod logging;
mod mailbox_model;
mod notification;
mod notification_judge;
mod ownership;
mod plain;
mod queue;
mod queue_model;
mod queue_steps;
mod queued;
mod registry;
mod registry_model;
mod routing;
mod sanitize;
mod scripted;
mod wake;
mod written;

/// How the property tests run: `cases` each, unless PROPTEST_CASES says otherwise.
fn config(cases: u32) -> Config {
    let cases =
        if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { cases };
    Config { cases, failure_persistence: None, ..Config::default() }
}
