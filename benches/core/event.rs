//! An event as the binding shows it to the formatter: handles to texts that live elsewhere.

use std::borrow::Cow;

use hermes_core::text::fields::{Decoded, FieldText, Fields, Key, Value};

/// A handle to a text.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a>(&'a str);

impl FieldText for Text<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn size(&self) -> usize {
        self.0.len()
    }

    fn decode(&self) -> Decoded<'_> {
        Decoded { text: Cow::Borrowed(self.0), is_repaired: false }
    }
}

/// The event of a delegation that has completed.
pub(crate) struct Event<'a> {
    summary: &'a str,
}

impl<'a> Event<'a> {
    /// The event with that summary.
    pub(crate) fn delegation(summary: &'a str) -> Self {
        Self { summary }
    }
}

impl<'a> Fields for Event<'a> {
    type Text = Text<'a>;

    fn get(&self, key: Key) -> Value<Self> {
        let text = |text| Value::Text(Text(text));
        match key {
            Key::Type => text("async_delegation"),
            Key::DelegationId => text("deleg_00112233445566aa"),
            Key::Goal => text("Read the logs and say why it restarted"),
            Key::Context => text("They are in /var/log; the service is called gateway."),
            Key::Toolsets => {
                Value::List { items: vec![text("terminal"), text("file")], is_list: true }
            }
            Key::Role => text("leaf"),
            Key::Model => text("model-1"),
            Key::Status => text("completed"),
            Key::Summary => text(self.summary),
            Key::Error => Value::None,
            Key::ApiCalls => Value::Int(3),
            Key::DurationSeconds => Value::Float(12.5),
            Key::DispatchedAt => Value::Float(1_700_000_000.0),
            Key::CompletedAt => Value::Float(1_700_000_060.0),
            _ => Value::Missing,
        }
    }
}
