//! Keeps untrusted text from speaking with the gateway's voice.
//!
//! Text of a subagent or a process is data. Unguarded it could open a line with one of the markers
//! that the model reads as the gateway's own, or hold a reference (`@file:…`, `[Pasted text …]`)
//! that the gateway expands into the contents of a file when the notification is injected.

use std::borrow::Cow;

use memchr::{memchr2_iter, memchr3_iter, memmem};

/// Where a field stands in the notification; decides which of its lines can forge what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind a label: the field's first line cannot open a line of the notification.
    Inline,
    /// At the start of a line: every line of the field counts.
    Line,
    /// Behind a label, above the result: the field's later lines may not open with a label either.
    Header,
}

/// What a line of untrusted text must not begin with. Without the colon of two of them: a field's
/// end and the text that follows it would make a whole one.
const MARKERS: [&str; 7] = [
    "[ASYNC DELEGATION",
    "[IMPORTANT",
    "[System",
    "--- RESULT ---",
    "--- ERROR ---",
    "--- ✓ TASK",
    "--- ✗ TASK",
];

/// Labels of the block's header that end in a colon.
const LABELS: [&str; 8] = [
    "Dispatched:",
    "Original goal:",
    "Context you provided:",
    "Toolsets:",
    "Role:",
    "Status:",
    "Total duration:",
    "Partial output:",
];

/// The one label whose colon comes later.
const TRANSCRIPT_LABEL: &str = "Full live transcript";

/// What follows `@` in a reference that the gateway expands.
const REFERENCES: [&str; 6] = ["file:", "folder:", "git:", "url:", "diff", "staged"];

/// How a paste placeholder of the CLI begins.
const PASTED: &str = "[Pasted";

const WORD_JOINER: &str = "\u{2060}";
const QUOTE: &str = "> ";

/// From this many bytes on, a second pass for dashes pays.
const LONG: usize = 256;

/// Where to insert what.
type Edit = (usize, &'static str);

/// Units looked at together; long enough for the widest vector registers.
const BLOCK: usize = 64;

/// `text`, safe to stand at `place`: forged markers are quoted with `> `, references and paste
/// placeholders broken with U+2060. Borrowed when there is nothing to change.
#[must_use]
pub fn guard(text: &str, place: Place) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut edits = Vec::new();
    let mut look_at = |at: usize| {
        if bytes.get(at + 1).is_some_and(|&next| may_open(bytes[at], next)) {
            edits.extend(edit_at(text, at, place));
        }
    };
    if bytes.len() < LONG {
        memchr3_iter(b'@', b'[', b'-', bytes).for_each(&mut look_at);
    } else {
        // Long text is often Markdown, full of single dashes.
        memchr2_iter(b'@', b'[', bytes).for_each(&mut look_at);
        memmem::find_iter(bytes, "--- ").for_each(&mut look_at);
    }
    if place == Place::Header {
        edits.extend(memchr3_iter(b':', b'F', b'f', bytes).filter_map(|at| label_at(text, at)));
    }
    if edits.is_empty() {
        return Cow::Borrowed(text);
    }
    // A quote belongs before the whitespace that leads its line, hence possibly before an anchor
    // that was met earlier.
    edits.sort_by_key(|&(at, _)| at);
    let grown = edits.iter().map(|(_, insert)| insert.len()).sum::<usize>();
    let mut guarded = String::with_capacity(text.len() + grown);
    let mut copied = 0;
    for (at, insert) in edits {
        guarded.push_str(&text[copied..at]);
        guarded.push_str(insert);
        copied = at;
    }
    guarded.push_str(&text[copied..]);
    Cow::Owned(guarded)
}

/// Whether UCS-4 text may hold something that [`guard`] changes, or a lone surrogate.
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
    let mut from = 0;
    while from + BLOCK < units.len() {
        let block: &[u32] = &units[from..from + BLOCK];
        let next: &[u32] = &units[from + 1..from + 1 + BLOCK];
        let mut hit = false;
        for (unit, next) in block.iter().zip(next) {
            hit |= is_anchor_ucs4(*unit, *next);
        }
        if hit && (from..from + BLOCK).any(|at| is_suspect(units, at)) {
            return true;
        }
        from += BLOCK;
    }
    (from..units.len()).any(|at| is_suspect(units, at))
}

