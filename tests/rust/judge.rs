//! An independent judge of text: what may open a line, and what may be in it at all.
//!
//! It knows the gateway's rules and Unicode's tables, and nothing of `src/text/sanitize.rs`. It is slow and
//! plain on purpose. The fuzz targets include this file too.

use std::borrow::Cow;

use hermes_core::text::sanitize::{Place, is_suspicious_ucs4, repair_wtf8, sanitize};
use hermes_core::text::session_key::parse_session_key;

/// What opens a line in the gateway's voice.
pub(crate) const MARKERS: [&str; 7] = [
    "[async delegation",
    "[important",
    "[system",
    "--- result ---",
    "--- error ---",
    "--- ✓ task",
    "--- ✗ task",
];

/// What opens a line of the block's header.
pub(crate) const LABELS: [&str; 9] = [
    "dispatched:",
    "original goal:",
    "context you provided:",
    "toolsets:",
    "role:",
    "status:",
    "total duration:",
    "partial output:",
    "full live transcript",
];

/// What the gateway replaces by the contents of a file, a diff or a page.
pub(crate) const REFERENCES: [&str; 7] =
    ["@file:", "@folder:", "@git:", "@url:", "@diff", "@staged", "[pasted"];

/// Where the lines of `str.splitlines` end.
pub(crate) const LINE_BREAKS: [char; 10] =
    ['\n', '\r', '\x0B', '\x0C', '\x1C', '\x1D', '\x1E', '\u{85}', '\u{2028}', '\u{2029}'];

/// Shown as nothing at all: `Default_Ignorable_Code_Point` of Unicode 17.0, and the three anchors of
/// interlinear annotation.
const IGNORABLE: [(u32, u32); 17] = [
    (0xAD, 0xAD),
    (0x34F, 0x34F),
    (0x61C, 0x61C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
];

/// Shown as nothing, or as blank space (the Braille pattern without dots is blank).
pub(crate) fn is_unseen(char: char) -> bool {
    let is_ignorable =
        IGNORABLE.iter().any(|&(first, last)| (first..=last).contains(&u32::from(char)));
    is_ignorable || char.is_whitespace() || char.is_control() || char == '\u{2800}'
}

/// The first of `words` that `line` opens with, as a reader sees it: blanks count for nothing,
/// full-width characters as the others.
pub(crate) fn opening<'a>(line: &str, words: &[&'a str]) -> Option<&'a str> {
    words.iter().find(|word| seen(line).starts_with(&seen(word))).copied()
}

fn seen(line: &str) -> String {
    let narrow = line.chars().filter(|char| !is_unseen(*char)).map(|char| match u32::from(char) {
        wide @ 0xFF01..=0xFF5E => char::from_u32(wide - 0xFEE0).expect("ASCII"),
        _ => char,
    });
    narrow.map(|char| char.to_ascii_lowercase()).collect()
}

/// `text` for a reader who sees no colours, and no sequence of any other kind.
fn without_sequences(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        shown.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let is_number = |char: char| char.is_ascii_digit() || char == ';';
        let end = match rest.chars().next() {
            Some('[') => {
                let numbers = rest[1..].trim_start_matches(is_number);
                numbers
                    .starts_with(|last: char| last.is_ascii_alphabetic())
                    .then(|| rest.len() - numbers.len() + 1)
            }
            Some(']') => rest
                .find('\x07')
                .filter(|at| !rest[..*at].contains(char::is_control))
                .map(|at| at + 1),
            _ => None,
        };
        rest = &rest[end.unwrap_or(0)..];
    }
    shown + rest
}

/// `text` where each step back takes a character of its line away.
fn stepped_back(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars() {
        match char {
            '\x08' if shown.ends_with(LINE_BREAKS) => {}
            '\x08' => drop(shown.pop()),
            char => shown.push(char),
        }
    }
    shown
}

/// The words of `words` that lines of `text` open with, in order.
pub(crate) fn openings<'a>(text: &str, words: &[&'a str]) -> Vec<&'a str> {
    text.split(LINE_BREAKS).filter_map(|line| opening(line, words)).collect()
}

/// What `text` holds that the gateway expands.
pub(crate) fn reference(text: &str) -> Option<&'static str> {
    // A placeholder broken by a word joiner is none any more, and its parts make no other.
    let text = text.to_ascii_lowercase().replace("[pasted\u{2060}", "|");
    REFERENCES.into_iter().find(|word| text.contains(word))
}

