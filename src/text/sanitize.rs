//! Keeps untrusted text from speaking with the gateway's voice.
//!
//! Text of a subagent or a process is data. As it stands it could open a line with one of the markers
//! that the model reads as the gateway's own, or hold a reference (`@file:…`, `[Pasted text …]`)
//! that the gateway expands into the contents of a file when the notification is injected.

use std::borrow::Cow;

pub use crate::text::line::Place;

use crate::text::controls;
use crate::text::line::{QUOTE, is_line_break, is_unseen, opens_with_label, opens_with_marker};

/// What follows `@` in a reference that the gateway expands.
const REFERENCES: [&str; 6] = ["file:", "folder:", "git:", "url:", "diff", "staged"];

/// How a paste placeholder of the CLI begins.
const PASTED: &str = "[Pasted";

const WORD_JOINER: &str = "\u{2060}";

/// Where to insert what.
type Edit = (usize, &'static str);

/// Units looked at together; several of the widest vector registers.
const BLOCK: usize = 128;

/// `text`, safe to stand at `place`: forged markers are quoted with `> `, references and paste
/// placeholders broken with U+2060, and what moves a terminal's cursor to forge a marker becomes a
/// picture of itself. Borrowed when there is nothing to change.
#[must_use]
pub fn sanitize(text: &str, place: Place) -> Cow<'_, str> {
    let Some(edits) = find_edits(text, place, false) else {
        // Nothing is left to do where all that has controls is quoted by now, or shows no marker.
        let calm = controls::calm(text, place);
        let edits = find_edits(&calm, place, true).unwrap_or_default();
        return if edits.is_empty() { calm } else { Cow::Owned(edited(&calm, edits)) };
    };
    if edits.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(edited(text, edits)) }
}

/// What to insert where; `None` at a control character that [`controls`] looks at, unless `is_calm`
/// says that it has.
fn find_edits(text: &str, place: Place, is_calm: bool) -> Option<Vec<Edit>> {
    let bytes = text.as_bytes();
    let mut edits = Vec::new();
    let mut from = 0;
    while let Some(block) = find_anchor_block(bytes, from) {
        from = block + BLOCK;
        for at in block..from.min(bytes.len()) {
            let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
            let (first, second) = (bytes[at], byte(at + 1));
            if !is_anchor(first, second) || !may_open(first, second, byte(at + 2)) {
                continue;
            }
            if controls::may_begin(first, second) {
                if is_calm {
                    continue;
                }
                return None;
            }
            edits.extend(edit_at(text, at, place));
        }
    }
    if place == Place::Header {
        let starts = line_breaks(text).filter(|start| opens_with_label(&text[*start..]));
        edits.extend(starts.map(|start| (start, QUOTE)));
    }
    // A quote belongs before the whitespace that leads its line, hence possibly before an anchor
    // that was met earlier.
    edits.sort_by_key(|&(at, _)| at);
    Some(edits)
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

/// Where the lines begin, but for the first.
fn line_breaks(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    (0..bytes.len()).filter_map(move |at| match bytes[at] {
        b'\n' | b'\r' | 0x0B | 0x0C | 0x1C..=0x1E => Some(at + 1),
        0xC2 if bytes[at + 1] == 0x85 => Some(at + 2),
        0xE2 if bytes[at + 1] == 0x80 && matches!(bytes[at + 2], 0xA8 | 0xA9) => Some(at + 3),
        _ => None,
    })
}

/// How many units are looked at in whole blocks: each block has two units behind it.
fn in_blocks(units: usize) -> usize {
    units.saturating_sub(2) / BLOCK * BLOCK
}

/// The first block from `from` on that may hold the beginning of something [`sanitize`] changes.
fn find_anchor_block(bytes: &[u8], from: usize) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was found a line above.
        #[allow(unsafe_code)]
        return unsafe { find_anchor_block_avx2(bytes, from) };
    }
    find_anchor_block_portable(bytes, from)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn find_anchor_block_avx2(bytes: &[u8], from: usize) -> Option<usize> {
    find_anchor_block_portable(bytes, from)
}

// Written so that the compiler looks at as many units at once as the machine can; all of it is
// inlined, or it would be compiled for any machine.
#[inline(always)]
fn find_anchor_block_portable(bytes: &[u8], from: usize) -> Option<usize> {
    let end = in_blocks(bytes.len());
    for at in (from..end).step_by(BLOCK) {
        if has_anchor(&bytes[at..at + BLOCK + 2]) {
            return Some(at);
        }
    }
    // The rest may be longer than a block by one.
    (from.max(end)..bytes.len()).step_by(BLOCK).find(|&at| {
        let rest = &bytes[at..bytes.len().min(at + BLOCK + 2)];
        let mut last = [0; BLOCK + 2];
        last[..rest.len()].copy_from_slice(rest);
        has_anchor(&last)
    })
}

// Most blocks of prose have no anchor, and most of Markdown none that opens something.
#[inline(always)]
fn has_anchor(block: &[u8]) -> bool {
    any(block, |first, second, _| is_anchor(first, second)) && any(block, may_open)
}

#[inline(always)]
fn any(block: &[u8], is_it: impl Fn(u8, u8, u8) -> bool) -> bool {
    let (first, second, third) = (&block[..BLOCK], &block[1..=BLOCK], &block[2..BLOCK + 2]);
    let triples = first.iter().zip(second).zip(third);
    triples.fold(0, |found, ((a, b), c)| found | u8::from(is_it(*a, *b, *c))) != 0
}

