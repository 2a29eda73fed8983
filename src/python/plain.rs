//! Leaf functions for plain data: its JSON, its texts, and a copy of it with other texts.
//!
//! Plain data is made of exact dicts with exact str as keys, lists, tuples, str, int, float, bool
//! and None, nested no deeper than [`DEPTH`]. A leaf runs no Python code, so nothing changes under
//! it. It returns `None` on anything else: the caller then makes the value plain, in Python.

use std::collections::HashMap;
use std::io;

use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyString, PyTuple};
use serde::Serialize;

use super::memory;
use super::notification::field;
use super::text::is_cheap;
use crate::memory::Room;
use crate::text::fields::Key;

/// How deep readers follow a nested value; `text/json.py` has the same number.
const DEPTH: usize = 100;

/// The JSON text of plain data; `None` also where a text has a lone surrogate, where a number is
/// none or infinite, and where an int has more than 64 bits. Raises MemoryError.
#[pyfunction]
pub(super) fn to_json<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyString>>> {
    let py = value.py();
    let mut json = Json { text: Vec::with_capacity(1024), is_short: false };
    match json.value(value.as_borrowed(), 0) {
        Some(()) => PyString::from_bytes(py, &json.text).map(Some),
        None if json.is_short => Err(memory::error(py)),
        None => Ok(None),
    }
}

/// The texts in a list of plain data, in the order in which [`replace_texts`] takes others: but for
/// what fields are called, and for a status that is one of `statuses`.
#[pyfunction]
pub(super) fn list_texts<'py>(
    values: &Bound<'py, PyList>,
    statuses: &Bound<'py, PyFrozenSet>,
) -> PyResult<Option<Bound<'py, PyList>>> {
    let found = PyList::empty(values.py());
    let mut list = Listing { fields: Fields::new(), found: &found, statuses };
    for value in values.iter() {
        if !list.add(&value, 0)? {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

/// A copy of a list of plain data with `texts` in the place of those that [`list_texts`] gave;
/// `None` where it has changed since, and does not have as many. Where two keys become the same,
/// numbers tell them apart.
#[pyfunction]
pub(super) fn replace_texts<'py>(
    values: &Bound<'py, PyList>,
    texts: &Bound<'py, PyList>,
    statuses: &Bound<'py, PyFrozenSet>,
) -> PyResult<Option<Bound<'py, PyList>>> {
    let mut copy = Copy { fields: Fields::new(), texts: texts.iter(), statuses };
    let mut copied = Vec::with_capacity(values.len());
    for value in values.iter() {
        match copy.of(&value, 0)? {
            Some(value) => copied.push(value),
            None => return Ok(None),
        }
    }
    match copy.texts.next() {
        Some(_) => Ok(None),
        None => PyList::new(values.py(), copied).map(Some),
    }
}

/// A value as a leaf sees it.
enum Kind<'a, 'py> {
    Text(Borrowed<'a, 'py, PyString>),
    Dict(Borrowed<'a, 'py, PyDict>),
    List(Borrowed<'a, 'py, PyList>),
    Tuple(Borrowed<'a, 'py, PyTuple>),
    Float(f64),
    Int,
    Bool(bool),
    None,
    Foreign,
}

fn kind<'a, 'py>(value: Borrowed<'a, 'py, PyAny>) -> Kind<'a, 'py> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        Kind::Text(text)
    } else if value.is_none() {
        Kind::None
    } else if value.is_exact_instance_of::<PyInt>() {
        Kind::Int
    } else if let Ok(float) = value.cast_exact::<PyFloat>() {
        Kind::Float(float.value())
    } else if let Ok(dict) = value.cast_exact::<PyDict>() {
        Kind::Dict(dict)
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        Kind::List(list)
    } else if let Ok(flag) = value.cast_exact::<PyBool>() {
        Kind::Bool(flag.is_true())
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        Kind::Tuple(tuple)
    } else {
        Kind::Foreign
    }
}

