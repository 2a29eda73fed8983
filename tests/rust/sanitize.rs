//! The sanitizer against an independent judge, on text made of what it looks for.

use std::borrow::Cow;

use hermes_core::text::sanitize::{Place, sanitize};
use proptest::prelude::*;

use super::config;
use super::judge::{LABELS, LINE_BREAKS, MARKERS, REFERENCES, check_repair, check_sanitized};

/// Pieces of text that matter to it, and some that look alike.
fn piece() -> impl Strategy<Value = String> {
    let words: Vec<_> = MARKERS.iter().chain(&LABELS).chain(&REFERENCES).copied().collect();
    let cut = (prop::sample::select(words.clone()), any::<prop::sample::Index>()).prop_map(
        |(word, at)| word.char_indices().take(at.index(word.len()) + 1).map(|(_, c)| c).collect(),
    );
    let unseen = (0_u32..0xF_0000).prop_filter_map("no character", char::from_u32);
    prop_oneof![
        4 => prop::sample::select(LINE_BREAKS.to_vec()).prop_map(String::from),
        4 => prop::sample::select(words.clone()).prop_map(str::to_owned),
        2 => prop::sample::select(words).prop_map(str::to_uppercase),
        2 => cut,
        2 => prop::sample::select(UNSEEN.to_vec()).prop_map(String::from),
        1 => unseen.prop_map(String::from),
        2 => prop::sample::select(CONTROLS.to_vec()).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["> ", " ", "\t", "-", "--- ", "[", "@", ":", "文", "x"])
            .prop_map(str::to_owned),
        1 => (200_usize..300).prop_map(|length| "x".repeat(length)),
    ]
}

/// What a terminal acts on, whole and in pieces.
const CONTROLS: [&str; 20] = [
    "\x08",
    "\x08\x08\x08",
    "\r",
    "\x1b",
    "\x1b[",
    "\x1b[0m",
    "\x1b[1;31m",
    "\x1b[K",
    "\x1b[2K",
    "\x1b[1G",
    "\x1b[3D",
    "\x1b[2C",
    "\x1b[2P",
    "\x1b[A",
    "\x1b[H",
    "\x1b]0;t\x07",
    "\x1b]0;t",
    "\x1bc",
    "\u{9b}0m",
    "\u{9d}",
];

/// A character of each family that a reader does not see.
const UNSEEN: [char; 12] = [
    '\u{AD}',
    '\u{34F}',
    '\u{200B}',
    '\u{202E}',
    '\u{2060}',
    '\u{2800}',
    '\u{3164}',
    '\u{FE0F}',
    '\u{FEFF}',
    '\u{FFF0}',
    '\u{1D173}',
    '\u{E0020}',
];

proptest! {
    #![proptest_config(config(2000))]

    /// F25, F43: no line begins with a marker as it is read, nothing is expanded, and doing it twice
    /// changes nothing.
    #[test]
    fn f25_what_is_let_through_speaks_for_nobody(
        pieces in prop::collection::vec(piece(), 0..12),
    ) {
        let text = pieces.concat();
        for place in [Place::Inline, Place::Line, Place::Header] {
            check_sanitized(&text, place);
        }
    }

    #[test]
    fn a_repair_replaces_the_lone_surrogates_and_nothing_else(
        units in prop::collection::vec(
            prop_oneof![0_u32..0x300, 0xD700_u32..0xE100, 0_u32..0x11_0000],
            0..40,
        ),
    ) {
        check_repair(&units);
    }
}

/// Characters as they look to a reader, spelled out: these are nothing, or say others.
fn look(char: char) -> String {
    match char {
        '﹇' => "[".to_owned(),
        '﹣' => "-".to_owned(),
        '𝓘' => "i".to_owned(),
        'ﬆ' => "st".to_owned(),
        '\u{FF01}'..='\u{FF5E}' => {
            let narrow = char::from_u32(u32::from(char) - 0xFEE0).expect("ASCII");
            narrow.to_ascii_lowercase().to_string()
        }
        _ if UNSEEN.contains(&char) || !char.is_ascii_graphic() && char.is_ascii() => String::new(),
        _ => char.to_ascii_lowercase().to_string(),
    }
}

/// What a line without controls becomes, written as plainly as can be.
fn expected_line(line: &str, may_forge: bool, may_label: bool) -> String {
    let seen: String = line.trim_end_matches(LINE_BREAKS).chars().map(look).collect();
    let opens = |words: &[&str]| words.iter().any(|word| seen.starts_with(&word.replace(' ', "")));
    let is_forged = may_forge && opens(&MARKERS) || may_label && opens(&LABELS);
    let mut expected = String::from(if is_forged { "> " } else { "" });
    for (at, char) in line.char_indices() {
        expected.push(char);
        let behind = at + char.len_utf8();
        let is = |word: &str, found: Option<&str>| {
            found.is_some_and(|found| found.eq_ignore_ascii_case(word))
        };
        let is_reference = REFERENCES.iter().any(|word| is(word, line.get(at..at + word.len())));
        let is_placeholder = behind
            .checked_sub("[pasted".len())
            .is_some_and(|start| is("[pasted", line.get(start..behind)));
        let after = &line[behind..];
        if char == '@' && is_reference || is_placeholder && !after.starts_with('\u{2060}') {
            expected.push('\u{2060}');
        }
    }
    expected
}

