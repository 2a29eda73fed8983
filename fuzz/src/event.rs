//! Events of any shape that the binding can hand to the formatter.

use arbitrary::{Result, Unstructured};
use hermes_core::text::fields::{Key, Number};

use crate::plain::{Event, Plain, Text};
use crate::words;

const KINDS: [&str; 7] = [
    "async_delegation",
    "completion",
    "watch_match",
    "watch_disabled",
    "watch_overflow_tripped",
    "watch_overflow_",
    "",
];

/// Words that the formatter tells apart.
const WORDS: [&str; 12] = [
    "completed",
    "success",
    "interrupted",
    "error",
    "killed",
    "lost",
    "failed_start",
    "-15",
    "143",
    "a",
    "",
    "SIGTERM",
];

/// The most entries in one list.
const ITEMS: usize = 4;

/// An event as it comes from the queue.
pub(crate) fn event(u: &mut Unstructured<'_>) -> Result<Event> {
    let mut event = fields(u, true)?;
    if u.ratio(7, 8)? {
        event.0.insert(Key::Type, Plain::Text((*u.choose(&KINDS)?).into()));
    }
    Ok(event)
}

fn fields(u: &mut Unstructured<'_>, is_outer: bool) -> Result<Event> {
    let mut event = Event::default();
    // A small count, so that most events end before the input does.
    for _ in 0..u.int_in_range(0..=8)? {
        let key = *u.choose(Key::ALL)?;
        let value = match key {
            Key::Goals | Key::Toolsets if u.ratio(3, 4)? => list(u, scalar)?,
            Key::Results if is_outer && u.ratio(3, 4)? => list(u, result)?,
            Key::Results if is_outer && u.arbitrary()? => Plain::Map(fields(u, false)?),
            _ => scalar(u)?,
        };
        event.0.insert(key, value);
    }
    Ok(event)
}

fn result(u: &mut Unstructured<'_>) -> Result<Plain> {
    if u.ratio(3, 4)? { Ok(Plain::Map(fields(u, false)?)) } else { scalar(u) }
}

fn list(
    u: &mut Unstructured<'_>,
    item: fn(&mut Unstructured<'_>) -> Result<Plain>,
) -> Result<Plain> {
    let items = (0..u.int_in_range(0..=ITEMS)?).map(|_| item(u)).collect::<Result<_>>()?;
    Ok(if u.ratio(3, 4)? { Plain::List(items) } else { Plain::Tuple(items) })
}

fn scalar(u: &mut Unstructured<'_>) -> Result<Plain> {
    Ok(match u.int_in_range(0..=9)? {
        0 => Plain::None,
        1 => Plain::Bool(u.arbitrary()?),
        2 => Plain::Int(u.arbitrary()?),
        3 => Plain::Big(big(u)?),
        4 => Plain::Float(u.arbitrary()?),
        5 => Plain::Text((*u.choose(&WORDS)?).into()),
        6 => Plain::Object { text: text(u)?, is_truthy: u.arbitrary()?, number: number(u)? },
        7 => Plain::Int(u.int_in_range(-20..=150)?),
        _ => Plain::Text(text(u)?),
    })
}

fn number(u: &mut Unstructured<'_>) -> Result<Option<Number>> {
    Ok(match u.int_in_range(0..=3)? {
        0 => Some(Number::Int(u.arbitrary()?)),
        1 => Some(Number::Big(big(u)?)),
        2 => Some(Number::Float(u.arbitrary()?)),
        _ => None,
    })
}

/// An int too long for 64 bits, in decimal.
fn big(u: &mut Unstructured<'_>) -> Result<String> {
    let digit = char::from(b'0' + u.int_in_range(0..=9)?);
    let sign = if u.arbitrary()? { "-" } else { "" };
    let zeros = u.int_in_range(20..=400)?;
    Ok(format!("{sign}1{}", String::from(digit).repeat(zeros)))
}

fn text(u: &mut Unstructured<'_>) -> Result<Text> {
    Ok(Text(words::units(u)?))
}
