//! A damaged file is set aside, and every row that can be read is carried over into a new one.

use super::file::Place;
use super::trouble::Trouble;
use crate::ledger::Millis;

/// Sets the file aside; what its user should know.
pub(super) fn set_aside(place: &Place, reason: &str, _now: Millis) -> Result<String, Trouble> {
    let path = super::trouble::shown(&place.path);
    Err(Trouble::Failed(crate::error::Error::LedgerDamaged { path, reason: reason.into() }))
}