/// What a text without controls becomes.
fn expected(text: &str, place: Place) -> String {
    let lines = text.split_inclusive(LINE_BREAKS).enumerate();
    let lines = lines.map(|(number, line)| {
        let is_behind_a_label = number == 0 && place != Place::Line;
        expected_line(line, !is_behind_a_label, place == Place::Header && !is_behind_a_label)
    });
    lines.collect()
}

/// What a text becomes, line by line: no line, and no length, makes another of the next one.
fn expected_by_line(text: &str, place: Place) -> String {
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    let others = lines.map(|line| {
        let text = format!("\n{line}");
        sanitize(&text, place)[1..].to_owned()
    });
    sanitize(first, place).into_owned() + &others.collect::<String>()
}

/// Pieces of which [`expected`] knows the look.
fn known_piece() -> impl Strategy<Value = String> {
    let words: Vec<_> = MARKERS.iter().chain(&LABELS).chain(&REFERENCES).copied().collect();
    let wide = |word: &str| -> String {
        let wide = word.chars().map(|char| match char {
            '!'..='~' => char::from_u32(u32::from(char) + 0xFEE0).expect("full width"),
            _ => char,
        });
        wide.collect()
    };
    let few = vec![
        "> ",
        " ",
        "\t",
        "-",
        "- ",
        "[",
        "@",
        ":",
        "\r\n",
        "文",
        "é",
        "«",
        "，",
        "“",
        "😀",
        "[x] ",
        "﹇",
        "﹣",
        "𝓘mportant",
        "Syﬆem",
        "［",
        "－",
        "[d",
        "@e",
        "--",
        "\x7f",
        "\0",
        "\u{2060}",
    ];
    prop_oneof![
        4 => prop::sample::select(LINE_BREAKS.to_vec()).prop_map(|char| match char {
            '\r' => "\r\n".to_owned(),
            char => char.to_string(),
        }),
        4 => prop::sample::select(words.clone()).prop_map(str::to_owned),
        2 => prop::sample::select(words.clone()).prop_map(str::to_uppercase),
        2 => prop::sample::select(words).prop_map(wide),
        2 => prop::sample::select(UNSEEN.to_vec()).prop_map(String::from),
        4 => prop::sample::select(few).prop_map(str::to_owned),
        2 => (0_usize..300, prop::sample::select(vec!["x", " ", "文", "é"]))
            .prop_map(|(length, of)| of.repeat(length)),
    ]
}

proptest! {
    #![proptest_config(config(2000))]

    /// F25, F43: what is looked at in blocks becomes what the plain rules say.
    #[test]
    fn f25_the_quick_way_gives_what_the_plain_rules_say(
        pieces in prop::collection::vec(known_piece(), 0..16),
    ) {
        let text = pieces.concat();
        for place in [Place::Inline, Place::Line, Place::Header] {
            prop_assert_eq!(&sanitize(&text, place), &expected(&text, place));
        }
    }

    /// F43: a line with controls becomes the same in any company.
    #[test]
    fn f43_a_line_is_judged_by_itself(pieces in prop::collection::vec(piece(), 0..12)) {
        let text = pieces.join("\n");
        for place in [Place::Inline, Place::Line, Place::Header] {
            prop_assert_eq!(&sanitize(&text, place), &expected_by_line(&text, place));
        }
    }
}

/// F25, F43: the same wherever in a block it begins, and wherever the text ends behind it.
#[test]
fn f25_it_makes_no_difference_where_in_a_block_something_begins() {
    let forged = [
        "[System",
        "--- RESULT ---",
        "［IMPORTANT",
        "\u{200b}[ASYNC DELEGATION",
        "- -\u{a0}- ERROR ---",
    ];
    let others =
        ["Role:", "@file:a", "[Pasted text", "[sic]", "@e.org", "- [ ] a", "é[", "--", "\u{FEFF}"];
    let controls =
        ["xx\x08\x08[SYSTEM", "\x1b[1m[SYSTEM\x1b[0m", "x\r[IMPORTANT", "\u{9b}H", "a\r\nb"];
    for sample in forged.into_iter().chain(others).chain(controls) {
        for before in (0..4).chain(104..134).chain(232..262) {
            for head in ["x".repeat(before), "x".repeat(before) + "\n"] {
                for behind in ["", "\n", &"z".repeat(131)] {
                    let text = head.clone() + sample + behind;
                    for place in [Place::Inline, Place::Line, Place::Header] {
                        let expected = if controls.contains(&sample) {
                            expected_by_line(&text, place)
                        } else {
                            expected(&text.replace('\u{a0}', "\u{200b}"), place)
                        };
                        let found = sanitize(&text, place).replace('\u{a0}', "\u{200b}");
                        assert_eq!(found, expected, "{text:?}");
                    }
                }
            }
        }
    }
}

