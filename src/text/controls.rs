//! Text with control characters, as a terminal shows it.
//!
//! Colours, links and other sequences that move nothing stay as they are. What moves the cursor
//! stays where the line shows no marker, and becomes a picture of itself (`␛`, `␈`, `␍`) where it
//! does. What acts beyond its line, or is no whole sequence, always does.

use std::borrow::Cow;

use memchr::memchr;

use crate::text::line::{
    Place, QUOTE, is_line_break, is_unseen, may_open, opens_with_label, opens_with_marker,
};

/// What moves the cursor beyond this column depends on how wide the terminal is.
const WIDEST: usize = 80;

/// A row of more cells, edited in its middle, is not followed.
const LONGEST: usize = 1024;

/// What stands in a cell behind a character of two cells.
const SECOND_HALF: char = '\0';

/// What one control character, or the sequence that it begins, does.
#[derive(Clone, Copy)]
enum Control {
    /// Moves nothing: colours, modes, links, character sets.
    Still,
    /// Erases to the end of the line, as tools do behind each colour.
    EraseRight,
    /// Back by one column.
    Back,
    /// To the first column.
    Return,
    /// Moves or erases within the line: the sequence's last byte and its number.
    Move(u8, usize),
    /// Anything else.
    Unruly,
}

impl Control {
    /// Whether it changes what the line shows but for what is behind it.
    fn moves(self) -> bool {
        matches!(self, Self::Back | Self::Return | Self::Move(..))
    }
}

/// Whether a control that this module looks at may begin with these two bytes.
#[inline(always)]
pub(super) fn may_begin(first: u8, second: u8) -> bool {
    (first == 0x08)
        | (first == 0x1B)
        | ((first == b'\r') & (second != b'\n'))
        | ((first == 0xC2) & (second.wrapping_sub(0x8D) <= 0x12))
}

/// `text` with pictures and quotes where its controls call for them. A line without such controls
/// stays as it is, whatever it opens with.
pub(super) fn calm(text: &str, place: Place) -> Cow<'_, str> {
    let mut calmed = String::new();
    let mut copied = 0;
    let mut start = 0;
    while start < text.len() {
        let end = memchr(b'\n', &text.as_bytes()[start..]).map_or(text.len(), |at| start + at + 1);
        let line = Line { text: &text[start..end], place, is_first: start == 0 };
        if let Cow::Owned(line) = line.calm() {
            calmed.push_str(&text[copied..start]);
            calmed.push_str(&line);
            copied = end;
        }
        start = end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    calmed.push_str(&text[copied..]);
    Cow::Owned(calmed)
}

/// The text between two line feeds.
#[derive(Clone, Copy)]
struct Line<'a> {
    text: &'a str,
    place: Place,
    is_first: bool,
}

