//! Leaf functions for the notification: plain events in, text out.
//!
//! A leaf runs no Python code: it looks only into exact built-in types, and returns `None` on
//! anything else. The caller then makes the event plain, in Python, and calls again.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyCFunction, PyDict, PyFloat, PyInt, PyList, PyNone, PyString, PyTuple,
};

use crate::text::fields::{Fields, Key, Number, Printed, Value};
use crate::text::notification::{Clock, Literal, Segment, format, format_unreadable};
use crate::text::session_key::{Absent, identity, parse_session_key};

use super::memory;
use super::text::Text;

/// How deep, and over how many elements, a container is checked before it is printed here.
const MAX_DEPTH: usize = 32;
const MAX_ELEMENTS: usize = 100_000;

/// An object that is no plain value, as Python saw it: how it prints, whether it is true, and what
/// number it is, if any.
#[pyclass(name = "Printed", module = "hermes_core._core", frozen)]
pub(super) struct PrintedObject {
    text: Py<PyString>,
    is_truthy: bool,
    number: Option<Number>,
}

#[pymethods]
impl PrintedObject {
    #[new]
    #[pyo3(signature = (text, is_truthy, number=None))]
    fn new(
        text: &Bound<'_, PyString>,
        is_truthy: bool,
        number: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let number = match number {
            Some(number) if number.is_exact_instance_of::<PyFloat>() => {
                Some(Number::Float(number.extract()?))
            }
            // An int longer than the process lets print is known by its text alone.
            Some(number) if number.is_exact_instance_of::<PyInt>() => int(number).ok(),
            _ => None,
        };
        Ok(PrintedObject { text: text.clone().unbind(), is_truthy, number })
    }
}

/// The notification for a dict of plain values; `None` if a value it needs is not plain.
/// `now` is in seconds since the epoch, by default the system's clock.
#[pyfunction]
#[pyo3(signature = (event, now=None))]
pub(super) fn format_plain<'py>(
    event: &Bound<'py, PyAny>,
    now: Option<f64>,
) -> PyResult<Option<Bound<'py, PyString>>> {
    let py = event.py();
    let is_foreign = Cell::new(false);
    let Some(fields) = DictFields::load(event, &is_foreign)? else { return Ok(None) };
    let segments = format(
        &fields,
        &Clock {
            now: &|| now.unwrap_or_else(system_now),
            local: &|instant| local_time(py, instant).ok().flatten(),
        },
    );
    if is_foreign.get() {
        return Ok(None);
    }
    join(py, segments.map_err(|_| memory::error(py))?).map(Some)
}

/// The notification for a queue item of type `type_name` that is no event.
#[pyfunction]
#[pyo3(name = "format_unreadable")]
pub(super) fn format_unreadable_item(type_name: &str) -> String {
    format_unreadable(type_name)
}

/// The names of the fields that the formatter and the deduplication key read.
#[pyfunction]
pub(super) fn notification_keys(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    PyTuple::new(py, Key::ALL.iter().map(|key| key.name()))
}

/// The deduplication key of a dict whose `type` is an exact str or absent; `None` for another.
#[pyfunction]
pub(super) fn dedup_key_plain<'py>(
    event: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let py = event.py();
    let is_foreign = Cell::new(false);
    let Some(fields) = DictFields::load(event, &is_foreign)? else { return Ok(None) };
    let kind = match fields.slot(Key::Type) {
        None => "completion".to_owned(),
        Some(kind) => match kind.cast_exact::<PyString>() {
            Ok(kind) => Text::new(kind.clone()).to_lossy(),
            Err(_) => return Ok(None),
        },
    };
    let parts = identity(&kind).iter().map(|&(key, absent)| match (fields.slot(key), absent) {
        (Some(value), _) => value.clone(),
        (None, Absent::Empty) => PyString::intern(py, "").into_any(),
        (None, Absent::Zero) => PyInt::new(py, 0).into_any(),
        (None, Absent::Completion) => PyString::intern(py, "completion").into_any(),
    });
    PyTuple::new(py, parts.collect::<Vec<_>>()).map(Some)
}