/// The entries of a dict; a pair stays valid as long as no code runs that may change the dict.
struct Entries<'a, 'py> {
    dict: Borrowed<'a, 'py, PyDict>,
    place: ffi::Py_ssize_t,
}

impl<'a, 'py> Entries<'a, 'py> {
    fn of(dict: Borrowed<'a, 'py, PyDict>) -> Self {
        Entries { dict, place: 0 }
    }
}

impl<'a, 'py> Iterator for Entries<'a, 'py> {
    type Item = (Borrowed<'a, 'py, PyAny>, Borrowed<'a, 'py, PyAny>);

    fn next(&mut self) -> Option<Self::Item> {
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        let dict = self.dict.as_ptr();
        // SAFETY: attached; the place is the dict's own, and what it gives lives as said above.
        #[allow(unsafe_code)]
        unsafe {
            let found = ffi::PyDict_Next(dict, &mut self.place, &mut key, &mut value);
            let py = self.dict.py();
            (found != 0).then(|| (Borrowed::from_ptr(py, key), Borrowed::from_ptr(py, value)))
        }
    }
}

/// Plain data on its way to JSON; each step fails on what is foreign.
struct Json {
    text: Vec<u8>,
    // Whether it was memory that failed.
    is_short: bool,
}

impl Json {
    fn value(&mut self, value: Borrowed<'_, '_, PyAny>, depth: usize) -> Option<()> {
        match kind(value) {
            Kind::Text(text) => self.string(text)?,
            Kind::None => self.raw(b"null")?,
            Kind::Bool(true) => self.raw(b"true")?,
            Kind::Bool(false) => self.raw(b"false")?,
            Kind::Int => match int(value) {
                Some(number) => self.library(&number)?,
                None => self.library(&value.extract::<u64>().ok()?)?,
            },
            Kind::Float(number) if number.is_finite() => self.library(&number)?,
            Kind::Float(_) | Kind::Foreign => return None,
            // In a circle, for one.
            _ if depth == DEPTH => return None,
            Kind::Dict(dict) => {
                self.raw(b"{")?;
                for (key, value) in Entries::of(dict) {
                    self.string(key.cast_exact::<PyString>().ok()?)?;
                    self.raw(b":")?;
                    self.value(value, depth + 1)?;
                    self.raw(b",")?;
                }
                self.close(b'}')?;
            }
            Kind::List(list) => {
                self.raw(b"[")?;
                for item in list.iter() {
                    self.item(item.as_borrowed(), depth)?;
                }
                self.close(b']')?;
            }
            Kind::Tuple(tuple) => {
                self.raw(b"[")?;
                for item in tuple.iter_borrowed() {
                    self.item(item, depth)?;
                }
                self.close(b']')?;
            }
        }
        Some(())
    }

    fn item(&mut self, item: Borrowed<'_, '_, PyAny>, depth: usize) -> Option<()> {
        self.value(item, depth + 1)?;
        self.raw(b",")?;
        Some(())
    }

    fn close(&mut self, end: u8) -> Option<()> {
        match self.text.last_mut() {
            Some(last) if *last == b',' => *last = end,
            _ => self.raw(&[end])?,
        }
        Some(())
    }

    #[inline]
    fn raw(&mut self, bytes: &[u8]) -> Option<()> {
        self.room_for(bytes.len())?;
        self.text.extend_from_slice(bytes);
        Some(())
    }

    #[inline]
    fn room_for(&mut self, bytes: usize) -> Option<()> {
        let room = self.text.room_for(bytes);
        self.is_short |= room.is_err();
        room.ok()
    }