impl<'a> Line<'a> {
    fn with(self, text: &str) -> Line<'_> {
        Line { text, place: self.place, is_first: self.is_first }
    }

    /// Whether its beginning stands behind something else.
    fn is_behind_a_label(self) -> bool {
        self.is_first && self.place != Place::Line
    }

    fn calm(self) -> Cow<'a, str> {
        let mut is_unruly = false;
        let mut moves = false;
        let mut has_controls = false;
        for (at, length, control) in controls(self.text) {
            has_controls = true;
            is_unruly |= matches!(control, Control::Unruly);
            moves |= control.moves();
            // Behind a label nobody knows in which column it begins.
            is_unruly |=
                self.is_behind_a_label() && control.moves() && !self.is_covered(at, length);
        }
        if !has_controls {
            return Cow::Borrowed(self.text);
        }
        let shown = if is_unruly {
            Cow::Owned(self.pictured(self.is_behind_a_label()))
        } else {
            Cow::Borrowed(self.text)
        };
        let quoted = self.with(&shown).quoted();
        let calmed = quoted.map_or(shown, Cow::Owned);
        if moves && !self.is_behind_a_label() && self.with(&calmed).poses() {
            let pictured = self.pictured(true);
            return Cow::Owned(self.with(&pictured).quoted().unwrap_or(pictured));
        }
        calmed
    }

    /// Whether the control at `at` returns to a column in which something harmless is written next.
    fn is_covered(self, at: usize, length: usize) -> bool {
        let next = self.text[at + length..].chars().next();
        self.text.as_bytes()[at] == b'\r'
            && next.is_none_or(|next| !may_open(next) && (next == '\n' || !is_unseen(next)))
    }

    /// With pictures for what is unruly, or for all that moves the cursor.
    fn pictured(self, all: bool) -> String {
        let mut pictured = String::with_capacity(self.text.len() + 16);
        let mut copied = 0;
        for (at, _, control) in controls(self.text) {
            if !(matches!(control, Control::Unruly) || all && control.moves()) {
                continue;
            }
            pictured.push_str(&self.text[copied..at]);
            let char = self.text[at..].chars().next().unwrap_or_default();
            match char {
                '\x08' => pictured.push('␈'),
                '\r' => pictured.push('␍'),
                '\x1B' => pictured.push('␛'),
                // One of the second set of controls is short for an escape and a letter.
                other => pictured.extend(['␛', char::from(other as u8 - 0x40)]),
            }
            copied = at + char.len_utf8();
        }
        pictured.push_str(&self.text[copied..]);
        pictured
    }

    /// With a quote before each piece that reads as a marker where sequences are not shown; `None`
    /// if there is none.
    fn quoted(self) -> Option<String> {
        let mut quoted: Option<String> = None;
        let pieces = self.text.split_inclusive(is_line_break);
        let mut is_behind_a_label = self.is_behind_a_label();
        let mut done = 0;
        for piece in pieces {
            if !is_behind_a_label && (self.opens(piece) || self.opens(&without_controls(piece))) {
                let quoted = quoted.get_or_insert_with(|| self.text[..done].to_owned());
                quoted.push_str(QUOTE);
            }
            if let Some(quoted) = &mut quoted {
                quoted.push_str(piece);
            }
            done += piece.len();
            is_behind_a_label = false;
        }
        quoted
    }

    fn opens(self, shown: &str) -> bool {
        opens_with_marker(shown) || self.place == Place::Header && opens_with_label(shown)
    }

    /// Whether it shows a marker to one who reads it with its cursor moved, on a terminal or where
    /// each step back takes a character away.
    fn poses(self) -> bool {
        self.poses_where_back_deletes() || self.poses_on_a_terminal()
    }

    fn poses_where_back_deletes(self) -> bool {
        let mut shown = String::with_capacity(self.text.len());
        self.text.split(is_line_break).any(|piece| {
            shown.clear();
            let mut copied = 0;
            for (at, length, control) in controls(piece) {
                shown.push_str(&piece[copied..at]);
                copied = at + length;
                if matches!(control, Control::Back) {
                    shown.pop();
                }
            }
            shown.push_str(&piece[copied..]);
            self.opens(&shown)
        })
    }

    fn poses_on_a_terminal(self) -> bool {
        let mut row = Row::default();
        let mut at = 0;
        let mut found = controls(self.text).peekable();
        while let Some(char) = self.text[at..].chars().next() {
            if let Some(&(_, length, control)) = found.peek().filter(|&&(start, ..)| start == at) {
                found.next();
                at += length;
                let is_too_far = |row: &Row| row.column > WIDEST || row.cells.len() > LONGEST;
                row.obey(control);
                if matches!(control, Control::Move(..)) && is_too_far(&row) {
                    return true;
                }
                continue;
            }
            at += char.len_utf8();
            match char {
                '\x0B' | '\x0C' | '\u{85}' => {
                    if self.opens(&row.text()) {
                        return true;
                    }
                    row.cells.clear();
                }
                '\t' => row.column = (row.column / 8 + 1) * 8,
                _ => row.write(char),
            }
        }
        self.opens(&row.text())
    }
}

/// Without control sequences, and without steps back.
fn without_controls(piece: &str) -> String {
    let mut shown = String::with_capacity(piece.len());
    let mut copied = 0;
    for (at, length, _) in controls(piece) {
        shown.push_str(&piece[copied..at]);
        copied = at + length;
    }
    shown.push_str(&piece[copied..]);
    shown
}

/// A row of a terminal.
#[derive(Default)]
struct Row {
    cells: Vec<char>,
    column: usize,
}

impl Row {
    fn text(&self) -> String {
        self.cells.iter().filter(|&&cell| cell != SECOND_HALF).collect()
    }

    fn write(&mut self, char: char) {
        let width = width(char);
        if width == 0 {
            return;
        }
        self.fill_to(self.column + width);
        self.part(self.column);
        self.part(self.column + width);
        self.cells[self.column] = char;
        if width == 2 {
            self.cells[self.column + 1] = SECOND_HALF;
        }
        self.column += width;
    }