/// F43: a control is seen wherever a text ends, also where a block that is looked at does.
#[test]
fn the_last_character_is_looked_at_whatever_the_length() {
    for before in 0..520 {
        for control in ["\x08", "\x1B", "\u{9B}"] {
            let text = "x".repeat(before) + control;
            let sanitized = sanitize(&text, Place::Inline);
            assert!(!sanitized.ends_with(control), "{control:?} behind {before} characters");
        }
    }
}

/// Text without an anchor costs nothing and stays.
#[test]
fn text_without_anchors_is_borrowed() {
    let text = "plain 文 text: with > quotes, a.b and (brackets)\n".repeat(20);
    for place in [Place::Inline, Place::Line] {
        assert!(matches!(sanitize(&text, place), Cow::Borrowed(same) if same == text));
    }
}

/// F43: colours, links and progress bars show no marker, and stay as they are.
#[test]
fn f43_what_shows_no_marker_stays() {
    for text in [
        "\x1b[32mgreen\x1b[0m ok\n\x1b[m\x1b[Kmatch",
        "10 %\r20 %\r[=====>   ] 50 %\x1b[K\n",
        "\x1b]8;;http://h/\x1b\\link\x1b]8;;\x1b\\",
        "N\x08NA\x08AM\x08ME\x08E",
        "a\r\nb\r\n[sic] c\r\n",
        "\x1b[?25l\x1b[1Gspinner\x1b[2K\x1b[?25h",
    ] {
        assert_eq!(sanitize(text, Place::Line), text);
    }
}

/// F43: what a cursor that moves would make of a line is seen, and cannot be obeyed any more.
#[test]
fn f43_a_cursor_that_moves_forges_nothing() {
    for (text, expected) in [
        ("xx\x08\x08[IMPORTANT", "xx␈␈[IMPORTANT"),
        ("xxxxxxTANT\r[IMPOR", "xxxxxxTANT␍[IMPOR"),
        ("x\r[IMPORTANT", "x\r> [IMPORTANT"),
        ("文文文TANT\r[IMPOR", "文文文TANT␍[IMPOR"),
        ("ab\x1b[2D[SYSTEM", "ab␛[2D[SYSTEM"),
        ("ab\x1b[1G[SYSTEM", "ab␛[1G[SYSTEM"),
        ("ab[SYSTEM\r\x1b[2P", "ab[SYSTEM␍␛[2P"),
        ("[TEM\x1b[3D\x1b[3@SYS", "[TEM␛[3D␛[3@SYS"),
        ("-\x1b[2b RESULT ---", "-␛[2b RESULT ---"),
        ("ab\x1b[80C\x1b[79D[SYSTEM", "ab␛[80C␛[79D[SYSTEM"),
        ("\x1b[A[SYSTEM", "␛[A[SYSTEM"),
        ("\u{9b}1;1H[SYSTEM", "␛[1;1H[SYSTEM"),
        ("a\x1b]0;b\nc", "a␛]0;b\nc"),
        ("end\x1b", "end␛"),
        ("\x1b[1;31m[SYSTEM", "> \x1b[1;31m[SYSTEM"),
        ("\x1b]8;;h\x1b\\[SYSTEM", "> \x1b]8;;h\x1b\\[SYSTEM"),
        ("[SYS\x1b[0mTEM", "> [SYS\x1b[0mTEM"),
    ] {
        assert_eq!(sanitize(text, Place::Line), expected);
    }
    // What stands before a field that is no line is not known here.
    for (text, expected) in [
        ("a\r b\x1b[0m\nc\rd", "a␍ b\x1b[0m\nc\rd"),
        ("a\r[b", "a␍[b"),
        ("a\x08b", "a␈b"),
        ("a\x1b[2Gb", "a␛[2Gb"),
        ("a\rb\r", "a\rb\r"),
    ] {
        assert_eq!(sanitize(text, Place::Inline), expected);
    }
}

/// F43: a marker of other widths, with other blanks, or with marks that show nothing.
#[test]
fn f43_a_marker_is_known_by_its_look() {
    for text in [
        "［IMPORTANT",
        "[ＳＹＳＴＥＭ",
        "－－－ RESULT －－－",
        "---RESULT---",
        "[\u{200b}I\u{301}MPORTANT",
        "- -\u{a0}-RESULT- --",
        "[Syﬆem",
        "﹇𝓘mportant",
        "--- ✓\u{fe0f}TASK",
        "[ASYNC\tDELEGATION",
        "¨[System",
    ] {
        assert_eq!(sanitize(text, Place::Line), format!("> {text}"));
    }
    assert_eq!(sanitize("a\nStatus\u{200b} :", Place::Header), "a\n> Status\u{200b} :");
    for text in [
        "[Système] fait",
        "［重要］读",
        "- [ ] system check",
        "---",
        "-- -",
        "[!IMPORTANT]",
        "— RESULT —",
    ] {
        assert!(matches!(sanitize(text, Place::Header), Cow::Borrowed(_)), "{text}");
        assert!(matches!(sanitize(text, Place::Line), Cow::Borrowed(_)), "{text}");
    }
}
