//! Where the queue files a Python object: what an event's dict says of its kind and its owner.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::CStr;
use std::slice;
use std::sync::Arc;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString};

use super::memory;
use crate::event::{self, Owner, Route, kind};

/// What the spelling of a str begins with that is not compared as it is.
const MARK: char = '\u{fffd}';

/// A str as the core compares it: two are equal there if and only if they are equal in Python.
///
/// UTF-8 has no lone surrogates; a str with any is spelled by its bytes, behind a mark, and so is
/// one that begins with the mark.
pub(super) fn key_text<'a>(value: &'a Bound<'_, PyString>) -> Cow<'a, str> {
    checked_text(value).unwrap_or_else(|_| value.to_string_lossy())
}

/// The same of a str that may be of any length; raises MemoryError.
#[inline]
pub(super) fn checked_text<'a>(value: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, str>> {
    match plain(value.as_borrowed()) {
        Some(text) => Ok(Cow::Borrowed(text)),
        None => spelled(value).map(Cow::Owned),
    }
}

/// A copy of it; raises MemoryError.
pub(super) fn owned_text(value: &Bound<'_, PyString>) -> PyResult<String> {
    match checked_text(value)? {
        Cow::Borrowed(text) => memory::copy(value.py(), text).map(Into::into),
        Cow::Owned(text) => Ok(text),
    }
}

/// The str that [`key_text`] made `text` of.
pub(super) fn unspelled<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    match text.strip_prefix(MARK).and_then(bytes_of) {
        Some(bytes) => {
            let decoded = PyBytes::new(py, &bytes)
                .call_method1(intern!(py, "decode"), ("utf-8", "surrogatepass"));
            decoded?.cast_into::<PyString>().map_err(PyErr::from)
        }
        // One that nobody here has spelled stays as it is.
        None => Ok(PyString::new(py, text)),
    }
}

/// A text as the core compares it, for Python to get as the str that it stands for.
pub(super) struct Spelled(pub(super) Arc<str>);

impl<'py> IntoPyObject<'py> for Spelled {
    type Target = PyString;
    type Output = Bound<'py, PyString>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        unspelled(py, &self.0)
    }
}

/// The bytes that a text of hexadecimal digits stands for.
#[cold]
fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// The text of a str that is compared as it is.
#[inline]
fn plain<'a>(value: Borrowed<'a, '_, PyString>) -> Option<&'a str> {
    let mut length = 0;
    // SAFETY: attached, and the object is a str; it keeps its UTF-8 form, of that length, as long
    // as it lives. Without one an exception is set, and cleared.
    #[allow(unsafe_code)]
    let text = unsafe {
        let bytes = ffi::PyUnicode_AsUTF8AndSize(value.as_ptr(), &mut length);
        if bytes.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        let length = usize::try_from(length).ok()?;
        std::str::from_utf8_unchecked(slice::from_raw_parts(bytes.cast(), length))
    };
    // Most texts differ from the mark in the first byte.
    let is_marked = text.as_bytes().first() == Some(&0xEF) && text.starts_with(MARK);
    (!is_marked).then_some(text)
}

#[cold]
fn spelled(value: &Bound<'_, PyString>) -> PyResult<String> {
    let py = value.py();
    let encoded = py
        .get_type::<PyString>()
        .call_method1(intern!(py, "encode"), (value, "utf-8", "surrogatepass"))?;
    let bytes: &[u8] = encoded.extract()?;
    let mut text = memory::text_of(py, MARK.len_utf8() + 2 * bytes.len())?;
    text.push(MARK);
    for byte in bytes {
        text.extend(
            [byte >> 4, byte & 0xF].map(|digit| char::from(b"0123456789abcdef"[digit as usize])),
        );
    }
    Ok(text)
}

/// The names that file an event, in the order of [`RouteTexts::found`].
const NAMES: [&CStr; 3] = [c"type", c"session_key", c"delegation_id"];

