//! What the fuzz targets do with their input: decode it, and hand it to the judges of the tests.

mod event;
mod steps;
mod words;

#[path = "../../tests/rust/judge.rs"]
mod judge;
#[path = "../../tests/rust/notification_judge.rs"]
mod notification_judge;
#[path = "../../tests/rust/plain.rs"]
mod plain;
#[path = "../../tests/rust/queue_steps.rs"]
mod queue_steps;

use arbitrary::{Result, Unstructured};
use hermes_core::text::sanitize::{Place, repair_wtf8};

/// Splits `key`, and compares the parts with what a naive splitter finds.
pub fn session_key(key: &[u8]) {
    judge::check_session_key(key);
}

/// Sanitizes the text as it is and as built from the words that matter, repairs its bytes.
pub fn sanitize(data: &[u8]) {
    let (raw, is_repaired) = repair_wtf8(data.to_vec());
    assert_eq!(is_repaired, str::from_utf8(data) != Ok(&raw));
    let units = words::units(&mut Unstructured::new(data)).unwrap_or_default();
    judge::check_repair(&units);
    let built: String = units.iter().filter_map(|&unit| char::from_u32(unit)).collect();
    for place in [Place::Inline, Place::Line, Place::Header] {
        judge::check_sanitized(&raw, place);
        judge::check_sanitized(&built, place);
    }
}

/// Formats an event of any shape.
///
/// # Errors
/// When the input is too short for an event.
pub fn format(data: &[u8]) -> Result<()> {
    let event = event::event(&mut Unstructured::new(data))?;
    notification_judge::check_notification(&event);
    Ok(())
}

/// Takes any steps at a queue and at a list.
///
/// # Errors
/// When the input is too short for a step.
pub fn events(data: &[u8]) -> Result<()> {
    queue_steps::check(steps::steps(&mut Unstructured::new(data))?);
    Ok(())
}