/// The parts of a session key as a dict; `None` for a key of another form or that is no exact str.
#[pyfunction]
pub(super) fn session_key_plain<'py>(
    key: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let py = key.py();
    let Ok(key) = key.cast_exact::<PyString>() else { return Ok(None) };
    let key = Text::new(key.clone());
    let bytes = key.wtf8()?;
    let Some(parts) = parse_session_key(&bytes) else { return Ok(None) };
    let text = |part: &[u8]| match std::str::from_utf8(part) {
        Ok(text) => Ok(PyString::new(py, text).into_any()),
        Err(_) => {
            PyBytes::new(py, part).call_method1(intern!(py, "decode"), ("utf-8", "surrogatepass"))
        }
    };
    let found = PyDict::new(py);
    found.set_item("platform", text(parts.platform)?)?;
    found.set_item("chat_type", text(parts.chat_type)?)?;
    found.set_item("chat_id", text(parts.chat_id)?)?;
    if let Some(thread_id) = parts.thread_id {
        found.set_item("thread_id", text(thread_id)?)?;
    }
    Ok(Some(found))
}

/// The known fields of one exact dict, held while its notification is made.
struct DictFields<'a, 'py> {
    slots: [Option<Bound<'py, PyAny>>; Key::ALL.len()],
    /// Set when a value turned up that only Python may look into.
    is_foreign: &'a Cell<bool>,
}

impl<'a, 'py> DictFields<'a, 'py> {
    /// `None` if `event` is not a dict, or has a key that is not an exact str: looking up another
    /// key could call its `__eq__`.
    fn load(event: &Bound<'py, PyAny>, is_foreign: &'a Cell<bool>) -> PyResult<Option<Self>> {
        let Ok(dict) = event.cast_exact::<PyDict>() else { return Ok(None) };
        let names = KeyNames::get(event.py());
        let mut fields = DictFields { slots: [const { None }; Key::ALL.len()], is_foreign };
        let (mut place, mut name, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: attached throughout. Only a name without a UTF-8 form may run code that changes
        // the dict, and then neither it nor its value is used; else both stay valid.
        #[allow(unsafe_code)]
        while unsafe { ffi::PyDict_Next(dict.as_ptr(), &mut place, &mut name, &mut value) } != 0 {
            let (name, value) = unsafe {
                (Borrowed::from_ptr(event.py(), name), Borrowed::from_ptr(event.py(), value))
            };
            let Ok(name) = name.cast_exact::<PyString>() else { return Ok(None) };
            if let Some(key) = names.find(&name) {
                fields.slots[key as usize] = Some(value.to_owned());
            }
        }
        Ok(Some(fields))
    }

    fn slot(&self, key: Key) -> Option<&Bound<'py, PyAny>> {
        self.slots[key as usize].as_ref()
    }

    fn foreign(&self) -> Value<Self> {
        self.is_foreign.set(true);
        Value::None
    }

    fn value(&self, key: Key, object: &Bound<'py, PyAny>) -> Value<Self> {
        if let Ok(text) = object.cast_exact::<PyString>() {
            Value::Text(Text::new(text.clone()))
        } else if object.is_none() {
            Value::None
        } else if object.is_exact_instance_of::<PyInt>() {
            match int(object) {
                Ok(Number::Int(number)) => Value::Int(number),
                Ok(Number::Big(digits)) => Value::BigInt(digits),
                _ => self.foreign(),
            }
        } else if let Ok(float) = object.cast_exact::<PyFloat>() {
            Value::Float(float.value())
        } else if let Ok(flag) = object.cast_exact::<PyBool>() {
            Value::Bool(flag.is_true())
        } else {
            self.container(key, object)
        }
    }

    fn container(&self, key: Key, object: &Bound<'py, PyAny>) -> Value<Self> {
        if matches!(key, Key::Goals | Key::Toolsets | Key::Results) {
            if let Ok(list) = object.cast_exact::<PyList>() {
                return self.items(key, list.iter(), true);
            }
            if let Ok(tuple) = object.cast_exact::<PyTuple>() {
                return self.items(key, tuple.iter(), false);
            }
            if key != Key::Results {
                return self.foreign();
            }
        }
        if let Ok(printed) = object.cast_exact::<PrintedObject>() {
            let printed = printed.get();
            return Value::Printed(Box::new(Printed {
                text: Text::new(printed.text.bind(object.py()).clone()),
                is_truthy: printed.is_truthy,
                number: printed.number.clone(),
            }));
        }
        let mut left = MAX_ELEMENTS;
        if !is_plain(object, MAX_DEPTH, &mut left) {
            return self.foreign();
        }
        match (object.str(), object.len()) {
            (Ok(text), Ok(len)) => Value::Printed(Box::new(Printed {
                text: Text::new(text),
                is_truthy: len > 0,
                number: None,
            })),
            _ => self.foreign(),
        }
    }

