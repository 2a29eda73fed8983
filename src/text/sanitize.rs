//! Keeps untrusted text from speaking with the gateway's voice.
//!
//! Text of a subagent or a process is data. As it stands it could open a line with one of the markers
//! that the model reads as the gateway's own, or hold a reference (`@file:…`, `[Pasted text …]`)
//! that the gateway expands into the contents of a file when the notification is injected.

use std::borrow::Cow;
use std::ops::ControlFlow;

pub use crate::text::line::Place;

use crate::text::controls;
use crate::text::line::{QUOTE, is_line_break, is_unseen, opens_with_label, opens_with_marker};
use crate::text::scan::{BLOCK, find, scan};

/// What follows `@` in a reference that the gateway expands.
const REFERENCES: [&str; 6] = ["file:", "folder:", "git:", "url:", "diff", "staged"];

/// How a paste placeholder of the CLI begins.
const PASTED: &str = "[Pasted";

const WORD_JOINER: &str = "\u{2060}";

/// Where to insert what.
type Edit = (usize, &'static str);

/// `text`, safe to stand at `place`: forged markers are quoted with `> `, references and paste
/// placeholders broken with U+2060, and what moves a terminal's cursor to forge a marker becomes a
/// picture of itself. Borrowed when there is nothing to change.
#[must_use]
pub fn sanitize(text: &str, place: Place) -> Cow<'_, str> {
    let leads = if place == Place::Header { OPENING | BREAK } else { OPENING };
    if text.len() <= BLOCK && find(text.as_bytes(), 0, &LEADS, leads).is_none() {
        return Cow::Borrowed(text);
    }
    let Some(edits) = find_edits(text, place, false) else {
        // Nothing is left to do where all that has controls is quoted by now, or shows no marker.
        let calm = controls::calm(text, place);
        let edits = find_edits(&calm, place, true).unwrap_or_default();
        return if edits.is_empty() { calm } else { Cow::Owned(edited(&calm, edits)) };
    };
    if edits.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(edited(text, edits)) }
}

/// Whether [`sanitize`] may change something, and so take memory.
#[must_use]
pub fn may_change(text: &str, place: Place) -> bool {
    let bytes = text.as_bytes();
    let look_at = |at| match opening(bytes, at) {
        0 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    };
    place == Place::Header || visit(bytes, OPENING, may_open, look_at).is_break()
}