/// Whether a reference, a placeholder, a marker or a control may begin at the first of these two.
#[inline(always)]
fn is_anchor(first: u8, second: u8) -> bool {
    (first == b'@')
        | (first == b'[')
        | ((first == b'-') & may_follow_dash(second))
        | (first == 0xEF)
        | controls::may_begin(first, second)
}

/// Whether one may begin with these three.
#[inline(always)]
fn may_open(first: u8, second: u8, third: u8) -> bool {
    // ASCII letters differ from their lower case in this bit alone.
    let lower = second | 0x20;
    let is = |byte: u8| lower == byte;
    ((first == b'@') & (is(b'f') | is(b'g') | is(b'u') | is(b'd') | is(b's')))
        | ((first == b'[') & (is(b'a') | is(b'i') | is(b's') | is(b'p') | !is_graphic(second)))
        | ((first == b'-') & may_follow_dash(second) & may_follow_dash(third))
        | ((first == 0xEF) & is_wide_opening(second, third))
        | controls::may_begin(first, second)
}

/// Whether a dash that opens a marker may stand before this: another one, or what is not seen.
#[inline(always)]
fn may_follow_dash(byte: u8) -> bool {
    (byte == b'-') | !is_graphic(byte)
}

#[inline(always)]
fn is_graphic(byte: u8) -> bool {
    byte.wrapping_sub(0x21) < 0x5E
}

/// Whether these two follow 0xEF in a bracket or dash of another width: U+FE47, U+FE63, U+FF0D, U+FF3B.
#[inline(always)]
fn is_wide_opening(second: u8, third: u8) -> bool {
    ((second == 0xB9) & ((third == 0x87) | (third == 0xA3)))
        | ((second == 0xBC) & ((third == 0x8D) | (third == 0xBB)))
}

/// Whether UCS-4 text may hold something that [`sanitize`] changes, or a lone surrogate.
///
/// Never a false "no" for [`Place::Inline`] and [`Place::Line`]; says yes on a mere suspicion.
/// Text that arrives in pieces needs pieces that overlap by one unit.
#[must_use]
pub fn is_suspicious_ucs4(units: &[u32]) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was found a line above.
        #[allow(unsafe_code)]
        return unsafe { is_suspicious_avx2(units) };
    }
    is_suspicious(units)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn is_suspicious_avx2(units: &[u32]) -> bool {
    is_suspicious(units)
}

#[inline(always)]
fn is_suspicious(units: &[u32]) -> bool {
    let tail = in_blocks(units.len());
    let suspect = |mut at: std::ops::Range<usize>| at.any(|at| is_suspect(units, at));
    (0..tail).step_by(BLOCK).any(|at| {
        let block: &[u32] = &units[at..at + BLOCK];
        let next: &[u32] = &units[at + 1..at + 1 + BLOCK];
        let mut hit = false;
        for (unit, next) in block.iter().zip(next) {
            hit |= is_anchor_ucs4(*unit, *next);
        }
        hit && suspect(at..at + BLOCK)
    }) || suspect(tail..units.len())
}

#[inline(always)]
fn is_anchor_ucs4(unit: u32, next: u32) -> bool {
    (unit == 0x40)
        | (unit == 0x5B)
        | ((unit == 0x2D) & may_follow_dash_ucs4(next))
        | ((unit & 0xFFFF_F800) == 0xD800)
        | is_wide_opening_ucs4(unit)
        | may_begin_ucs4(unit, next)
}

#[inline(always)]
fn may_follow_dash_ucs4(unit: u32) -> bool {
    (unit == 0x2D) | (unit.wrapping_sub(0x21) >= 0x5E)
}

#[inline(always)]
fn is_wide_opening_ucs4(unit: u32) -> bool {
    (unit == 0xFE47) | (unit == 0xFE63) | (unit == 0xFF0D) | (unit == 0xFF3B)
}

/// As [`controls::may_begin`].
#[inline(always)]
fn may_begin_ucs4(unit: u32, next: u32) -> bool {
    (unit == 0x08)
        | (unit == 0x1B)
        | ((unit == 0x0D) & (next != 0x0A))
        | (unit.wrapping_sub(0x8D) <= 0x12)
}

/// The anchor at `at`, looked at with the units behind it; without those, anything may follow.
fn is_suspect(units: &[u32], at: usize) -> bool {
    let unit = units[at];
    let next = units.get(at + 1).copied();
    if (0xD800..0xE000).contains(&unit) || is_wide_opening_ucs4(unit) {
        return true;
    }
    if unit >= 0x80 {
        return may_begin_ucs4(unit, 0);
    }
    // Whatever is not ASCII may be unseen.
    let byte = |unit: u32| u8::try_from(unit).unwrap_or(0x80);
    match next {
        Some(next) => {
            let third = units.get(at + 2).map_or(b'-', |&unit| byte(unit));
            may_open(byte(unit), byte(next), third)
        }
        None => matches!(byte(unit), b'@' | b'[' | b'-' | 0x08 | 0x1B | b'\r'),
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
    for (index, char) in text[..at].char_indices().rev() {
        if is_line_break(char) {
            return Some(index + char.len_utf8());
        }
        if !is_unseen(char) {
            return None;
        }
    }
    (place == Place::Line).then_some(0)
}