    fn items(
        &self,
        key: Key,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        is_list: bool,
    ) -> Value<Self> {
        let items = items.map(|item| {
            if key == Key::Results && item.is_exact_instance_of::<PyDict>() {
                return match DictFields::load(&item, self.is_foreign) {
                    Ok(Some(fields)) => Value::Map(Box::new(fields)),
                    _ => self.foreign(),
                };
            }
            // Any key but these three: an element that is a container is printed.
            self.value(Key::Goal, &item)
        });
        Value::List { items: items.collect(), is_list }
    }
}

impl<'py> Fields for DictFields<'_, 'py> {
    type Text = Text<'py>;

    fn get(&self, key: Key) -> Value<Self> {
        match self.slot(key) {
            Some(object) => self.value(key, object),
            None => Value::Missing,
        }
    }
}

/// Whether printing `object` runs no Python code: containers of exact built-in types all the way.
fn is_plain(object: &Bound<'_, PyAny>, depth: usize, left: &mut usize) -> bool {
    if depth == 0 || *left == 0 {
        return false;
    }
    *left -= 1;
    if let Ok(list) = object.cast_exact::<PyList>() {
        list.iter().all(|item| is_plain(&item, depth - 1, left))
    } else if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        tuple.iter().all(|item| is_plain(&item, depth - 1, left))
    } else if let Ok(dict) = object.cast_exact::<PyDict>() {
        dict.iter().all(|(key, value)| {
            is_plain(&key, depth - 1, left) && is_plain(&value, depth - 1, left)
        })
    } else {
        object.is_exact_instance_of::<PyString>()
            || object.is_exact_instance_of::<PyInt>()
            || object.is_exact_instance_of::<PyFloat>()
            || object.is_exact_instance_of::<PyBool>()
            || object.is_exact_instance_of::<PyNone>()
    }
}

/// An exact int; fails on one with more digits than Python is willing to print.
fn int(object: &Bound<'_, PyAny>) -> PyResult<Number> {
    match object.extract::<i64>() {
        Ok(number) => Ok(Number::Int(number)),
        Err(_) => Ok(Number::Big(object.str()?.to_str()?.to_owned())),
    }
}

/// The field of that name.
#[inline]
pub(super) fn field(name: &Bound<'_, PyString>) -> Option<Key> {
    KeyNames::get(name.py()).find(name)
}

/// Finds a field by the identity of its interned name; an equal but other str by its text.
struct KeyNames {
    /// Open addressing by address; a few dozen names in [`KeyNames::SLOTS`] places.
    slots: [Option<(usize, Key)>; KeyNames::SLOTS],
    /// Keeps the addresses valid.
    _names: Vec<Py<PyString>>,
}

impl KeyNames {
    const SLOTS: usize = 128;

    fn get(py: Python<'_>) -> &KeyNames {
        static NAMES: PyOnceLock<KeyNames> = PyOnceLock::new();
        NAMES.get_or_init(py, || {
            let mut slots = [None; KeyNames::SLOTS];
            let names = Key::ALL.iter().map(|&key| {
                let name = PyString::intern(py, key.name());
                let address = name.as_ptr() as usize;
                let mut place = KeyNames::place(address);
                while slots[place].is_some() {
                    place = (place + 1) % KeyNames::SLOTS;
                }
                slots[place] = Some((address, key));
                name.unbind()
            });
            let _names = names.collect();
            KeyNames { slots, _names }
        })
    }

    fn place(address: usize) -> usize {
        (address >> 4 ^ address >> 11) % KeyNames::SLOTS
    }

    fn find(&self, name: &Bound<'_, PyString>) -> Option<Key> {
        let address = name.as_ptr() as usize;
        let mut place = KeyNames::place(address);
        while let Some((known, key)) = self.slots[place] {
            if known == address {
                return Some(key);
            }
            place = (place + 1) % KeyNames::SLOTS;
        }
        // Held: without a UTF-8 form it makes an exception, and on 3.11 the collector may run then.
        let name = name.clone();
        Key::from_name(name.to_str().ok()?)
    }
}

