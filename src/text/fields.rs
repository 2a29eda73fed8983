//! An event as the formatter sees it: fields by name, values that print as Python prints them.
//!
//! The core owns no event type here. The binding looks into a Python dict through [`Fields`] and
//! large texts travel as handles, so that formatting copies none of them.

use std::borrow::Cow;

use crate::text::sanitize::Place;

macro_rules! keys {
    ($($variant:ident = $name:literal,)+) => {
        /// The name of a field that the formatter or the deduplication key reads.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Key {
            $(#[doc = concat!("`", $name, "`.")] $variant,)+
        }

        impl Key {
            /// Every key; a key's place here is `key as usize`.
            pub const ALL: &'static [Key] = &[$(Key::$variant,)+];

            /// The name the key has in the gateway's events.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Key::$variant => $name,)+
                }
            }

            /// The key of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Key> {
                match name {
                    $($name => Some(Key::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

keys! {
    Type = "type",
    SessionId = "session_id",
    Command = "command",
    Pattern = "pattern",
    Output = "output",
    Suppressed = "suppressed",
    Message = "message",
    MessageId = "message_id",
    ExitCode = "exit_code",
    CompletionReason = "completion_reason",
    TerminationSource = "termination_source",
    DelegationId = "delegation_id",
    Goal = "goal",
    Goals = "goals",
    Context = "context",
    Toolsets = "toolsets",
    Role = "role",
    Model = "model",
    Status = "status",
    Summary = "summary",
    Error = "error",
    ApiCalls = "api_calls",
    DurationSeconds = "duration_seconds",
    TotalDurationSeconds = "total_duration_seconds",
    DispatchedAt = "dispatched_at",
    CompletedAt = "completed_at",
    IsBatch = "is_batch",
    Results = "results",
    TaskIndex = "task_index",
    LiveTranscript = "live_transcript",
    Late = "late",
}

/// A dict-like event, or one entry of its `results`.
pub trait Fields: Sized {
    /// A handle to one text of the event.
    type Text: FieldText;

    /// The value of `key`. [`Value::List`] only for `goals`, `toolsets` and `results`,
    /// [`Value::Map`] only inside `results`; elsewhere a container is a [`Value::Printed`].
    fn get(&self, key: Key) -> Value<Self>;
}

/// A text of the event, decoded only as far as needed.
pub trait FieldText: Clone {
    /// Whether it has no characters.
    fn is_empty(&self) -> bool;

    /// How many bytes it may take as UTF-8.
    fn size(&self) -> usize;

    /// Whether [`Self::decode`] copies nothing.
    fn is_lent(&self) -> bool {
        true
    }

    /// The whole text as UTF-8.
    fn decode(&self) -> Decoded<'_>;

    /// Whether it is exactly `word`.
    fn is(&self, word: &str) -> bool {
        self.decode().text == word
    }

    /// Whether it is known, without decoding, to pass [`crate::text::sanitize::sanitize`] unchanged.
    fn is_known_clean(&self, _place: Place) -> bool {
        false
    }
}

/// A decoded text.
#[derive(Clone, Debug)]
pub struct Decoded<'a> {
    /// The text as UTF-8.
    pub text: Cow<'a, str>,
    /// Lone surrogates were replaced, so the handle no longer stands for this text.
    pub is_repaired: bool,
}

/// One value of an event.
pub enum Value<F: Fields> {
    /// The key is absent.
    Missing,
    /// Python's `None`.
    None,
    /// A bool.
    Bool(bool),
    /// An int of at most 64 bits.
    Int(i64),
    /// A longer int, as printed.
    BigInt(String),
    /// A float.
    Float(f64),
    /// A text.
    Text(F::Text),
    /// A list or tuple.
    List {
        /// Its elements.
        items: Vec<Value<F>>,
        /// It is a list, not a tuple.
        is_list: bool,
    },
    /// A dict among the `results`.
    Map(Box<F>),
    /// Any other object.
    Printed(Box<Printed<F::Text>>),
}

/// An object known by how it prints and how it behaves in conditions and arithmetic.
pub struct Printed<T> {
    /// What an f-string shows.
    pub text: T,
    /// Its truth value.
    pub is_truthy: bool,
    /// Its value as a number, if it has one.
    pub number: Option<Number>,
}

/// A Python number.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    /// An int of at most 64 bits, or a bool.
    Int(i64),
    /// A longer int, in decimal.
    Big(String),
    /// A float.
    Float(f64),
}

impl<F: Fields> Value<F> {
    /// Python's `bool(value)`; false for a missing one.
    pub fn is_truthy(&self) -> bool {
        match self {
            Value::Missing | Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::BigInt(_) | Value::Map(_) => true,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::List { items, .. } => !items.is_empty(),
            Value::Printed(printed) => printed.is_truthy,
        }
    }

    /// The value if it is true in Python's sense, as in `value or …`.
    pub fn truthy(self) -> Option<Self> {
        self.is_truthy().then_some(self)
    }

    /// Whether it is the text `word`.
    pub fn is(&self, word: &str) -> bool {
        matches!(self, Value::Text(text) if text.is(word))
    }

    /// The value as a number; a bool counts as 0 or 1.
    pub fn number(&self) -> Option<Number> {
        match self {
            Value::Bool(value) => Some(Number::Int(i64::from(*value))),
            Value::Int(value) => Some(Number::Int(*value)),
            Value::BigInt(digits) => Some(Number::Big(digits.clone())),
            Value::Float(value) => Some(Number::Float(*value)),
            Value::Printed(printed) => printed.number.clone(),
            _ => None,
        }
    }
}

impl Number {
    /// Python's `number == value`.
    #[must_use]
    pub fn equals(&self, value: i32) -> bool {
        match self {
            Number::Int(number) => *number == i64::from(value),
            Number::Big(_) => false,
            Number::Float(number) => *number == f64::from(value),
        }
    }

    /// The nearest float; infinite for an int beyond the range of floats.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn to_f64(&self) -> f64 {
        match self {
            Number::Int(number) => *number as f64,
            Number::Big(digits) => digits.parse().unwrap_or(f64::INFINITY),
            Number::Float(number) => *number,
        }
    }

    /// The exact int, if it is one of at most 128 bits.
    #[must_use]
    pub fn to_i128(&self) -> Option<i128> {
        match self {
            Number::Int(number) => Some(i128::from(*number)),
            Number::Big(digits) => digits.parse().ok(),
            Number::Float(_) => None,
        }
    }

    /// A key that sorts numbers by value, ints and floats together; NaN goes last.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub fn sort_key(&self) -> (OrderedFloat, i128) {
        let float = self.to_f64();
        let float = if float.is_nan() { f64::NAN } else { float + 0.0 };
        // Ints that round to the same float are told apart by their exact value.
        let exact = self.to_i128().unwrap_or(float as i128);
        (OrderedFloat(float), exact)
    }

    /// `number + 1`, printed as Python prints it.
    #[must_use]
    pub fn successor(&self) -> String {
        match self {
            Number::Int(number) => (i128::from(*number) + 1).to_string(),
            Number::Float(number) => float_repr(number + 1.0),
            Number::Big(digits) => increment(digits),
        }
    }
}