/// Where the session key is among them.
const SESSION_KEY: usize = 1;

/// The same, interned.
struct Names([Py<PyString>; 3]);

impl Names {
    fn get(py: Python<'_>) -> &'static Self {
        static INTERNED: PyOnceLock<Names> = PyOnceLock::new();
        INTERNED.get_or_init(py, || {
            Names(NAMES.map(|name| PyString::intern(py, &name.to_string_lossy()).unbind()))
        })
    }

    /// Which of them a dict's key is.
    #[inline]
    fn position(&self, key: Borrowed<'_, '_, PyAny>) -> Option<usize> {
        self.0.iter().position(|name| name.as_ptr() == key.as_ptr()).or_else(|| self.equal(key))
    }

    /// Which of them a key is that is another object.
    fn equal(&self, key: Borrowed<'_, '_, PyAny>) -> Option<usize> {
        let key = key.cast_exact::<PyString>().ok()?;
        let is_candidate = matches!(key.len(), Ok(4 | 11 | 13));
        // SAFETY: attached, and both are a str and a C string; it fails on no text.
        #[allow(unsafe_code)]
        let is = |name: &CStr| unsafe {
            ffi::PyUnicode_CompareWithASCIIString(key.as_ptr(), name.as_ptr()) == 0
        };
        is_candidate.then(|| NAMES.iter().position(|name| is(name))).flatten()
    }
}

/// A field's text, if it is there and is a str.
#[inline]
fn text<S: AsRef<str>>(field: &Option<Option<S>>) -> Option<&str> {
    Some(field.as_ref()?.as_ref()?.as_ref())
}

/// The texts that file an object, as borrowed or owned ones.
pub(super) struct RouteTexts<S> {
    is_event: bool,
    /// Kind, session key and delegation: whether the event has the field, and whether it is a str.
    /// A session key that is None is none.
    found: [Option<Option<S>>; 3],
}

impl<S: AsRef<str>> RouteTexts<S> {
    /// Reads what files `item`; `None` as soon as `read` has nothing for a str.
    ///
    /// Looks through a dict by itself: the dict's lookup could run a key's own `__eq__`. Only a
    /// `read` of a str without a UTF-8 form may run Python code: on 3.11 the collector, as it makes
    /// an exception. What was borrowed before must then not be used.
    #[inline]
    fn of<'a>(
        item: &'a Bound<'_, PyAny>,
        read: impl Fn(Borrowed<'a, '_, PyString>) -> Option<S>,
    ) -> Option<Self> {
        let mut texts = Self { is_event: false, found: [None, None, None] };
        let Ok(event) = item.cast::<PyDict>() else { return Some(texts) };
        texts.is_event = true;
        let py = event.py();
        let names = Names::get(py);
        let (mut place, mut name, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: attached throughout; the value that is read is held, and nothing else that the
        // dict lends is used after `read` may have changed it.
        #[allow(unsafe_code)]
        while unsafe { ffi::PyDict_Next(event.as_ptr(), &mut place, &mut name, &mut value) } != 0 {
            let (name, value): (Borrowed<'a, '_, PyAny>, Borrowed<'a, '_, PyAny>) =
                unsafe { (Borrowed::from_ptr(py, name), Borrowed::from_ptr(py, value)) };
            let Some(position) = names.position(name) else { continue };
            texts.found[position] = match value.cast::<PyString>() {
                Ok(value) => {
                    let _held = value.to_owned();
                    Some(Some(read(value)?))
                }
                Err(_) if position == SESSION_KEY && value.is_none() => None,
                Err(_) => Some(None),
            };
            if texts.is_complete() {
                break;
            }
        }
        Some(texts)
    }

    /// Whether the rest of the dict cannot matter: only a delegation's event has a delegation.
    #[inline]
    fn is_complete(&self) -> bool {
        let [Some(kind), Some(_), delegation_id] = &self.found else { return false };
        delegation_id.is_some()
            || kind.as_ref().is_none_or(|kind| kind.as_ref() != kind::ASYNC_DELEGATION)
    }

    /// The route.
    #[inline]
    pub(super) fn route(&self) -> Route<'_> {
        if !self.is_event {
            return Route::default();
        }
        let [kind, session_key, delegation_id] = &self.found;
        let kind = match kind {
            None => Some(kind::COMPLETION),
            kind => text(kind),
        };
        let delegation_id = match kind {
            Some(kind::ASYNC_DELEGATION) => text(delegation_id),
            _ => None,
        };
        // One that is no str is no owner's, and not nobody's: only a consumer of everything takes it.
        let session_key = match session_key {
            None => Some(""),
            key => text(key),
        };
        Route { kind, session_key, delegation_id, ..Route::default() }
    }
}

