//! What people and models read: notices, and how text of strangers is kept from posing as ours.

mod controls;
pub mod fields;
mod line;
mod look;
pub mod notification;
pub mod sanitize;
mod scan;
pub mod session_key;