/// A float ordered by `f64::total_cmp`.
#[derive(Clone, Copy, Debug)]
pub struct OrderedFloat(f64);

impl PartialEq for OrderedFloat {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for OrderedFloat {}

impl PartialOrd for OrderedFloat {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderedFloat {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Adds one to a decimal int that may be too long for a machine word.
fn increment(digits: &str) -> String {
    if let Ok(number) = digits.parse::<i128>() {
        if let Some(next) = number.checked_add(1) {
            return next.to_string();
        }
    }
    let mut bytes = digits.as_bytes().to_vec();
    let (full, rest) = if digits.starts_with('-') { (b'0', b'9') } else { (b'9', b'0') };
    let mut at = bytes.len();
    while at > 0 && bytes[at - 1] == full {
        at -= 1;
        bytes[at] = rest;
    }
    match at.checked_sub(1).filter(|&index| bytes[index].is_ascii_digit()) {
        Some(index) if full == b'9' => bytes[index] += 1,
        Some(index) => bytes[index] -= 1,
        None => bytes.insert(0, b'1'),
    }
    let printed = String::from_utf8_lossy(&bytes).into_owned();
    match printed.strip_prefix("-0") {
        Some(rest) if !rest.is_empty() => format!("-{rest}"),
        _ => printed,
    }
}

/// `repr` of a Python float: the shortest digits that read back the same, an exponent below 1e-4
/// and from 1e16 on.
#[must_use]
pub fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let size = value.abs();
    let mut printed = if size == 0.0 || (1e-4..1e16).contains(&size) {
        value.to_string()
    } else {
        format!("{value:e}")
    };
    if printed.len() > 15 {
        printed = nearest_even(value, printed);
    }
    if let Some((mantissa, exponent)) = printed.split_once('e') {
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    if !printed.contains('.') {
        printed.push_str(".0");
    }
    printed
}

/// The shortest digits again, but where two choices are equally near, the even one, as in Python;
/// Rust's formatting takes the upper one.
fn nearest_even(value: f64, printed: String) -> String {
    let mantissa = printed.split('e').next().unwrap_or_default();
    let decimals = mantissa.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let rounded = if printed.contains('e') {
        format!("{value:.decimals$e}")
    } else {
        format!("{value:.decimals$}")
    };
    if rounded.parse() == Ok(value) { rounded } else { printed }
}

/// The batch's `goals`: a list, a tuple, or a text, whose goals are its characters.
pub enum Goals<F: Fields> {
    /// The elements.
    Values(Vec<Value<F>>),
    /// The characters.
    Chars(Vec<char>),
}

/// One of the batch's `goals`.
pub enum Goal<'a, F: Fields> {
    /// An element of a list.
    Value(&'a Value<F>),
    /// A character of a text.
    Char(char),
}

impl<F: Fields> Goals<F> {
    /// The goals in the event's `goals` value; none in a value that holds none.
    pub fn new(goals: Value<F>) -> Self {
        match goals {
            Value::List { items, .. } => Goals::Values(items),
            Value::Text(text) => Goals::Chars(text.decode().text.chars().collect()),
            _ => Goals::Values(Vec::new()),
        }
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        match self {
            Goals::Values(values) => values.len(),
            Goals::Chars(chars) => chars.len(),
        }
    }

