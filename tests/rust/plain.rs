//! Events for the formatter, made of plain values. The fuzz targets include this file too.

use std::collections::BTreeMap;

use hermes_core::text::fields::{Decoded, FieldText, Fields, Key, Number, Printed, Value};
use hermes_core::text::notification::Segment;
use hermes_core::text::sanitize::{Place, is_suspicious_ucs4, repair_wtf8};

use super::judge::wtf8;

/// Texts of more characters are looked at before they are decoded, as the binding does.
const CHEAP: usize = 16;

/// A Python str: its code points, which may be lone surrogates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Vec<u32>);

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.chars().map(u32::from).collect())
    }
}

impl FieldText for Text {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn size(&self) -> usize {
        4 * self.0.len()
    }

    fn decode(&self) -> Decoded<'_> {
        let (text, is_repaired) = repair_wtf8(wtf8(&self.0));
        Decoded { text: text.into(), is_repaired }
    }

    fn is_known_clean(&self, place: Place) -> bool {
        place != Place::Header && self.0.len() > CHEAP && !is_suspicious_ucs4(&self.0)
    }
}

/// One value of an event.
#[derive(Clone, Debug)]
pub(crate) enum Plain {
    None,
    Bool(bool),
    Int(i64),
    Big(String),
    Float(f64),
    Text(Text),
    List(Vec<Plain>),
    Tuple(Vec<Plain>),
    Map(Event),
    Object { text: Text, is_truthy: bool, number: Option<Number> },
}

/// An event, or one entry of its results.
#[derive(Clone, Debug, Default)]
pub(crate) struct Event(pub(crate) BTreeMap<Key, Plain>);

impl Fields for Event {
    type Text = Text;

    fn get(&self, key: Key) -> Value<Self> {
        self.0.get(&key).map_or(Value::Missing, value)
    }
}

fn value(plain: &Plain) -> Value<Event> {
    match plain {
        Plain::None => Value::None,
        Plain::Bool(value) => Value::Bool(*value),
        Plain::Int(value) => Value::Int(*value),
        Plain::Big(digits) => Value::BigInt(digits.clone()),
        Plain::Float(value) => Value::Float(*value),
        Plain::Text(text) => Value::Text(text.clone()),
        Plain::List(items) | Plain::Tuple(items) => Value::List {
            items: items.iter().map(value).collect(),
            is_list: matches!(plain, Plain::List(_)),
        },
        Plain::Map(event) => Value::Map(Box::new(event.clone())),
        Plain::Object { text, is_truthy, number } => Value::Printed(Box::new(Printed {
            text: text.clone(),
            is_truthy: *is_truthy,
            number: number.clone(),
        })),
    }
}

/// The notification, joined as the binding joins it. A text that stands in it as it is must be
/// Unicode.
pub(crate) fn joined(segments: Vec<Segment<Text>>) -> String {
    let pieces = segments.into_iter().map(|segment| match segment {
        Segment::Literal(literal) => literal.text().to_owned(),
        Segment::Owned(text) => text,
        Segment::Field(Text(units)) => {
            let chars = units.into_iter().map(char::from_u32);
            chars.collect::<Option<String>>().expect("no lone surrogates")
        }
    });
    pieces.collect()
}
