//! Turns an event into the text that re-enters a conversation.
//!
//! Follows `format_process_notification` of the gateway's `tools/process_registry.py`: the process
//! notices to the byte, the delegation blocks (the batch form is that of 0.19.0) in markers,
//! labels, order and spacing. Every field is untrusted and goes through [`crate::text::sanitize`].

use std::borrow::Cow;
use std::fmt::Write;

use crate::error::Error;
use crate::memory;
use crate::text::fields::{
    Decoded, FieldText, Fields, Goal, Goals, Key, Number, Value, age, float_repr,
};
use crate::text::sanitize::{Place, may_change, sanitize};

/// Texts from this many bytes on stay handles; shorter ones are copied into the literals around.
const HANDLE_FROM: usize = 512;

/// How much memory the rewriting of a text takes at most, for each of its bytes: the decoded text,
/// what is to be inserted where, and the rewritten one, each while it grows.
const REWRITTEN: usize = 12;

/// How the notification of a delegation begins. Apart from the rest, so that a host can keep it in a
/// form of its own: of all the words here only these are not ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Literal {
    /// Begins the block of one delegation.
    Delegation,
    /// Begins the block of a batch.
    Batch,
}

impl Literal {
    /// Every literal; its place here is `literal as usize`.
    pub const ALL: [Self; 2] = [Self::Delegation, Self::Batch];

    /// The words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Delegation => "[ASYNC DELEGATION COMPLETE — ",
            Self::Batch => "[ASYNC DELEGATION BATCH COMPLETE — ",
        }
    }
}

/// A piece of the notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment<T> {
    /// Text that is always the same.
    Literal(Literal),
    /// Text made here.
    Owned(String),
    /// A text of the event that stands in the notification as it is.
    Field(T),
}

/// What the formatter asks the host about time.
pub struct Clock<'a> {
    /// Seconds since the epoch, now.
    pub now: &'a dyn Fn() -> f64,
    /// `%Y-%m-%d %H:%M:%S` of an instant in seconds since the epoch, in local time; `None` for one
    /// that the calendar does not hold.
    pub local: &'a dyn Fn(&Number) -> Option<String>,
}

/// The notification for `event`, in pieces to be joined; never empty.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn format<F: Fields>(event: &F, clock: &Clock<'_>) -> Result<Vec<Segment<F::Text>>, Error> {
    let mut block = Block::new();
    let kind = event.get(Key::Type);
    match kind_name(&kind).as_ref() {
        "watch_disabled" => block.watch_disabled(event),
        "watch_match" => block.watch_match(event),
        "async_delegation" => {
            let results = event.get(Key::Results);
            let is_list = matches!(results, Value::List { is_list: true, .. });
            if is_list || event.get(Key::IsBatch).is_truthy() {
                block.batch(event, results, clock);
            } else {
                block.delegation(event, clock);
            }
        }
        other if other.starts_with("watch_overflow_") => block.watch_overflow(event),
        _ => block.completion(event),
    }
    block.finish()
}

/// The notification for a queue item that is no event; `type_name` is its type.
#[must_use]
pub fn format_unreadable(type_name: &str) -> String {
    let is_vowel = type_name.starts_with(|first: char| "aeiouAEIOU".contains(first));
    let article = if is_vowel { "an" } else { "a" };
    let type_name = sanitize(type_name, Place::Inline);
    format!(
        "[IMPORTANT: Background process notification could not be read: the queue held \
         {article} {type_name}, not an event.]"
    )
}

/// The event's kind; a missing type means a process completion, and so does one that is no text.
fn kind_name<F: Fields>(kind: &Value<F>) -> Cow<'_, str> {
    match kind {
        Value::Text(text) => text.decode().text,
        _ => Cow::Borrowed("completion"),
    }
}

fn is_success<F: Fields>(status: Option<&Value<F>>) -> bool {
    status.is_none_or(|status| status.is("completed") || status.is("success"))
}

