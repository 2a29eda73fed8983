//! Text built from the words that matter to it.

use arbitrary::{Result, Unstructured};

use crate::judge::{LABELS, LINE_BREAKS, MARKERS, REFERENCES};

/// The most pieces in one text.
const PIECES: usize = 12;

/// Code points, lone surrogates among them.
pub(crate) fn units(u: &mut Unstructured<'_>) -> Result<Vec<u32>> {
    let mut units = Vec::new();
    for _ in 0..u.int_in_range(0..=PIECES)? {
        match u.int_in_range(0..=9)? {
            0 => push(&mut units, u.choose(&MARKERS)?),
            1 => push(&mut units, u.choose(&LABELS)?),
            2 => push(&mut units, u.choose(&REFERENCES)?),
            3 => push(&mut units, &u.choose(&MARKERS)?.to_uppercase()),
            4 => units.push(u32::from(*u.choose(&LINE_BREAKS)?)),
            5 => units.push(u32::from(u.arbitrary::<char>()?)),
            6 => units.push(u.int_in_range(0xD800..=0xDFFF)?),
            7 => units.extend(vec![u32::from(b'x'); usize::from(u.arbitrary::<u8>()?)]),
            8 => {
                // The beginning of a word.
                let word = u.choose(&MARKERS)?;
                let kept = u.int_in_range(0..=word.chars().count())?;
                units.extend(word.chars().take(kept).map(u32::from));
            }
            _ => push(&mut units, u.arbitrary()?),
        }
    }
    Ok(units)
}

fn push(units: &mut Vec<u32>, text: &str) {
    units.extend(text.chars().map(u32::from));
}