impl<'a> RouteTexts<&'a str> {
    /// The texts of `item` if each is compared as it is. They must be done with before any Python
    /// code runs.
    #[inline]
    pub(super) fn plain(item: &'a Bound<'_, PyAny>) -> Option<Self> {
        Self::of(item, plain)
    }
}

impl RouteTexts<String> {
    /// The texts of `item`, to outlive the look at it; raises MemoryError.
    pub(super) fn owned(item: &Bound<'_, PyAny>) -> PyResult<Self> {
        let raised = Cell::new(None);
        let texts = Self::of(item, |text| match owned_text(&text) {
            Ok(text) => Some(text),
            Err(error) => {
                raised.set(Some(error));
                None
            }
        });
        texts.ok_or_else(|| raised.take().unwrap_or_else(|| memory::error(item.py())))
    }
}

/// Files `item` under its kind, session key and delegation, with its whole address if that is asked
/// for, and passes the route to `use_route`, which must neither detach nor run Python code: the
/// route is read from the item as it is.
pub(super) fn with_route<R>(
    item: &Bound<'_, PyAny>,
    wants_full: bool,
    use_route: impl FnOnce(Route<'_>) -> R,
) -> PyResult<R> {
    // First: this may run Python code.
    let full = if wants_full { full_address(item)? } else { None };
    let full = full.as_deref();
    Ok(match RouteTexts::plain(item) {
        Some(texts) => use_route(Route { full, ..texts.route() }),
        None => use_route(Route { full, ..RouteTexts::owned(item)?.route() }),
    })
}

/// The fields that say whose a delegation's event is.
const OWNER: [&CStr; 3] = [c"session_key", c"origin_ui_session_id", c"parent_session_id"];

/// An event's kind and all that it says of its owner, as one text; `None` if it is nobody's. Raises
/// MemoryError.
pub(super) fn full_address(item: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    let py = item.py();
    let Ok(event) = item.cast::<PyDict>() else { return Ok(None) };
    let mut found = [(); 3].map(|()| Box::<str>::default());
    // A copy: to read a str may run Python code, which may change the dict.
    for (name, value) in event.copy()?.iter() {
        let (Ok(name), Ok(value)) = (name.cast_exact::<PyString>(), value.cast::<PyString>())
        else {
            continue;
        };
        let is = |field: &CStr| name.to_str().is_ok_and(|name| field.to_str() == Ok(name));
        if let Some(position) = OWNER.iter().position(|field| is(field)) {
            found[position] = owned_text(value)?.into();
        }
    }
    let texts = RouteTexts::owned(item)?;
    // A session key that is no str: no owner's, whatever else it says.
    if texts.route().session_key.is_none() {
        return Ok(None);
    }
    let [session_key, origin_ui_session_id, parent_session_id] = found;
    let owner = Owner { session_key, origin_ui_session_id, parent_session_id, epoch: None };
    let full = event::full_address(texts.route().kind.unwrap_or_default(), &owner);
    full.map_err(|_| memory::error(py))
}