#[inline(always)]
fn is_anchor_ucs4(unit: u32, next: u32) -> bool {
    (unit == 0x40)
        | (unit == 0x5B)
        | ((unit == 0x2D) & (next == 0x2D))
        | ((unit & 0xFFFF_F800) == 0xD800)
}

/// The anchor at `at`, looked at with the unit behind it; without one, anything may follow.
fn is_suspect(units: &[u32], at: usize) -> bool {
    let unit = units[at];
    (0xD800..0xE000).contains(&unit)
        || units.get(at + 1).map_or(matches!(unit, 0x40 | 0x5B | 0x2D), |&next| {
            u8::try_from(unit).is_ok_and(|unit| may_open(unit, u8::try_from(next).unwrap_or(0)))
        })
}

/// Whether a reference, a placeholder or a marker may begin with these two.
fn may_open(first: u8, second: u8) -> bool {
    let second = second.to_ascii_lowercase();
    match first {
        b'@' => matches!(second, b'f' | b'g' | b'u' | b'd' | b's'),
        b'[' => matches!(second, b'a' | b'i' | b's' | b'p'),
        b'-' => second == b'-',
        _ => false,
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
            let is_marker = MARKERS.iter().any(|marker| has_at(text, at, marker));
            is_marker.then(|| quote(text, at, place)).flatten()
        }
    }
}

/// The insertion that disarms a header label whose colon, or whose first letter, is at `at`.
fn label_at(text: &str, at: usize) -> Option<Edit> {
    let start = if text.as_bytes()[at] == b':' {
        let end = at + 1;
        let starts = LABELS.iter().filter_map(|label| Some((end.checked_sub(label.len())?, label)));
        starts
            .filter(|(start, label)| has_at(text, *start, label))
            .map(|(start, _)| start)
            .next()?
    } else {
        has_at(text, at, TRANSCRIPT_LABEL).then_some(at)?
    };
    quote(text, start, Place::Header)
}

fn has_at(text: &str, at: usize, word: &str) -> bool {
    text.as_bytes()
        .get(at..at + word.len())
        .is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
}

fn quote(text: &str, at: usize, place: Place) -> Option<Edit> {
    line_start(text, at, place).map(|start| (start, QUOTE))
}

/// Start of the line that shows `at` as its first visible character; `None` if something visible
/// stands before it.
fn line_start(text: &str, at: usize, place: Place) -> Option<usize> {
    for (index, char) in text[..at].char_indices().rev() {
        if is_line_break(char) {
            return Some(index + char.len_utf8());
        }
        if !is_invisible(char) {
            return None;
        }
    }
    (place == Place::Line).then_some(0)
}

/// The line boundaries of Python's `str.splitlines`.
fn is_line_break(char: char) -> bool {
    matches!(
        char,
        '\n' | '\r' | '\x0B' | '\x0C' | '\x1C'..='\x1E' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Characters that a reader does not see at the head of a line: white space, controls, and the
/// zero-width and formatting characters (joiners, direction marks, variation selectors, tags, BOM),
/// as Unicode's `Default_Ignorable_Code_Point` lists them.
fn is_invisible(char: char) -> bool {
    char.is_whitespace()
        || char.is_control()
        || matches!(
            char,
            '\u{AD}'
                | '\u{34F}'
                | '\u{61C}'
                | '\u{115F}'..='\u{1160}'
                | '\u{17B4}'..='\u{17B5}'
                | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}'
                | '\u{202A}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{FE00}'..='\u{FE0F}'
                | '\u{FEFF}'
                | '\u{FFA0}'
                | '\u{FFF0}'..='\u{FFFB}'
                | '\u{1BCA0}'..='\u{1BCA3}'
                | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}