    /// Blanks up to `column`.
    fn fill_to(&mut self, column: usize) {
        if self.cells.len() < column {
            self.cells.resize(column, ' ');
        }
    }

    /// Makes blanks of a character of two cells whose second half is at `column`.
    fn part(&mut self, column: usize) {
        if self.cells.get(column) == Some(&SECOND_HALF) {
            self.cells[column - 1] = ' ';
            self.cells[column] = ' ';
        }
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Still | Control::Unruly => {}
            Control::Back => self.column = self.column.saturating_sub(1),
            Control::Return => self.column = 0,
            Control::EraseRight => {
                self.part(self.column);
                self.cells.truncate(self.column);
            }
            Control::Move(last, number) => self.obey_move(last, number),
        }
    }

    fn obey_move(&mut self, last: u8, number: usize) {
        let (column, length) = (self.column, self.cells.len());
        let count = number.max(1);
        let behind = count.min(length.saturating_sub(column));
        match last {
            b'C' | b'a' => self.column += count,
            b'D' => self.column = column.saturating_sub(count),
            b'G' | b'`' => self.column = count - 1,
            b'K' => {
                let end = if number == 1 { (column + 1).min(length) } else { length };
                self.part(end);
                self.cells[..end].fill(' ');
            }
            b'P' => {
                self.part(column);
                self.part(column + behind);
                drop(self.cells.drain(column.min(length)..column.min(length) + behind));
            }
            b'X' => {
                self.part(column);
                self.part(column + behind);
                self.cells[column.min(length)..column.min(length) + behind].fill(' ');
            }
            b'@' if column < length => {
                self.part(column);
                let blanks = std::iter::repeat_n(' ', count.min(WIDEST));
                drop(self.cells.splice(column..column, blanks));
            }
            b'b' => {
                let before = column.checked_sub(1).and_then(|at| self.cells.get(at).copied());
                let again = before.filter(|&char| char != SECOND_HALF);
                (0..count.min(WIDEST)).for_each(|_| self.write(again.unwrap_or(' ')));
            }
            _ => {}
        }
    }
}

/// How many cells a character takes on most terminals.
fn width(char: char) -> usize {
    if char.is_whitespace() {
        return if char == '\u{3000}' { 2 } else { usize::from(!is_line_break(char)) };
    }
    // Accents that stand alone, and signs that are blank.
    let is_blank = matches!(
        u32::from(char),
        0xA8 | 0xAF | 0xB4 | 0xB8 | 0x2D8..=0x2DD | 0x384..=0x385 | 0x1FBD..=0x1FFE | 0x2017 | 0x203E
            | 0x2800 | 0xFC5E..=0xFC63 | 0xFE49..=0xFE4C | 0xFE70..=0xFE7E | 0xFF9E..=0xFFA0
    );
    if is_blank {
        return 1;
    }
    if is_unseen(char) && !matches!(u32::from(char), 0x115F | 0x3164 | 0x309B..=0x309C | 0xFFE3) {
        return 0;
    }
    let is_wide = matches!(
        u32::from(char),
        0x1100..=0x115F
            | 0x231A..=0x231B
            | 0x23E9..=0x23EC
            | 0x25FD..=0x25FE
            | 0x2614..=0x2615
            | 0x26A1
            | 0x26AA..=0x26AB
            | 0x26BD..=0x26BE
            | 0x2705
            | 0x270A..=0x270B
            | 0x2728
            | 0x274C
            | 0x274E
            | 0x2753..=0x2757
            | 0x2795..=0x2797
            | 0x2B1B..=0x2B1C
            | 0x2B50
            | 0x2B55
            | 0x2E80..=0x303E
            | 0x3041..=0x4DBF
            | 0x4E00..=0xA4CF
            | 0xA960..=0xA97F
            | 0xAC00..=0xD7A3
            | 0xF900..=0xFAFF
            | 0xFE10..=0xFE19
            | 0xFE30..=0xFE6F
            | 0xFF01..=0xFF60
            | 0xFFE0..=0xFFE6
            | 0x16FE0..=0x18DFF
            | 0x1B000..=0x1B2FF
            | 0x1F004
            | 0x1F0CF
            | 0x1F18E
            | 0x1F191..=0x1F19A
            | 0x1F200..=0x1F64F
            | 0x1F680..=0x1F6FF
            | 0x1F7E0..=0x1F7EB
            | 0x1F900..=0x1FAFF
            | 0x20000..=0x3FFFD
    );
    if is_wide { 2 } else { 1 }
}

