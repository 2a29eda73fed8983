//! A line as a reader sees it, and what it opens with.
//!
//! Blanks and what has no width count for nothing, wherever they stand; characters of every width and
//! style count as the plain ones.

use std::str::Chars;

use crate::text::look::{self, Plain};

/// What a line that would pose is quoted with.
pub(super) const QUOTE: &str = "> ";

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

/// What a line of untrusted text must not open with, as [`Seen`] shows it. Without the colon of two
/// of them: a field's end and the text that follows it would make a whole one.
const MARKERS: [&str; 7] = [
    "[asyncdelegation",
    "[important",
    "[system",
    "---result---",
    "---error---",
    "---✓task",
    "---✗task",
];

/// Labels of the block's header, likewise.
const LABELS: [&str; 9] = [
    "dispatched:",
    "originalgoal:",
    "contextyouprovided:",
    "toolsets:",
    "role:",
    "status:",
    "totalduration:",
    "partialoutput:",
    "fulllivetranscript",
];

/// Whether the line that begins with `text` opens with a marker.
pub(super) fn opens_with_marker(text: &str) -> bool {
    opens_with(text, &MARKERS)
}

/// Whether the line that begins with `text` opens with a label of the block's header.
pub(super) fn opens_with_label(text: &str) -> bool {
    opens_with(text, &LABELS)
}

/// Whether a marker may open with `char`.
pub(super) fn may_open(char: char) -> bool {
    match look::plain(char) {
        Some(Plain::Char(plain)) => matches!(plain, '[' | '-'),
        _ => matches!(char, '[' | '-'),
    }
}

fn opens_with(text: &str, words: &[&str]) -> bool {
    let mut seen = Seen::new(text);
    let Some(first) = seen.next() else { return false };
    words.iter().any(|word| {
        let mut word = word.chars();
        let mut rest = seen.clone();
        word.next() == Some(first) && word.all(|wanted| rest.next() == Some(wanted))
    })
}

/// The characters of a line that are seen, in lower case.
#[derive(Clone)]
struct Seen<'a> {
    chars: Chars<'a>,
    /// The rest of a character that says several.
    more: Chars<'static>,
}

impl<'a> Seen<'a> {
    fn new(line: &'a str) -> Self {
        Self { chars: line.chars(), more: "".chars() }
    }
}

impl Iterator for Seen<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if let Some(char) = self.more.next() {
            return Some(char);
        }
        loop {
            let char = self.chars.next()?;
            if is_line_break(char) {
                return None;
            }
            if char.is_ascii_graphic() {
                return Some(char.to_ascii_lowercase());
            }
            if is_unseen(char) {
                continue;
            }
            return match look::plain(char) {
                Some(Plain::Char(plain)) => Some(plain),
                Some(Plain::Text(text)) => {
                    self.more = text.chars();
                    self.more.next()
                }
                None => Some(char),
            };
        }
    }
}

/// The line boundaries of Python's `str.splitlines`.
pub(super) fn is_line_break(char: char) -> bool {
    matches!(
        char,
        '\n' | '\r' | '\x0B' | '\x0C' | '\x1C'..='\x1E' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Characters that a reader does not see, or as blank space only.
pub(super) fn is_unseen(char: char) -> bool {
    if char.is_ascii() { !char.is_ascii_graphic() } else { look::is_nothing(char) }
}