/// What to insert where; `None` at a control character that [`controls`] looks at, unless `is_calm`
/// says that it has.
fn find_edits(text: &str, place: Place, is_calm: bool) -> Option<Vec<Edit>> {
    let bytes = text.as_bytes();
    let mut edits = Vec::new();
    let look_at = |at| {
        let opening = opening(bytes, at);
        if opening == 0 {
            return ControlFlow::Continue(());
        }
        if opening & CONTROL == 0 {
            add_edit(&mut edits, text, at, place);
        } else if !is_calm {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    if visit(bytes, OPENING, may_open, look_at).is_break() {
        return None;
    }
    if place == Place::Header {
        let look_at = |at| {
            let start = line_break(&bytes[at..]).map(|width| at + width);
            if let Some(start) = start.filter(|start| opens_with_label(&text[*start..])) {
                edits.push((start, QUOTE));
            }
            ControlFlow::Continue(())
        };
        let _: ControlFlow<()> = visit(bytes, BREAK, |byte, _, _| is_break_lead(byte), look_at);
    }
    // A quote belongs before the whitespace that leads its line, hence possibly before an anchor
    // that was met earlier.
    edits.sort_by_key(|&(at, _)| at);
    Some(edits)
}

/// Calls `look_at` with the places of `bytes` that `may_matter`, in order, until it breaks; where no
/// whole block is left, with those of a `lead`.
#[inline(always)]
fn visit(
    bytes: &[u8],
    lead: u8,
    may_matter: impl Fn(u8, u8, u8) -> bool + Copy,
    mut look_at: impl FnMut(usize) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut rest = scan(bytes, may_matter, &mut look_at)?;
    while let Some(at) = find(bytes, rest, &LEADS, lead) {
        look_at(at)?;
        rest = at + 1;
    }
    ControlFlow::Continue(())
}

fn edited(text: &str, edits: Vec<Edit>) -> String {
    let grown = edits.iter().map(|(_, insert)| insert.len()).sum::<usize>();
    let mut edited = String::with_capacity(text.len() + grown);
    let mut copied = 0;
    for (at, insert) in edits {
        edited.push_str(&text[copied..at]);
        edited.push_str(insert);
        copied = at;
    }
    edited.push_str(&text[copied..]);
    edited
}

/// How many bytes the line break takes that `bytes` begin with.
fn line_break(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\n' | b'\r' | 0x0B | 0x0C | 0x1C..=0x1E, ..] => Some(1),
        [0xC2, 0x85, ..] => Some(2),
        [0xE2, 0x80, 0xA8 | 0xA9, ..] => Some(3),
        _ => None,
    }
}

/// Whether a line break may begin with this byte.
#[inline(always)]
const fn is_break_lead(byte: u8) -> bool {
    (byte.wrapping_sub(b'\n') < 4) | (byte.wrapping_sub(0x1C) < 3) | (byte == 0xC2) | (byte == 0xE2)
}

// Two other bits: that something `opening` knows may begin with a byte,
const OPENING: u8 = 1;
// or a line break.
const BREAK: u8 = 1 << 1;

/// Which of these two may begin with a byte.
static LEADS: [u8; 256] = {
    let mut leads = [0; 256];
    let mut index = 0;
    while index < 256 {
        if OPENINGS[0][index] != 0 {
            leads[index] |= OPENING;
        }
        if is_break_lead(index as u8) {
            leads[index] |= BREAK;
        }
        index += 1;
    }
    leads
};

/// Whether something that [`opening`] knows may begin with these three. Never a false "no"; says yes
/// on a suspicion, to be quick: one comparison each rules out most of prose and Markdown.
#[inline(always)]
fn may_open(first: u8, second: u8, third: u8) -> bool {
    // A dash, what is not graphic, or a sign before the dash.
    let after_dash = (third.wrapping_add(1) as i8) < b'/' as i8;
    // Neither D to G nor T to W, of either case.
    let after_bracket = second & 0xCC != 0x44;
    // Neither A, E, I nor M, of either case, nor some signs.
    let after_at = second & 0x13 != 0x01;
    ((first == b'-') & after_dash)
        | ((first == b'[') & after_bracket)
        | ((first == b'@') & after_at)
        | ((first == b'\r') & (second != b'\n'))
        | (first == 0x08)
        | (first == 0x1B)
        | (first == 0xC2)
        | (first == 0xEF)
}

// What may begin with a byte, one bit each: a reference,
const REFERENCE: u8 = 1;
// a marker or a placeholder,
const BRACKET: u8 = 1 << 1;
// a marker,
const DASHES: u8 = 1 << 2;
// a marker whose bracket or dash has another width, behind 0xEF 0xB9 or 0xEF 0xBC,
const WIDE: [u8; 2] = [1 << 3, 1 << 4];
// a control that `controls` looks at: whatever follows, a return, one of the second set.
const CONTROLS: [u8; 3] = [1 << 5, 1 << 6, 1 << 7];
const CONTROL: u8 = CONTROLS[0] | CONTROLS[1] | CONTROLS[2];

/// For the first, second and third byte: what may begin here, as far as this byte is concerned.
static OPENINGS: [[u8; 256]; 3] = {
    let mut openings = [[0; 256]; 3];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        openings[0][index] = match byte {
            b'@' => REFERENCE,
            b'[' => BRACKET,
            b'-' => DASHES,
            0xEF => WIDE[0] | WIDE[1],
            0x08 | 0x1B => CONTROLS[0],
            b'\r' => CONTROLS[1],
            0xC2 => CONTROLS[2],
            _ => 0,
        };
        let lower = byte.to_ascii_lowercase();
        let is_graphic = byte.is_ascii_graphic();
        // A dash that opens a marker may stand before another one, or before what is not seen.
        let after_dash = if byte == b'-' || !is_graphic { DASHES } else { 0 };
        openings[1][index] = after_dash
            | CONTROLS[0]
            | if matches!(lower, b'f' | b'g' | b'u' | b'd' | b's') { REFERENCE } else { 0 }
            | if matches!(lower, b'a' | b'i' | b's' | b'p') || !is_graphic { BRACKET } else { 0 }
            | if byte == 0xB9 { WIDE[0] } else { 0 }
            | if byte == 0xBC { WIDE[1] } else { 0 }
            | if byte != b'\n' { CONTROLS[1] } else { 0 }
            | if matches!(byte, 0x8D..=0x9F) { CONTROLS[2] } else { 0 };
        openings[2][index] = after_dash
            | CONTROL
            | REFERENCE
            | BRACKET
            // U+FE47 and U+FE63, U+FF0D and U+FF3B.
            | if matches!(byte, 0x87 | 0xA3) { WIDE[0] } else { 0 }
            | if matches!(byte, 0x8D | 0xBB) { WIDE[1] } else { 0 };
        index += 1;
    }
    openings
};

