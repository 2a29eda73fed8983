//! A Python str as the formatter reads it: decoded only as far as needed, never twice, and without
//! leaving a UTF-8 copy of a large text behind on the object.

use std::borrow::Cow;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::text::fields::{Decoded, FieldText};
use crate::text::sanitize::{Place, is_suspicious_ucs4, repair_wtf8};

/// Up to this many characters a text may keep the UTF-8 copy that CPython caches on it.
const CACHED_CHARS: usize = 2048;

/// Characters per piece of a large text; its UCS-4 form fits the first-level cache.
const PIECE: usize = 4096;

/// A handle to an exact str.
#[derive(Clone)]
pub(super) struct Text<'py> {
    text: Bound<'py, PyString>,
    chars: usize,
}

/// Whether the UTF-8 form of an exact str costs no lasting memory to speak of: of ASCII it is the
/// str itself.
#[inline]
pub(super) fn is_cheap(text: &Bound<'_, PyString>) -> bool {
    length(text) <= CACHED_CHARS || is_ascii(text)
}

fn length(text: &Bound<'_, PyString>) -> usize {
    // SAFETY: the object is a str, so this reads its length and cannot fail.
    #[allow(unsafe_code)]
    let chars = unsafe { ffi::PyUnicode_GetLength(text.as_ptr()) };
    chars.try_into().unwrap_or(0)
}

#[cold]
fn is_ascii(text: &Bound<'_, PyString>) -> bool {
    let answer = text.call_method0(intern!(text.py(), "isascii"));
    answer.is_ok_and(|answer| answer.is_truthy().unwrap_or(false))
}

impl<'py> Text<'py> {
    pub(super) fn new(text: Bound<'py, PyString>) -> Self {
        Text { chars: length(&text), text }
    }

    pub(super) fn into_inner(self) -> Bound<'py, PyString> {
        self.text
    }

    pub(super) fn to_lossy(&self) -> String {
        self.decode().text.into_owned()
    }

    /// The text as UTF-8 in which a lone surrogate is three bytes of its own.
    pub(super) fn wtf8(&self) -> PyResult<Cow<'_, [u8]>> {
        if self.is_cheap() {
            if let Ok(text) = self.text.to_str() {
                return Ok(Cow::Borrowed(text.as_bytes()));
            }
        }
        self.encode().map(Cow::Owned)
    }

    /// The same, in memory of its own.
    fn encode(&self) -> PyResult<Vec<u8>> {
        // CPython's cache of attributes would keep a name that is made for each call.
        let encode = intern!(self.text.py(), "encode");
        let encoded = self.text.call_method1(encode, ("utf-8", "surrogatepass"))?;
        Ok(encoded.cast::<PyBytes>()?.as_bytes().to_vec())
    }

    #[inline]
    fn is_cheap(&self) -> bool {
        self.chars <= CACHED_CHARS || is_ascii(&self.text)
    }

    /// Whether any piece of the text needs a closer look.
    fn is_suspicious(&self) -> bool {
        let chars = self.chars;
        let mut units = [0_u32; PIECE + 1];
        // Pieces overlap by one character, as what makes two of them suspicious may be parted.
        for start in (0..chars).step_by(PIECE) {
            let end = (start + PIECE + 1).min(chars);
            let Some(piece) = self.copy_ucs4(start, end, &mut units) else { return true };
            if is_suspicious_ucs4(piece) {
                return true;
            }
        }
        false
    }

    /// Characters `start..end` in the first places of `units`.
    fn copy_ucs4<'u>(&self, start: usize, end: usize, units: &'u mut [u32]) -> Option<&'u [u32]> {
        let (from, to) = (start.try_into().ok()?, end.try_into().ok()?);
        let room = units.len().try_into().ok()?;
        // SAFETY: the object is a str and `from..to` lies within it; the substring is a new
        // reference; no more than `room` units are written, without a final null.
        #[allow(unsafe_code)]
        unsafe {
            let piece = ffi::PyUnicode_Substring(self.text.as_ptr(), from, to);
            let piece = Bound::from_owned_ptr_or_opt(self.text.py(), piece)?;
            if ffi::PyUnicode_AsUCS4(piece.as_ptr(), units.as_mut_ptr(), room, 0).is_null() {
                ffi::PyErr_Clear();
                return None;
            }
        }
        units.get(..end - start)
    }
}

impl FieldText for Text<'_> {
    fn is_empty(&self) -> bool {
        self.chars == 0
    }

    fn size(&self) -> usize {
        let is_ascii = self.chars > CACHED_CHARS && is_ascii(&self.text);
        if is_ascii { self.chars } else { self.chars.saturating_mul(4) }
    }

    fn is_lent(&self) -> bool {
        self.is_cheap()
    }

    fn decode(&self) -> Decoded<'_> {
        if self.is_cheap() {
            if let Ok(text) = self.text.to_str() {
                return Decoded { text: Cow::Borrowed(text), is_repaired: false };
            }
        }
        let bytes = self.encode().unwrap_or_else(|_| "<unreadable text>".into());
        let (text, is_repaired) = repair_wtf8(bytes);
        Decoded { text: Cow::Owned(text), is_repaired }
    }

    fn is(&self, word: &str) -> bool {
        self.chars <= CACHED_CHARS && self.decode().text == word
    }

    fn is_known_clean(&self, place: Place) -> bool {
        place != Place::Header && !self.is_cheap() && !self.is_suspicious()
    }
}