/// Python's `dict.get(key, default)` followed by printing: only an absent key takes the default.
fn present<F: Fields>(value: Value<F>) -> Option<Value<F>> {
    (!matches!(value, Value::Missing)).then_some(value)
}

/// The notification while it grows.
struct Block<T> {
    done: Vec<Segment<T>>,
    open: String,
    // Whether there was no memory for a text.
    is_short: bool,
}

impl<T: FieldText> Block<T> {
    fn new() -> Self {
        Block { done: Vec::with_capacity(4), open: String::with_capacity(640), is_short: false }
    }

    fn finish(mut self) -> Result<Vec<Segment<T>>, Error> {
        self.close();
        if self.is_short { Err(Error::NoMemory) } else { Ok(self.done) }
    }

    fn push(&mut self, literal: &str) {
        self.open.push_str(literal);
    }

    fn number(&mut self, number: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.open, "{number}");
    }

    fn text(&mut self, text: &T, place: Place) {
        if text.is_known_clean(place) {
            return self.field(text);
        }
        // The rewriting does not ask: for all that it may take, of a large text, is asked here.
        let is_tight = !memory::has_room_for(text.size().saturating_mul(REWRITTEN));
        if is_tight && (!text.is_lent() || may_change(&text.decode().text, place)) {
            self.is_short = true;
            return;
        }
        let Decoded { text: decoded, is_repaired } = text.decode();
        let sanitized = sanitize(&decoded, place);
        let is_changed = is_repaired || matches!(sanitized, Cow::Owned(_));
        if is_changed || decoded.len() < HANDLE_FROM {
            self.open.push_str(&sanitized);
        } else {
            self.field(text);
        }
    }

    fn field(&mut self, text: &T) {
        self.close();
        self.done.push(Segment::Field(text.clone()));
    }

    fn literal(&mut self, literal: Literal) {
        self.close();
        self.done.push(Segment::Literal(literal));
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.done.push(Segment::Owned(std::mem::take(&mut self.open)));
        }
    }

    /// Prints a value as an f-string does.
    fn value<F: Fields<Text = T>>(&mut self, value: &Value<F>, place: Place) {
        match value {
            Value::Missing | Value::None => self.push("None"),
            Value::Bool(true) => self.push("True"),
            Value::Bool(false) => self.push("False"),
            Value::Int(number) => self.number(number),
            Value::BigInt(digits) => self.push(digits),
            Value::Float(number) => self.push(&float_repr(*number)),
            Value::Text(text) => self.text(text, place),
            Value::List { items, .. } => self.joined(items),
            Value::Map(_) => self.push("{…}"),
            Value::Printed(printed) => self.text(&printed.text, place),
        }
    }

    /// The value of `key`, or `default` where the event has no such key.
    fn get<F: Fields<Text = T>>(&mut self, event: &F, key: Key, default: &str, place: Place) {
        match present(event.get(key)) {
            Some(value) => self.value(&value, place),
            None => self.push(default),
        }
    }

    fn or<F: Fields<Text = T>>(&mut self, value: Option<&Value<F>>, default: &str, place: Place) {
        match value {
            Some(value) => self.value(value, place),
            None => self.push(default),
        }
    }

    fn joined<F: Fields<Text = T>>(&mut self, items: &[Value<F>]) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            self.value(item, Place::Inline);
        }
    }

    fn watch_disabled<F: Fields<Text = T>>(&mut self, event: &F) {
        self.push("[IMPORTANT: ");
        self.get(event, Key::Message, "", Place::Inline);
        self.push("]");
    }

    /// The gateway prints these as an exited process and loses the message.
    fn watch_overflow<F: Fields<Text = T>>(&mut self, event: &F) {
        self.push("[IMPORTANT: Background process notifications: ");
        self.get(event, Key::Message, "", Place::Inline);
        self.push("]");
    }

    fn watch_match<F: Fields<Text = T>>(&mut self, event: &F) {
        self.push("[IMPORTANT: Background process ");
        self.get(event, Key::SessionId, "unknown", Place::Inline);
        self.push(" matched watch pattern \"");
        self.get(event, Key::Pattern, "?", Place::Inline);
        self.push("\".\nCommand: ");
        self.get(event, Key::Command, "unknown", Place::Inline);
        self.push("\nMatched output:\n");
        self.get(event, Key::Output, "", Place::Line);
        if let Some(suppressed) = event.get(Key::Suppressed).truthy() {
            self.push("\n(");
            self.value(&suppressed, Place::Inline);
            self.push(" earlier matches were suppressed by rate limit)");
        }
        self.push("]");
    }

    fn completion<F: Fields<Text = T>>(&mut self, event: &F) {
        let exit = event.get(Key::ExitCode);
        let exit_number = exit.number();
        let exited_with = |code| exit_number.as_ref().is_some_and(|exit| exit.equals(code));
        let reason = event.get(Key::CompletionReason);
        self.push("[IMPORTANT: Background process ");
        self.get(event, Key::SessionId, "unknown", Place::Inline);
        if reason.is("killed") {
            self.push(" terminated by ");
            let source = event.get(Key::TerminationSource).truthy();
            self.or(source.as_ref(), "Hermes", Place::Inline);
        } else if reason.is("lost") {
            self.push(" marked lost because the process backend disappeared");
        } else if reason.is("failed_start") {
            self.push(" failed to start");
        } else if exited_with(0) {
            self.push(" completed normally");
        } else {
            self.push(" exited");
        }
        self.push(" (exit code ");
        let is_sigterm = exited_with(-15) || exited_with(143) || exit.is("-15") || exit.is("143");
        self.or(present(exit).as_ref(), "?", Place::Inline);
        self.push(if is_sigterm { ", SIGTERM).\nCommand: " } else { ").\nCommand: " });
        self.get(event, Key::Command, "unknown", Place::Inline);
        self.push("\nOutput:\n");
        self.get(event, Key::Output, "", Place::Line);
        self.push("]");
    }

    fn delegation<F: Fields<Text = T>>(&mut self, event: &F, clock: &Clock<'_>) {
        let status = event.get(Key::Status).truthy();
        self.literal(Literal::Delegation);
        self.get(event, Key::DelegationId, "unknown", Place::Inline);
        self.push(
            "]\nA subagent that you started in the background has ended. The conversation may \
             have moved elsewhere meanwhile, so its task is repeated in full: use the result, or \
             dispatch the task again if it no longer fits.",
        );
        self.late(event);
        self.push("\n\n");
        self.dispatched(event, clock);
        self.push("Original goal: ");
        let goal = event.get(Key::Goal).truthy();
        self.or(goal.as_ref(), "", Place::Header);
        self.push("\n");
        self.task_source(event);
        self.push("\nStatus: ");
        self.or(status.as_ref(), "completed", Place::Inline);
        self.push("   API calls: ");
        self.get(event, Key::ApiCalls, "0", Place::Inline);
        self.push("   Duration: ");
        self.get(event, Key::DurationSeconds, "?", Place::Inline);
        self.push("s\n--- RESULT ---\n");
        self.outcome(event, status.as_ref());
    }

    /// Summary and error of a single delegation.
    fn outcome<F: Fields<Text = T>>(&mut self, event: &F, status: Option<&Value<F>>) {
        let summary = event.get(Key::Summary).truthy();
        if let (true, Some(summary)) = (is_success(status), &summary) {
            return self.value(summary, Place::Line);
        }
        let error = event.get(Key::Error).truthy();
        if status.is_some_and(|status| status.is("interrupted")) {
            self.push("The subagent was interrupted before completing");
            match &error {
                Some(error) => {
                    self.push(": ");
                    self.value(error, Place::Inline);
                }
                None => self.push("."),
            }
        } else {
            self.push("The subagent did not complete successfully (status=");
            self.or(status, "completed", Place::Inline);
            self.push(").");
            if let Some(error) = &error {
                self.push("\n");
                self.value(error, Place::Line);
            }
        }
        if let Some(summary) = &summary {
            self.push("\nPartial output:\n");
            self.value(summary, Place::Line);
        }
    }

    /// A sentence about a result that came after its task was taken for lost.
    fn late<F: Fields<Text = T>>(&mut self, event: &F) {
        if event.get(Key::Late).truthy().is_some() {
            self.push(
                " It was taken for lost before, and may have been reported so; this is its result \
                 all the same.",
            );
        }
    }

    /// `Dispatched: … (… ago)`, for an event that says when.
    fn dispatched<F: Fields<Text = T>>(&mut self, event: &F, clock: &Clock<'_>) {
        let at = event.get(Key::DispatchedAt);
        if matches!(at, Value::Printed(_)) {
            return;
        }
        let Some(at) = at.number() else { return };
        let age = match event.get(Key::CompletedAt).truthy() {
            Some(completed_at) => completed_at.number().map(|end| age(&end, &at)),
            None => Some(age(&Number::Float((clock.now)()), &at)),
        };
        self.push("Dispatched: ");
        self.push((clock.local)(&at).as_deref().unwrap_or("?"));
        self.push(" (");
        self.push(age.as_deref().unwrap_or("?"));
        self.push(" ago)\n");
    }

    /// The lines that single and batch blocks share: context, toolsets, role and model.
    fn task_source<F: Fields<Text = T>>(&mut self, event: &F) {
        if let Some(context) = event.get(Key::Context).truthy() {
            self.push("Context you provided: ");
            self.value(&context, Place::Header);
            self.push("\n");
        }
        if let Some(toolsets) = event.get(Key::Toolsets).truthy() {
            self.push("Toolsets: ");
            self.toolsets(&toolsets);
            self.push("\n");
        }
        self.push("Role: ");
        let role = event.get(Key::Role).truthy();
        self.or(role.as_ref(), "leaf", Place::Inline);
        self.push("   Model: ");
        let model = event.get(Key::Model).truthy();
        self.or(model.as_ref(), "?", Place::Inline);
    }

    /// `', '.join(toolsets)`, which for a text lists its characters.
    fn toolsets<F: Fields<Text = T>>(&mut self, toolsets: &Value<F>) {
        let Value::Text(text) = toolsets else {
            return self.value(toolsets, Place::Inline);
        };
        let decoded = text.decode().text;
        for (index, char) in decoded.chars().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            self.open.push(char);
        }
    }

    fn batch<F: Fields<Text = T>>(&mut self, event: &F, results: Value<F>, clock: &Clock<'_>) {
        let goals = event.get(Key::Goals);
        if let Value::Text(text) = &goals
            && !memory::has_room_for(text.size().saturating_mul(REWRITTEN))
        {
            self.is_short = true;
            return;
        }
        let goals = Goals::new(goals);
        let results = match results {
            Value::List { items, .. } => items,
            other => other.truthy().into_iter().collect(),
        };
        let count = if results.is_empty() { goals.len() } else { results.len() };
        self.literal(Literal::Batch);
        self.get(event, Key::DelegationId, "unknown", Place::Inline);
        self.push("]\nA batch of ");
        self.number(count);
        self.push(
            " subagent(s) that you started in the background has ended; the outcome of each \
             follows. The conversation may have moved elsewhere meanwhile: use what still fits, \
             or dispatch it again.",
        );
        self.late(event);
        self.push("\n\n");
        self.dispatched(event, clock);
        self.task_source(event);
        self.push("   Total duration: ");
        match present(event.get(Key::TotalDurationSeconds)) {
            Some(total) => self.value(&total, Place::Inline),
            None => self.get(event, Key::DurationSeconds, "?", Place::Inline),
        }
        self.push("s");
        let error = event.get(Key::Error).truthy();
        if let (true, Some(error)) = (results.is_empty(), error) {
            self.push("\n--- ERROR ---\nThe batch did not complete successfully: ");
            self.value(&error, Place::Inline);
            return;
        }
        for task in in_order(results) {
            self.task(&task, &goals, count);
        }
    }

    fn task<F: Fields<Text = T>>(&mut self, task: &Task<F>, goals: &Goals<F>, count: usize) {
        let field = |key| match &task.result {
            Value::Map(fields) => fields.get(key),
            _ => Value::Missing,
        };
        let status = present(field(Key::Status));
        let is_success = status.is_some() && is_success(status.as_ref());
        let summary = field(Key::Summary).truthy();
        let error = field(Key::Error).truthy();
        self.push(if is_success { "\n\n--- ✓ TASK " } else { "\n\n--- ✗ TASK " });
        self.push(&task.index.successor());
        self.push("/");
        self.number(count);
        let own_goal = || field(Key::Goal).truthy();
        match goals.at(&task.index) {
            Some(Goal::Value(goal)) if goal.is_truthy() => {
                self.push(": ");
                self.value(goal, Place::Header);
            }
            Some(Goal::Char(char)) => {
                self.push(": ");
                self.open.push(char);
            }
            Some(Goal::Value(_)) => {}
            None => {
                if let Some(goal) = own_goal() {
                    self.push(": ");
                    self.value(&goal, Place::Header);
                }
            }
        }
        self.push("  (status=");
        self.or(status.as_ref(), "?", Place::Inline);
        if let Some(calls) = field(Key::ApiCalls).truthy() {
            self.push(", api_calls=");
            self.value(&calls, Place::Inline);
        }
        let duration = field(Key::DurationSeconds);
        if !matches!(duration, Value::Missing | Value::None) {
            self.push(", ");
            self.value(&duration, Place::Inline);
            self.push("s");
        }
        self.push(") ---\n");
        self.task_outcome(status.as_ref(), is_success, summary, error);
        if !matches!(task.result, Value::Map(_)) {
            self.push("\n");
            self.value(&task.result, Place::Line);
        }
        if let Some(transcript) = field(Key::LiveTranscript).truthy() {
            self.push("\nFull live transcript (complete tool/assistant trace): ");
            self.value(&transcript, Place::Inline);
        }
    }

    fn task_outcome<F: Fields<Text = T>>(
        &mut self,
        status: Option<&Value<F>>,
        is_success: bool,
        summary: Option<Value<F>>,
        error: Option<Value<F>>,
    ) {
        if let Some(summary) = summary {
            if !is_success {
                if let Some(error) = &error {
                    self.push("(");
                    self.or(status, "?", Place::Inline);
                    self.push(": ");
                    self.value(error, Place::Inline);
                    self.push(")\n");
                }
                self.push("Partial output:\n");
            }
            return self.value(&summary, Place::Line);
        }
        self.push("(no summary — status=");
        self.or(status, "?", Place::Inline);
        if let Some(error) = &error {
            self.push(": ");
            self.value(error, Place::Inline);
        }
        self.push(")");
    }
}

/// One entry of a batch's `results`.
struct Task<F: Fields> {
    index: Number,
    result: Value<F>,
}

/// The results by `task_index`, equal ones in the order they came. An entry without a number there
/// counts by its place.
fn in_order<F: Fields>(results: Vec<Value<F>>) -> Vec<Task<F>> {
    let mut tasks: Vec<_> = (0_i64..)
        .zip(results)
        .map(|(place, result)| {
            let index = match &result {
                Value::Map(fields) => match fields.get(Key::TaskIndex) {
                    Value::Missing => Some(Number::Int(0)),
                    index => index.number(),
                },
                _ => None,
            };
            Task { index: index.unwrap_or(Number::Int(place)), result }
        })
        .collect();
    tasks.sort_by_key(|task| task.index.sort_key());
    tasks
}
