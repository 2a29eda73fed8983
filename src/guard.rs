//! Keeps untrusted text from speaking with the gateway's voice.
//!
//! Text of a subagent or a process is data. Unguarded it could open a line with one of the markers
//! that the model reads as the gateway's own, or hold a reference (`@file:…`, `[Pasted text …]`)
//! that the gateway expands into the contents of a file when the notification is injected.

use std::borrow::Cow;

use memchr::memchr3_iter;

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

/// Below this many bytes, looking at each is quicker than setting up to look at many.
const LONG: usize = 128;

/// Where to insert what.
type Edit = (usize, &'static str);

/// Units looked at together; several of the widest vector registers.
const BLOCK: usize = 128;

/// `text`, safe to stand at `place`: forged markers are quoted with `> `, references and paste
/// placeholders broken with U+2060. Borrowed when there is nothing to change.
#[must_use]
pub fn guard(text: &str, place: Place) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut edits = Vec::new();
    let mut look_at = |from: usize, to: usize| {
        // The last two bytes open nothing.
        for (at, units) in (from..).zip(bytes[from..bytes.len().min(to + 2)].windows(3)) {
            if is_anchor(units[0], units[1]) && may_open(units[0], units[1], units[2]) {
                edits.extend(edit_at(text, at, place));
            }
        }
    };
    let mut from = 0;
    while let Some(block) = find_anchor_block(bytes, from) {
        from = block + BLOCK;
        look_at(block, from.min(bytes.len()));
    }
    if place == Place::Header {
        let mut look_at = |at| edits.extend(label_at(text, at));
        if bytes.len() < LONG {
            let is_anchor = |&at: &usize| matches!(bytes[at], b':' | b'F' | b'f');
            (0..bytes.len()).filter(is_anchor).for_each(&mut look_at);
        } else {
            memchr3_iter(b':', b'F', b'f', bytes).for_each(&mut look_at);
        }
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

/// How many units are looked at in whole blocks: each block has two units behind it.
fn in_blocks(units: usize) -> usize {
    units.saturating_sub(2) / BLOCK * BLOCK
}

/// The first block from `from` on that may hold the beginning of something [`guard`] changes.
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
    if from > end {
        return None;
    }
    let mut last = [0; BLOCK + 2];
    last[..bytes.len() - end].copy_from_slice(&bytes[end..]);
    has_anchor(&last).then_some(end)
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

/// Whether a reference, a placeholder or a marker may begin at the first of these two.
#[inline(always)]
fn is_anchor(first: u8, second: u8) -> bool {
    (first == b'@') | (first == b'[') | ((first == b'-') & (second == b'-'))
}

/// Whether one may begin with these three.
#[inline(always)]
fn may_open(first: u8, second: u8, third: u8) -> bool {
    // ASCII letters differ from their lower case in this bit alone.
    let lower = second | 0x20;
    let is = |byte: u8| lower == byte;
    ((first == b'@') & (is(b'f') | is(b'g') | is(b'u') | is(b'd') | is(b's')))
        | ((first == b'[') & (is(b'a') | is(b'i') | is(b's') | is(b'p')))
        | ((first == b'-') & (second == b'-') & (third == b'-'))
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
        | ((unit == 0x2D) & (next == 0x2D))
        | ((unit & 0xFFFF_F800) == 0xD800)
}

/// The anchor at `at`, looked at with the units behind it; without those, anything may follow.
fn is_suspect(units: &[u32], at: usize) -> bool {
    let byte = |at| units.get(at).map(|&unit| u8::try_from(unit).unwrap_or(0));
    match (byte(at).unwrap_or(0), byte(at + 1), byte(at + 2)) {
        (0, ..) => (0xD800..0xE000).contains(&units[at]),
        (first, Some(second), third) => may_open(first, second, third.unwrap_or(b'-')),
        (first, None, _) => matches!(first, b'@' | b'[' | b'-'),
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