/// What begins at `at`, as far as its first three bytes tell.
#[inline(always)]
fn opening(bytes: &[u8], at: usize) -> u8 {
    match bytes[at..] {
        [first, second, third, ..] => opens(first, second, third),
        [first, second] => opens(first, second, 0),
        [first] => opens(first, 0, 0),
        [] => 0,
    }
}

#[inline(always)]
fn opens(first: u8, second: u8, third: u8) -> u8 {
    let [firsts, seconds, thirds] = &OPENINGS;
    firsts[usize::from(first)] & seconds[usize::from(second)] & thirds[usize::from(third)]
}

/// Whether UCS-4 text may hold something that [`sanitize`] changes, or a lone surrogate.
///
/// Never a false "no" for [`Place::Inline`] and [`Place::Line`]; says yes on a mere suspicion.
/// Text that arrives in pieces needs pieces that overlap by one unit.
#[must_use]
pub fn is_suspicious_ucs4(units: &[u32]) -> bool {
    let visit = |at| {
        if is_suspect(&units[at..]) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    match scan(units, |unit, _, _| is_lead_ucs4(unit), visit) {
        ControlFlow::Break(()) => true,
        ControlFlow::Continue(rest) => (rest..units.len()).try_for_each(visit).is_break(),
    }
}

/// Whether something that [`opening`] knows may begin with this one, or a lone surrogate.
#[inline(always)]
fn is_lead_ucs4(unit: u32) -> bool {
    (unit & !0x20 == 0x0D)
        | (unit & !0x40 == 0x1B)
        | (unit == 0x08)
        | (unit == 0x40)
        | is_alien(unit)
}

/// Whether `unit`, which is not ASCII, is one to be looked at: a control of the second set, a lone
/// surrogate, a bracket or dash of another width.
#[inline(always)]
fn is_alien(unit: u32) -> bool {
    (unit.wrapping_sub(0x8D) <= 0x12)
        | (unit & !0x7FF == 0xD800)
        | (unit == 0xFE47)
        | (unit == 0xFE63)
        | (unit == 0xFF0D)
        | (unit == 0xFF3B)
}

/// What `units` begin with, looked at with the units behind it; without those, anything may follow.
fn is_suspect(units: &[u32]) -> bool {
    // Whatever is not ASCII may be unseen.
    let byte = |unit: u32| u8::try_from(unit).unwrap_or(0x80);
    match *units {
        [first, ..] if first >= 0x80 => is_alien(first),
        [first, second, third, ..] => opens(byte(first), byte(second), byte(third)) != 0,
        [first, second] => opens(byte(first), byte(second), b'-') != 0,
        [first] => OPENINGS[0][usize::from(byte(first))] != 0,
        [] => false,
    }
}

/// UTF-8 from WTF-8 (what Python's `surrogatepass` writes): each lone surrogate becomes U+FFFD.
/// The flag says whether there was one.
#[must_use]
pub fn repair_wtf8(bytes: Vec<u8>) -> (String, bool) {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return (text, false),
        Err(error) => error.into_bytes(),
    };
    let mut repaired = Vec::with_capacity(bytes.len());
    let mut rest = bytes.as_slice();
    while let Some(&byte) = rest.first() {
        let is_surrogate = byte == 0xED && rest.get(1).is_some_and(|&second| second >= 0xA0);
        let width = if is_surrogate { 3.min(rest.len()) } else { 1 };
        if is_surrogate {
            repaired.extend_from_slice("\u{FFFD}".as_bytes());
        } else {
            repaired.push(byte);
        }
        rest = &rest[width..];
    }
    (String::from_utf8_lossy(&repaired).into_owned(), true)
}

