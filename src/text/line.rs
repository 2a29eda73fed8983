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

/// What a line of untrusted text must not open with, as [`Seen`] shows it: these behind a bracket.
/// Without the colon of two of them: a field's end and the text that follows it would make a whole
/// one.
const BRACKETED: [&str; 3] = ["asyncdelegation", "important", "system"];

/// And these behind three dashes.
const DASHED: [&str; 4] = ["result---", "error---", "✓task", "✗task"];

/// Labels of the block's header, as [`Seen`] shows them.
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
    let mut seen = Seen::new(text);
    match seen.next() {
        Some('[') => seen.goes_on_with(&BRACKETED),
        Some('-') => seen.by_ref().take(2).eq("--".chars()) && seen.goes_on_with(&DASHED),
        _ => false,
    }
}

/// Whether the line that begins with `text` opens with a label of the block's header.
pub(super) fn opens_with_label(text: &str) -> bool {
    Seen::new(text).goes_on_with(&LABELS)
}

/// Whether a marker may open with `char`.
pub(super) fn may_open(char: char) -> bool {
    match look::plain(char) {
        Some(Plain::Char(plain)) => matches!(plain, '[' | '-'),
        _ => matches!(char, '[' | '-'),
    }
}

/// What is seen of each ASCII character: graphic ones in lower case, those that break the line as a
/// line feed, nothing as zero.
static ASCII: [u8; 128] = {
    let mut ascii = [0; 128];
    let mut index = 0;
    while index < 128 {
        let byte = index as u8;
        ascii[index] = match byte {
            b'\n' | b'\r' | 0x0B | 0x0C | 0x1C..=0x1E => b'\n',
            _ if byte.is_ascii_graphic() => byte.to_ascii_lowercase(),
            _ => 0,
        };
        index += 1;
    }
    ascii
};

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

    /// The next one where it need not be ASCII.
    #[inline(never)]
    fn next_of_any(&mut self) -> Option<char> {
        if let Some(char) = self.more.next() {
            return Some(char);
        }
        let char = self.chars.find(|&char| is_line_break(char) || !is_unseen(char))?;
        if is_line_break(char) {
            return None;
        }
        match look::plain(char) {
            Some(Plain::Char(plain)) => Some(plain),
            Some(Plain::Text(text)) => {
                self.more = text.chars();
                self.more.next()
            }
            None => Some(char.to_ascii_lowercase()),
        }
    }

    /// Whether one of `words` comes next.
    fn goes_on_with(mut self, words: &[&str]) -> bool {
        let Some(first) = self.next() else { return false };
        words.iter().any(|word| {
            let mut word = word.chars();
            word.next() == Some(first) && {
                let mut rest = self.clone();
                word.all(|wanted| rest.next() == Some(wanted))
            }
        })
    }
}

impl Iterator for Seen<'_> {
    type Item = char;

    #[inline]
    fn next(&mut self) -> Option<char> {
        if self.more.as_str().is_empty() {
            while let Some(&byte) = self.chars.as_str().as_bytes().first() {
                let Some(&plain) = ASCII.get(usize::from(byte)) else { break };
                if plain == b'\n' {
                    return None;
                }
                self.chars.next();
                if plain != 0 {
                    return Some(char::from(plain));
                }
            }
        }
        self.next_of_any()
    }
}

/// The line boundaries of Python's `str.splitlines`.
pub(super) fn is_line_break(char: char) -> bool {
    match ASCII.get(char as usize) {
        Some(&plain) => plain == b'\n',
        None => matches!(char, '\u{85}' | '\u{2028}' | '\u{2029}'),
    }
}

/// Characters that a reader does not see, or as blank space only.
pub(super) fn is_unseen(char: char) -> bool {
    match ASCII.get(char as usize) {
        Some(&plain) => matches!(plain, 0 | b'\n'),
        None => look::is_nothing(char),
    }
}