fn system_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// `time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(instant))`; `None` where that raises.
fn local_time(py: Python<'_>, instant: &Number) -> PyResult<Option<String>> {
    #[cfg(unix)]
    if let Some(text) = local_time_in_c(instant) {
        return Ok(Some(text));
    }
    // Outside four digits platforms differ in how they write a year.
    let time = py.import("time")?;
    let (localtime, strftime) =
        (time.getattr(intern!(py, "localtime"))?, time.getattr(intern!(py, "strftime"))?);
    if !localtime.is_exact_instance_of::<PyCFunction>()
        || !strftime.is_exact_instance_of::<PyCFunction>()
    {
        // Somebody put Python code in their place, which must not run here.
        return Ok(None);
    }
    let moment = match instant {
        Number::Int(seconds) => localtime.call1((*seconds,))?,
        Number::Float(seconds) => localtime.call1((*seconds,))?,
        Number::Big(_) => return Ok(None),
    };
    Ok(Some(strftime.call1(("%Y-%m-%d %H:%M:%S", moment))?.extract()?))
}

/// The same for a year of four digits, by the C function that `time.localtime` calls.
#[cfg(unix)]
fn local_time_in_c(instant: &Number) -> Option<String> {
    let seconds = match instant {
        Number::Int(seconds) => *seconds,
        // As CPython's `_PyTime_ObjectToTime_t` rounds; far beyond what a year of four digits needs.
        Number::Float(seconds) if seconds.abs() < 1e15 => seconds.floor() as i64,
        _ => return None,
    };
    let seconds = libc::time_t::try_from(seconds).ok()?;
    // SAFETY: both point to values of the right type; the parts are filled in if the call succeeds.
    #[allow(unsafe_code)]
    let parts = unsafe {
        let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
        if libc::localtime_r(&seconds, parts.as_mut_ptr()).is_null() {
            return None;
        }
        parts.assume_init()
    };
    let year = parts.tm_year.checked_add(1900).filter(|year| (1000..=9999).contains(year))?;
    let mut text = *b"0000-00-00 00:00:00";
    let mut part = |at: usize, number: i32| {
        text[at] += (number / 10) as u8;
        text[at + 1] += (number % 10) as u8;
    };
    part(0, year / 100);
    part(2, year % 100);
    part(5, parts.tm_mon + 1);
    part(8, parts.tm_mday);
    part(11, parts.tm_hour);
    part(14, parts.tm_min);
    part(17, parts.tm_sec);
    String::from_utf8(text.to_vec()).ok()
}

/// Joins the pieces into one str without decoding and encoding the event's own texts.
fn join<'py>(py: Python<'py>, segments: Vec<Segment<Text<'py>>>) -> PyResult<Bound<'py, PyString>> {
    if let [Segment::Owned(text)] = segments.as_slice() {
        return PyString::from_bytes(py, text.as_bytes());
    }
    let piece = |segment: Segment<Text<'py>>| match segment {
        Segment::Literal(literal) => Ok(literal_text(py, literal)),
        Segment::Owned(text) => PyString::from_bytes(py, text.as_bytes()),
        Segment::Field(text) => Ok(text.into_inner()),
    };
    if segments.len() == 2 {
        let mut pieces = segments.into_iter().map(piece);
        if let (Some(first), Some(second)) = (pieces.next(), pieces.next()) {
            return Ok(first?.add(second?)?.cast_into()?);
        }
        return Err(memory::error(py));
    }
    let pieces = segments.into_iter().map(piece).collect::<PyResult<Vec<_>>>()?;
    let pieces = PyTuple::new(py, pieces)?;
    let separator = PyString::intern(py, "");
    // SAFETY: both are valid objects of the right type while attached; the call returns a new
    // reference to a str, or null with an exception set.
    #[allow(unsafe_code)]
    unsafe {
        let joined = ffi::PyUnicode_Join(separator.as_ptr(), pieces.as_ptr());
        Ok(Bound::from_owned_ptr_or_err(py, joined)?.cast_into_unchecked())
    }
}

/// A literal as a str, made once: decoding a dash costs more than all the rest of a short text.
fn literal_text(py: Python<'_>, literal: Literal) -> Bound<'_, PyString> {
    static TEXTS: PyOnceLock<[Py<PyString>; Literal::ALL.len()]> = PyOnceLock::new();
    let make = || Literal::ALL.map(|literal| PyString::new(py, literal.text()).unbind());
    TEXTS.get_or_init(py, make)[literal as usize].bind(py).clone()
}
