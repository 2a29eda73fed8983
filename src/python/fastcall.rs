//! `put(item)`, `get()` and `get(timeout=…)`, called just so, without PyO3's argument parser.
//!
//! These are the calls that every event makes, and the parser costs some 30 ns a call, about as much
//! as the queue itself. Any other form of the call, and what is to raise or to wait for room, is left
//! to the general method.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::exceptions::PySystemError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use super::queue::PyCompletionQueue;
use super::receipt::reopened;
use super::route::RouteTexts;
use crate::memory;
use crate::queue::Wanted;

type Method = ffi::PyCFunctionFastWithKeywords;

/// The general methods: `put`, `get`.
static GENERAL: PyOnceLock<[Py<PyAny>; 2]> = PyOnceLock::new();

const PUT: usize = 0;
const GET: usize = 1;

/// Puts the fast forms in front of the general ones.
pub(super) fn install(py: Python<'_>) -> PyResult<()> {
    if GENERAL.get(py).is_some() {
        // A second import of the module: the class is the same.
        return Ok(());
    }
    let class = py.get_type::<PyCompletionQueue>();
    let general = [class.getattr("put")?.unbind(), class.getattr("get")?.unbind()];
    let general = GENERAL.get_or_init(py, || general);
    for (index, name, method) in [(PUT, c"put", put as Method), (GET, c"get", get as Method)] {
        let signature: String = general[index].bind(py).getattr("__text_signature__")?.extract()?;
        let doc = format!("{}{signature}\n--\n\n", name.to_string_lossy());
        let doc = std::ffi::CString::new(doc)?;
        // Lives as long as the type does: for good.
        let definition = Box::leak(Box::new(ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: method },
            ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            ml_doc: doc.into_raw(),
        }));
        // SAFETY: the definition is never freed; the descriptor checks that `self` is of the class.
        #[allow(unsafe_code)]
        let descriptor = unsafe {
            let descriptor = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
            Bound::from_owned_ptr_or_err(py, descriptor)?
        };
        class.setattr(&*name.to_string_lossy(), descriptor)?;
    }
    Ok(())
}

#[allow(unsafe_code)]
unsafe extern "C" fn put(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: called by the interpreter, attached, with `count` arguments and a `self` of the class.
    unsafe {
        guarded(|py| {
            let queue = Borrowed::from_ptr(py, slf).cast_unchecked::<PyCompletionQueue>();
            let core = &queue.get().core;
            let is_simple = count == 1 && names.is_null() && !core.has_predicates();
            if is_simple && !memory::is_short() {
                let item = Borrowed::from_ptr(py, *args);
                if let Some(texts) = RouteTexts::plain(&item) {
                    match core.try_put(item.to_owned().unbind(), texts.route()) {
                        Ok(receipt) => {
                            reopened(py, receipt);
                            return ffi::Py_NewRef(ffi::Py_None());
                        }
                        // Not dropped by PyO3, which does not know here that it is attached.
                        Err((item, _)) => ffi::Py_DECREF(item.into_ptr()),
                    }
                }
            }
            general(py, PUT, slf, args, count, names)
        })
    }
}

#[allow(unsafe_code)]
unsafe extern "C" fn get(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: as in `put`.
    unsafe {
        guarded(|py| {
            let timeout = match count == 0 {
                true if names.is_null() => None,
                true if is_timeout(py, names) => Some(Borrowed::from_ptr(py, *args).to_owned()),
                _ => return general(py, GET, slf, args, count, names),
            };
            let queue = Borrowed::from_ptr(py, slf).cast_unchecked::<PyCompletionQueue>();
            let taken = queue.get().take(py, Wanted::default(), timeout.as_ref());
            answer(py, taken.map(Py::into_ptr))
        })
    }
}

/// Whether a call's only keyword is `timeout`, as the compiler spells it.
///
/// # Safety
/// `names` is the tuple of a call's keywords.
#[allow(unsafe_code)]
unsafe fn is_timeout(py: Python<'_>, names: *mut ffi::PyObject) -> bool {
    // SAFETY: as the caller says; the index is within the tuple.
    unsafe {
        ffi::PyTuple_Size(names) == 1
            && ffi::PyTuple_GetItem(names, 0) == intern!(py, "timeout").as_ptr()
    }
}

/// Runs the body of a method; a panic becomes an exception, as in PyO3's own methods.
///
/// # Safety
/// The caller is attached.
#[allow(unsafe_code)]
#[inline]
unsafe fn guarded(body: impl FnOnce(Python<'_>) -> *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: as the caller says.
    let py = unsafe { Python::assume_attached() };
    catch_unwind(AssertUnwindSafe(|| body(py))).unwrap_or_else(|_| {
        PanicException::new_err("a call of the completion queue panicked").restore(py);
        ptr::null_mut()
    })
}

/// Calls the general method with the arguments of a vectorcall.
///
/// # Safety
/// The arguments are those that the interpreter called a method with.
#[allow(unsafe_code)]
#[cold]
unsafe fn general(
    py: Python<'_>,
    method: usize,
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let result = (|| {
        let names = (!names.is_null()).then(|| {
            // SAFETY: a tuple of str, as the interpreter passes it.
            unsafe { Borrowed::from_ptr(py, names).cast_unchecked::<PyTuple>() }
        });
        let count = usize::try_from(count)?;
        let total = count + names.map_or(0, |names| names.len());
        // SAFETY: as many arguments follow as the counts say.
        let value = |index: usize| unsafe { Borrowed::from_ptr(py, *args.add(index)) };
        // SAFETY: the object whose method is called.
        let slf = unsafe { Borrowed::from_ptr(py, slf) };
        let positional = std::iter::once(slf).chain((0..count).map(value));
        let positional = PyTuple::new(py, positional.collect::<Vec<_>>())?;
        let named = PyDict::new(py);
        for (name, index) in names.iter().flat_map(|names| names.iter()).zip(count..total) {
            named.set_item(name, value(index))?;
        }
        let methods = GENERAL.get(py).ok_or_else(|| PySystemError::new_err("no such method"))?;
        methods[method].bind(py).call(positional, Some(&named))
    })();
    answer(py, result.map(Bound::into_ptr))
}

/// What a method returns, or the exception it raises.
fn answer(py: Python<'_>, result: PyResult<*mut ffi::PyObject>) -> *mut ffi::PyObject {
    result.unwrap_or_else(|error| {
        error.restore(py);
        ptr::null_mut()
    })
}