/// The controls of a line: where each begins, how many bytes it takes, and what it does.
fn controls(line: &str) -> impl Iterator<Item = (usize, usize, Control)> {
    let bytes = line.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let start = at;
            if may_begin(bytes[at], bytes.get(at + 1).copied().unwrap_or(0)) {
                if let Some((length, control)) = control(&bytes[at..]) {
                    at += length;
                    return Some((start, length, control));
                }
            }
            at += 1;
        }
        None
    })
}

/// The control that `bytes` begin with, and how many it takes.
fn control(bytes: &[u8]) -> Option<(usize, Control)> {
    let is_short = bytes[0] == 0xC2;
    let (kind, head) = match (bytes[0], bytes.get(1)) {
        (0x08, _) => return Some((1, Control::Back)),
        (b'\r', _) => return Some((1, Control::Return)),
        (0x1B, Some(&kind)) => (kind, 2),
        (0xC2, Some(&kind @ (0x8D | 0x90 | 0x98 | 0x9B | 0x9D..=0x9F))) => (kind - 0x40, 2),
        (0x1B, None) => (0, 1),
        _ => return None,
    };
    // What is no whole sequence ends behind its first character.
    let unruly = (if is_short { 2 } else { 1 }, Control::Unruly);
    let found = match kind {
        b'[' => sequence(&bytes[head..]),
        b']' | b'P' | b'X' | b'^' | b'_' => string(&bytes[head..], kind == b']'),
        b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/' | b' ' | b'%' if !is_short => {
            let is_whole = bytes.get(head).is_some_and(|last| (0x30..=0x7E).contains(last));
            is_whole.then_some((1, Control::Still))
        }
        b'=' | b'>' | b'N' | b'O' | b'\\' if !is_short => Some((0, Control::Still)),
        _ => None,
    };
    Some(found.map_or(unruly, |(length, control)| (head + length, control)))
}

/// A control sequence behind its introducer; `None` for one that is not whole or unruly.
fn sequence(bytes: &[u8]) -> Option<(usize, Control)> {
    let numbers = bytes.iter().take_while(|byte| (0x30..=0x3F).contains(*byte)).count();
    let between = bytes[numbers..].iter().take_while(|byte| (0x20..=0x2F).contains(*byte)).count();
    let length = numbers + between + 1;
    let last = *bytes.get(length - 1).filter(|byte| (0x40..=0x7E).contains(*byte))?;
    let parameters = &bytes[..numbers];
    let is_private = between > 0 || parameters.iter().any(|byte| (b'<'..=b'?').contains(byte));
    if is_private {
        return matches!(last, b'm' | b'h' | b'l' | b'n' | b'c' | b'q' | b't' | b'u')
            .then_some((length, Control::Still));
    }
    let digits = parameters.split(|byte| *byte == b';').next().unwrap_or_default();
    // A number that is none, or that is too long, is more than any row has.
    let number = match digits {
        b"" => Some(0),
        digits => std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
    };
    let number = number.unwrap_or(WIDEST + 1).min(WIDEST + 1);
    let control = match last {
        b'm' | b'h' | b'l' | b'n' | b'c' | b'q' | b't' => Control::Still,
        b'K' if number == 0 => Control::EraseRight,
        b'C' | b'D' | b'G' | b'`' | b'a' | b'K' | b'P' | b'X' | b'@' | b'b' => {
            Control::Move(last, number)
        }
        _ => return None,
    };
    Some((length, control))
}

/// A command string behind its introducer (a title, a link); `None` for one that does not end on its
/// line or holds another control.
fn string(bytes: &[u8], may_end_with_bel: bool) -> Option<(usize, Control)> {
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            0x07 if may_end_with_bel => return Some((at + 1, Control::Still)),
            0x1B if bytes.get(at + 1) == Some(&b'\\') => return Some((at + 2, Control::Still)),
            0x00..=0x1F | 0x7F => return None,
            0xC2 if bytes.get(at + 1).is_some_and(|next| *next < 0xA0) => return None,
            _ => {}
        }
    }
    None
}