// Kept out of the loop that finds what to look at.
#[inline(never)]
fn add_edit(edits: &mut Vec<Edit>, text: &str, at: usize, place: Place) {
    if let Some(edit) = edit_at(text, at, place) {
        edits.push(edit);
    }
}

/// The insertion that disarms what begins at `at`, if anything does.
fn edit_at(text: &str, at: usize, place: Place) -> Option<Edit> {
    match text.as_bytes()[at] {
        b'@' => {
            let is_reference = REFERENCES.iter().any(|word| has_at(text, at + 1, word));
            is_reference.then_some((at + 1, WORD_JOINER))
        }
        b'[' if has_at(text, at, PASTED) => {
            let after = at + PASTED.len();
            let is_broken = text[after..].starts_with(WORD_JOINER);
            (!is_broken).then_some((after, WORD_JOINER))
        }
        _ => {
            let start = line_start(text, at, place)?;
            opens_with_marker(&text[at..]).then_some((start, QUOTE))
        }
    }
}

fn has_at(text: &str, at: usize, word: &str) -> bool {
    text.as_bytes()
        .get(at..at + word.len())
        .is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
}

/// Start of the line that shows `at` as its first visible character; `None` if something visible
/// stands before it.
fn line_start(text: &str, at: usize, place: Place) -> Option<usize> {
    let before = &text[..at];
    // As most do.
    if before.as_bytes().last().is_some_and(u8::is_ascii_graphic) {
        return None;
    }
    for (index, char) in before.char_indices().rev() {
        if is_line_break(char) {
            return Some(index + char.len_utf8());
        }
        if !is_unseen(char) {
            return None;
        }
    }
    (place == Place::Line).then_some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables say of all bytes what is written out here, and the quick guesses miss none.
    #[test]
    fn no_guess_is_a_false_no() {
        for first in 0..=255 {
            for second in 0..=255_u8 {
                let unseen = |byte: u8| !byte.is_ascii_graphic();
                let begins = |ones: &[u8]| ones.contains(&second.to_ascii_lowercase());
                for third in 0..=255 {
                    let is_control = controls::may_begin(first, second);
                    let is_opening = match [first, second, third] {
                        [b'@', ..] => begins(b"fguds"),
                        [b'[', ..] => begins(b"aisp") || unseen(second),
                        [b'-', ..] => [second, third].iter().all(|&it| it == b'-' || unseen(it)),
                        [0xEF, 0xB9, _] => matches!(third, 0x87 | 0xA3),
                        [0xEF, 0xBC, _] => matches!(third, 0x8D | 0xBB),
                        _ => false,
                    };
                    let bytes = [first, second, third];
                    let found = opens(first, second, third);
                    assert_eq!(found & CONTROL != 0, is_control, "{bytes:x?}");
                    assert_eq!(found & !CONTROL != 0, is_opening, "{bytes:x?}");
                    if found != 0 {
                        assert!(may_open(first, second, third), "{bytes:x?}");
                        assert_ne!(LEADS[usize::from(first)] & OPENING, 0, "{bytes:x?}");
                    }
                    if line_break(&bytes).is_some() {
                        assert_ne!(LEADS[usize::from(first)] & BREAK, 0, "{bytes:x?}");
                    }
                }
            }
            let unit = u32::from(first);
            let is_lead = first < 0x80 && LEADS[usize::from(first)] & OPENING != 0;
            assert!(!is_lead || is_lead_ucs4(unit), "{first:x}");
        }
    }
}