/// What is promised for `text` at `place`.
pub(crate) fn check_sanitized(text: &str, place: Place) {
    let sanitized = sanitize(text, place);
    for shown in [
        sanitized.to_string(),
        without_sequences(&sanitized),
        stepped_back(&sanitized),
        stepped_back(&without_sequences(&sanitized)),
    ] {
        assert_eq!(forged(&shown, place), None, "{text:?} became {sanitized:?}");
    }
    assert_eq!(reference(&sanitized), None, "{text:?} became {sanitized:?}");
    let is_changed = matches!(sanitized, Cow::Owned(_));
    assert_eq!(is_changed, sanitized != text, "a copy is a change");
    assert!(
        matches!(sanitize(&sanitized, place), Cow::Borrowed(_)),
        "{sanitized:?} is sanitized already"
    );
    assert!(is_subsequence(text, &sanitized), "{text:?} became {sanitized:?}");
    let has_cause = reference(text).is_some() || forged(text, place).is_some();
    assert!(is_changed || !has_cause, "{text:?} became {sanitized:?}");
    // Other causes are judged with Unicode's tables, by the tests in Python.
    let is_odd = |char: char| !char.is_ascii() && !LINE_BREAKS.contains(&char) || is_mover(char);
    assert!(!is_changed || has_cause || text.contains(is_odd), "{text:?} became {sanitized:?}");
    if place != Place::Header {
        let units: Vec<u32> = text.chars().map(u32::from).collect();
        assert!(!is_changed || is_suspicious_ucs4(&units), "{text:?} is suspicious");
        check_pieces(&units);
    }
}

/// Whether a terminal's cursor may move by it.
fn is_mover(char: char) -> bool {
    matches!(char, '\x08' | '\r' | '\x1b' | '\u{80}'..='\u{9f}')
}

/// A text looked at in pieces is as suspicious as the whole.
fn check_pieces(units: &[u32]) {
    let is_suspicious = is_suspicious_ucs4(units);
    for size in [7, 64, 65] {
        let mut pieces = (0..units.len())
            .step_by(size)
            .map(|start| &units[start..(start + size + 1).min(units.len())]);
        assert!(!is_suspicious || pieces.any(is_suspicious_ucs4), "in pieces of {size}");
    }
}

/// The first word that a line of `text` may not open with at `place`.
fn forged(text: &str, place: Place) -> Option<&'static str> {
    let mut lines = text.split(LINE_BREAKS);
    if place != Place::Line {
        lines.next();
    }
    lines.find_map(|line| {
        let label = (place == Place::Header).then(|| opening(line, &LABELS)).flatten();
        opening(line, &MARKERS).or(label)
    })
}

/// Whether the characters of `text` stand in `longer` in the same order, controls as they are or as
/// pictures.
fn is_subsequence(text: &str, longer: &str) -> bool {
    let mut longer = longer.chars();
    text.chars().all(|wanted| {
        longer.any(|char| char == wanted || is_mover(wanted) && matches!(char, '␈' | '␍' | '␛'))
    })
}

/// What the repair promises for the code points `units`, and the quick check for surrogates.
pub(crate) fn check_repair(units: &[u32]) {
    let has_surrogate = units.iter().any(|unit| (0xD800..0xE000).contains(unit));
    let expected = units.iter().map(|&unit| char::from_u32(unit).unwrap_or('\u{FFFD}'));
    assert_eq!(repair_wtf8(wtf8(units)), (expected.collect(), has_surrogate), "{units:x?}");
    assert!(!has_surrogate || is_suspicious_ucs4(units), "{units:x?}");
}

/// Code points as CPython's `surrogatepass` writes them.
pub(crate) fn wtf8(units: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &unit in units {
        match char::from_u32(unit) {
            Some(char) => bytes.extend(char.to_string().bytes()),
            None => {
                let parts = [0xE0 | unit >> 12, 0x80 | unit >> 6 & 0x3F, 0x80 | unit & 0x3F];
                bytes.extend(parts.map(|part| part as u8));
            }
        }
    }
    bytes
}

/// What splitting promises for any bytes: the parts stand in the key as a naive splitter finds
/// them, and join to it again.
pub(crate) fn check_session_key(key: &[u8]) {
    let mut parts = vec![Vec::new()];
    for &byte in key {
        match byte {
            b':' => parts.push(Vec::new()),
            _ => parts.last_mut().expect("one at least").push(byte),
        }
    }
    let is_key = parts.len() >= 5 && parts[0] == b"agent" && parts[1] == b"main";
    let Some(found) = parse_session_key(key) else {
        return assert!(!is_key, "{key:?} is a session key");
    };
    assert!(is_key, "{key:?} is no session key");
    assert_eq!([found.platform, found.chat_type, found.chat_id], [&parts[2], &parts[3], &parts[4]]);
    let has_thread = matches!(found.chat_type, b"dm" | b"thread");
    assert_eq!(found.thread_id, parts.get(5).map(Vec::as_slice).filter(|_| has_thread));
    let parts = [b"agent", &b"main"[..], found.platform, found.chat_type, found.chat_id];
    let mut joined = parts.join(&b':');
    if let Some(thread) = found.thread_id {
        joined.push(b':');
        joined.extend_from_slice(thread);
    }
    assert!(key.starts_with(&joined), "{key:?} begins with {joined:?}");
    assert!(matches!(key.get(joined.len()), None | Some(b':')), "{key:?} after {joined:?}");
}
