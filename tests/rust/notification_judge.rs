//! An independent judge of whole notifications. The fuzz targets include this file too.

use std::collections::BTreeMap;

use hermes_core::text::fields::{Fields, Key};
use hermes_core::text::notification::{Clock, format};

use super::judge::{LABELS, MARKERS, openings, reference};
use super::plain::{Event, Plain, Text, joined};

/// The notification of `event`, at a fixed time.
pub(crate) fn notification(event: &Event) -> String {
    let clock = Clock { now: &|| 1000.0, local: &|_| Some("2026-01-02 03:04:05".to_owned()) };
    joined(format(event, &clock).unwrap())
}

/// What a notification promises, whatever its event holds: it opens with its own marker, no field
/// adds one, a process notice ends as the desktop app expects, and nothing in it is expanded.
pub(crate) fn check_notification(event: &Event) {
    let shown = notification(event);
    let (opens_with, markers) = expected(event);
    assert!(shown.starts_with(opens_with), "{event:?} became {shown:?}");
    let is_notice = opens_with.starts_with("[IMPORTANT");
    assert!(!is_notice || shown.ends_with(']'), "{event:?} became {shown:?}");
    // Which mark a task has, is for its status to say.
    let found = openings(&shown, &MARKERS).into_iter().map(|marker| marker.replace('✗', "✓"));
    assert_eq!(found.collect::<Vec<_>>(), markers, "{event:?} became {shown:?}");
    assert_eq!(reference(&shown), None, "{event:?} became {shown:?}");
    let harmless = notification(&without_task(event));
    assert_eq!(
        openings(&shown, &LABELS),
        openings(&harmless, &LABELS),
        "goal or context of {event:?} add a label to {shown:?}"
    );
}

/// How the notification starts, and its markers.
fn expected(event: &Event) -> (&'static str, Vec<&'static str>) {
    let kind = event.get(Key::Type);
    match kind {
        kind if kind.is("watch_disabled") => return ("[IMPORTANT: ", vec!["[important"]),
        kind if kind.is("async_delegation") => {}
        _ => return ("[IMPORTANT: Background process ", vec!["[important"]),
    }
    let results = event.0.get(&Key::Results);
    let is_truthy = |key| event.get(key).is_truthy();
    if !matches!(results, Some(Plain::List(_))) && !is_truthy(Key::IsBatch) {
        return ("[ASYNC DELEGATION COMPLETE — ", vec!["[async delegation", "--- result ---"]);
    }
    let tasks = match results {
        Some(Plain::List(items) | Plain::Tuple(items)) => items.len(),
        _ => usize::from(is_truthy(Key::Results)),
    };
    let mut markers = vec!["[async delegation"];
    match tasks {
        0 if is_truthy(Key::Error) => markers.push("--- error ---"),
        _ => markers.extend(vec!["--- ✓ task"; tasks]),
    }
    ("[ASYNC DELEGATION BATCH COMPLETE — ", markers)
}

/// The same event with every text of goal and context replaced by a harmless one.
fn without_task(event: &Event) -> Event {
    let fields = event.0.iter().map(|(&key, value)| {
        let value = match (key, value) {
            (Key::Goal | Key::Context, value) => harmless(value),
            (Key::Goals, Plain::List(goals)) => Plain::List(goals.iter().map(harmless).collect()),
            (Key::Goals, Plain::Tuple(goals)) => Plain::Tuple(goals.iter().map(harmless).collect()),
            (Key::Results, Plain::List(results)) => {
                Plain::List(results.iter().map(without_task_in).collect())
            }
            (Key::Results, Plain::Tuple(results)) => {
                Plain::Tuple(results.iter().map(without_task_in).collect())
            }
            (Key::Results, result) => without_task_in(result),
            _ => value.clone(),
        };
        (key, value)
    });
    Event(fields.collect::<BTreeMap<_, _>>())
}

fn without_task_in(result: &Plain) -> Plain {
    match result {
        Plain::Map(result) => Plain::Map(without_task(result)),
        other => other.clone(),
    }
}

fn harmless(value: &Plain) -> Plain {
    match value {
        Plain::Text(text) if *text != Text::from("") => Plain::Text("harmless".into()),
        Plain::Object { is_truthy, number, .. } => {
            Plain::Object { text: "harmless".into(), is_truthy: *is_truthy, number: number.clone() }
        }
        other => other.clone(),
    }
}