    /// `goals[index]` with Python's negative indices; `None` where the result's own goal counts.
    pub fn at(&self, index: &Number) -> Option<Goal<'_, F>> {
        let Number::Int(index) = *index else {
            return None;
        };
        let len = i64::try_from(self.len()).ok()?;
        let index =
            usize::try_from(if index < 0 { index.checked_add(len)? } else { index }).ok()?;
        match self {
            Goals::Values(values) => values.get(index).map(Goal::Value),
            Goals::Chars(chars) => chars.get(index).copied().map(Goal::Char),
        }
    }
}

/// Time from `start` to `end` (seconds since the epoch) as the gateway prints it: `45s`, `18m`, `2m3s`, `2h3m`.
#[allow(clippy::cast_possible_truncation)]
#[must_use]
pub fn age(end: &Number, start: &Number) -> String {
    let seconds = match (end.to_i128(), start.to_i128()) {
        (Some(end), Some(start)) => end.checked_sub(start).or((end < start).then_some(0)),
        _ => {
            let seconds = end.to_f64() - start.to_f64();
            // Casting NaN gives 0, which is what `max(0, nan)` gives.
            (seconds.is_nan() || seconds < 1e38).then_some(seconds as i128)
        }
    };
    let Some(seconds) = seconds.map(|seconds| seconds.max(0)) else {
        return "?".to_owned();
    };
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, rest) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, 0) => format!("{minutes}m"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, 0, _) => format!("{hours}h"),
        (hours, minutes, _) => format!("{hours}h{minutes}m"),
    }
}
