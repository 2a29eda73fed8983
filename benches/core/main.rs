//! The core's hot paths, each in a loop, for `make instructions` to count.
//!
//! `core SCENARIO TIMES` sets a scenario up and runs it so many times. Two runs with different
//! times differ by nothing but the scenario itself.

mod event;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use hermes_core::delegation::{DelegationRegistry, Dispatched, End, Request};
use hermes_core::event::{Owner, Route, kind};
use hermes_core::queue::{CompletionQueue, Wanted};
use hermes_core::state::State;
use hermes_core::sync::wait::Blocking;
use hermes_core::text::notification::{Clock, format};
use hermes_core::text::sanitize::{Place, sanitize};
use hermes_core::text::session_key::{identity, parse_session_key};

use event::Event;

const KEY: &str = "agent:main:telegram:dm:7";
const ADDRESSED: Route<'_> = Route {
    session_key: Some(KEY),
    kind: Some(kind::ASYNC_DELEGATION),
    delegation_id: Some("deleg_00112233445566aa"),
    full: None,
};
const LINE: &str = "A line of the summary - with a [dash] or two, and user@example.org.\n";

/// Runs a scenario as often as it is told.
type Scenario = fn(usize);

const SCENARIOS: [(&str, Scenario); 11] = [
    ("queue: put, take", |times| queue(times, Route::default())),
    ("queue: put, take of an event", |times| queue(times, ADDRESSED)),
    ("queue: put, take by key, 10,000 wait", queue_by_key),
    ("registry: dispatch, finish, take", registry),
    ("notification: short", |times| notification(times, "Nothing wrong in the logs.")),
    ("notification: 5 KB", |times| notification(times, &LINE.repeat(75))),
    ("notification: 1 MB", |times| notification(times, &LINE.repeat(15_000))),
    ("sanitize: 1 MB", |times| {
        let text = LINE.repeat(15_000);
        for _ in 0..times {
            black_box(sanitize(black_box(&text), Place::Line));
        }
    }),
    ("sanitize: 1 MB, each line forged", |times| {
        let text = "--- RESULT ---\n".repeat(66_000);
        for _ in 0..times {
            black_box(sanitize(black_box(&text), Place::Line));
        }
    }),
    ("routing: parse a session key", |times| {
        for _ in 0..times {
            black_box(parse_session_key(black_box(KEY.as_bytes())));
        }
    }),
    ("routing: deduplication identity", |times| {
        for _ in 0..times {
            black_box(identity(black_box(kind::ASYNC_DELEGATION)));
        }
    }),
];

/// A put and the take that follows it.
fn queue(times: usize, route: Route<'_>) {
    let queue = Arc::new(CompletionQueue::new(0));
    for number in 0..times {
        assert!(queue.try_put(black_box(number), black_box(route)).is_ok());
        assert!(queue.try_take(&Blocking, black_box(Wanted::default())).is_ok());
    }
}

/// A put and a take by key, while events of other keys wait.
fn queue_by_key(times: usize) {
    let queue = Arc::new(CompletionQueue::new(0));
    let put = |key: &str, number| {
        let route = Route { session_key: Some(key), delegation_id: None, ..ADDRESSED };
        assert!(queue.try_put(black_box(number), black_box(route)).is_ok());
    };
    for number in 0..10_000 {
        put(&format!("agent:main:telegram:dm:1{number}"), number);
    }
    // Many: where in a hash table a single one stands would show in the count.
    let keys: Vec<_> = (0..500).map(|number| format!("agent:main:slack:dm:1{number}")).collect();
    for (number, key) in (0..times).zip(keys.iter().cycle()) {
        put(key, number);
        let wanted = Wanted { session_key: Some(key), types: None };
        assert!(queue.try_take(&Blocking, black_box(wanted)).is_ok());
    }
}

/// The life of a delegation, without a worker: its event is put, and taken.
fn registry(times: usize) {
    let queue = Arc::new(CompletionQueue::new(0));
    let registry = DelegationRegistry::new(queue.clone(), 50);
    for number in 0..times {
        let owner = Owner { session_key: KEY.into(), ..Owner::default() };
        let request = Request { limit: 3, owner, ..Request::default() };
        let dispatched = registry.dispatch(&Blocking, request, black_box(number));
        let Ok(Dispatched::New(id)) = dispatched else { panic!("there is room") };
        assert!(registry.begin(&id, |_| true).is_some());
        let state = State::Completed;
        let end = End { id: &id, state, event: number, text: "".into(), completed_at: 0 };
        black_box(registry.finish(&Blocking, end, |_| true, |_| ()).expect("it ran"));
        assert!(queue.try_take(&Blocking, Wanted::default()).is_ok());
    }
}

fn notification(times: usize, summary: &str) {
    let event = Event::delegation(summary);
    let clock = Clock { now: &|| 0.0, local: &|_| Some("2026-01-31 12:00:00".to_owned()) };
    for _ in 0..times {
        black_box(format(black_box(&event), &clock)).unwrap();
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, times] = arguments.as_slice() else {
        for (name, _) in SCENARIOS {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    };
    let scenario = SCENARIOS.iter().find(|(known, _)| known == name);
    let (Some((_, run)), Ok(times)) = (scenario, times.parse()) else {
        eprintln!("usage: core [SCENARIO TIMES]");
        return ExitCode::FAILURE;
    };
    run(times);
    ExitCode::SUCCESS
}