    fn string(&mut self, string: Borrowed<'_, '_, PyString>) -> Option<()> {
        if is_cheap(&string) {
            return self.quoted(string.to_str().ok()?);
        }
        // In memory of its own, which goes at once.
        let bytes = match string.encode_utf8() {
            Ok(bytes) => bytes,
            Err(error) => {
                self.is_short = error.is_instance_of::<PyMemoryError>(string.py());
                return None;
            }
        };
        self.quoted(std::str::from_utf8(bytes.as_bytes()).ok()?)
    }

    fn quoted(&mut self, string: &str) -> Option<()> {
        // Written so that the compiler looks at many bytes at once.
        let is_escaped = |byte: u8| u8::from((byte < 0x20) | (byte == b'"') | (byte == b'\\'));
        if string.bytes().fold(0, |found, byte| found | is_escaped(byte)) != 0 {
            return self.library(string);
        }
        self.room_for(string.len() + 2)?;
        self.text.push(b'"');
        self.text.extend_from_slice(string.as_bytes());
        self.text.push(b'"');
        Some(())
    }

    fn library(&mut self, value: &(impl Serialize + ?Sized)) -> Option<()> {
        serde_json::to_writer(self, value).ok()
    }
}

impl io::Write for &mut Json {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.raw(bytes).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An exact int, if it has no more than 64 bits. It makes no exception: on 3.11 the collector may
/// run then, and Python code with it.
fn int(value: Borrowed<'_, '_, PyAny>) -> Option<i64> {
    let mut overflow = 0;
    // SAFETY: attached; of an exact int, this runs no code and cannot fail.
    #[allow(unsafe_code)]
    let number = unsafe { ffi::PyLong_AsLongLongAndOverflow(value.as_ptr(), &mut overflow) };
    (overflow == 0).then_some(number)
}

/// What keys are fields of. The same keys come again and again: the last ones are remembered.
struct Fields<'py> {
    seen: [Option<(Bound<'py, PyString>, Option<Key>)>; Fields::PLACES],
}

impl<'py> Fields<'py> {
    const PLACES: usize = 64;

    fn new() -> Self {
        Fields { seen: [const { None }; Fields::PLACES] }
    }

    fn find(&mut self, name: &Bound<'py, PyString>) -> Option<Key> {
        let address = name.as_ptr() as usize;
        let place = &mut self.seen[(address >> 4 ^ address >> 10) % Fields::PLACES];
        match place {
            Some((known, key)) if known.is(name) => *key,
            _ => place.insert((name.clone(), field(name))).1,
        }
    }
}

/// Lists the texts of plain data.
struct Listing<'a, 'py> {
    fields: Fields<'py>,
    found: &'a Bound<'py, PyList>,
    statuses: &'a Bound<'py, PyFrozenSet>,
}

impl<'py> Listing<'_, 'py> {
    /// Adds those of a value; whether it is plain.
    fn add(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> PyResult<bool> {
        match kind(value.as_borrowed()) {
            Kind::Text(text) => self.found.append(text)?,
            Kind::Int | Kind::Float(_) | Kind::Bool(_) | Kind::None => {}
            Kind::Foreign => return Ok(false),
            _ if depth == DEPTH => return Ok(false),
            Kind::List(list) => return self.add_all(list.iter(), depth),
            Kind::Tuple(tuple) => return self.add_all(tuple.iter(), depth),
            Kind::Dict(dict) => {
                for (key, value) in Entries::of(dict) {
                    let (key, value) = (key.to_owned(), value.to_owned());
                    let Ok(key) = key.cast_exact::<PyString>() else { return Ok(false) };
                    let field = self.fields.find(key);
                    if field.is_none() {
                        self.found.append(key)?;
                    }
                    if !is_status(field, &value, self.statuses)? && !self.add(&value, depth + 1)? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    fn add_all(
        &mut self,
        mut items: impl Iterator<Item = Bound<'py, PyAny>>,
        depth: usize,
    ) -> PyResult<bool> {
        items.try_fold(true, |is_plain, item| Ok(is_plain && self.add(&item, depth + 1)?))
    }
}

/// Copies plain data, with other texts in the place of those listed.
struct Copy<'a, 'py> {
    fields: Fields<'py>,
    texts: pyo3::types::list::BoundListIterator<'py>,
    statuses: &'a Bound<'py, PyFrozenSet>,
}

impl<'py> Copy<'_, 'py> {
    /// The copy of a value. Making one may let the collector run, and Python code with it: what is
    /// looked at here is held, and where texts are too few then, there is no copy.
    fn of(
        &mut self,
        value: &Bound<'py, PyAny>,
        depth: usize,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = value.py();
        Ok(match kind(value.as_borrowed()) {
            Kind::Text(_) => self.text(),
            Kind::Int | Kind::Float(_) | Kind::Bool(_) | Kind::None => Some(value.clone()),
            Kind::Foreign => None,
            _ if depth == DEPTH => None,
            Kind::List(list) => self.list(py, list.iter(), depth)?,
            Kind::Tuple(tuple) => self.list(py, tuple.iter(), depth)?,
            Kind::Dict(dict) => self.dict(&dict, depth)?.map(Bound::into_any),
        })
    }

    /// The copy of a dict: one as it is, with what is other in it.
    fn dict(
        &mut self,
        dict: &Bound<'py, PyDict>,
        depth: usize,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let copy = dict.copy()?;
        let mut entries = Vec::with_capacity(copy.len());
        let mut has_other_keys = false;
        for (key, value) in Entries::of(copy.as_borrowed()) {
            let (key, value) = (key.to_owned(), value.to_owned());
            let Ok(name) = key.cast_exact::<PyString>() else { return Ok(None) };
            let field = self.fields.find(name);
            let name = if field.is_some() { Some(key.clone()) } else { self.text() };
            let other = match is_status(field, &value, self.statuses)? {
                true => Some(value.clone()),
                false => self.of(&value, depth + 1)?,
            };
            let (Some(name), Some(other)) = (name, other) else { return Ok(None) };
            has_other_keys |= !name.is(&key);
            if !other.is(&value) {
                copy.set_item(key, &other)?;
            }
            entries.push((name, other));
        }
        if has_other_keys { dict_of(dict.py(), &entries).map(Some) } else { Ok(Some(copy)) }
    }

    fn text(&mut self) -> Option<Bound<'py, PyAny>> {
        self.texts.next().filter(|text| text.is_exact_instance_of::<PyString>())
    }

    fn list(
        &mut self,
        py: Python<'py>,
        items: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
        depth: usize,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut copied = Vec::with_capacity(items.len());
        for item in items {
            match self.of(&item, depth + 1)? {
                Some(item) => copied.push(item),
                None => return Ok(None),
            }
        }
        Ok(Some(PyList::new(py, copied)?.into_any()))
    }
}

/// Whether a value is a status that says only what it means.
fn is_status(
    field: Option<Key>,
    value: &Bound<'_, PyAny>,
    statuses: &Bound<'_, PyFrozenSet>,
) -> PyResult<bool> {
    Ok(field == Some(Key::Status)
        && value.is_exact_instance_of::<PyString>()
        && statuses.contains(value)?)
}

/// A dict of these entries. Where keys are the same, numbers tell them apart.
fn dict_of<'py>(
    py: Python<'py>,
    entries: &[(Bound<'py, PyAny>, Bound<'py, PyAny>)],
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in entries {
        dict.set_item(key, value)?;
    }
    if dict.len() == entries.len() {
        return Ok(dict);
    }
    dict.clear();
    let mut numbers = HashMap::new();
    for (key, value) in entries {
        let mut name = key.clone();
        while dict.contains(&name)? {
            let number = numbers.entry(key.str()?.to_string_lossy().into_owned()).or_insert(1);
            *number += 1;
            name = key.add(format!(" ({number})"))?;
        }
        dict.set_item(name, value)?;
    }
    Ok(dict)
}
