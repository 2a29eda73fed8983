//! The guard against an independent judge, on text made of what it looks for.

use std::borrow::Cow;

use hermes_core::guard::{Place, guard};
use proptest::prelude::*;

use super::config;
use super::judge::{LABELS, LINE_BREAKS, MARKERS, REFERENCES, check_guard, check_repair};

/// Pieces of text that matter to the guard, and some that look alike.
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
        1 => prop::sample::select(vec!["> ", " ", "\t", "-", "--- ", "[", "@", ":", "文", "x"])
            .prop_map(str::to_owned),
        1 => (200_usize..300).prop_map(|length| "x".repeat(length)),
    ]
}

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

    /// F25: no line begins with a marker, nothing is expanded, and a second guard changes nothing.
    #[test]
    fn f25_what_the_guard_lets_through_speaks_for_nobody(
        pieces in prop::collection::vec(piece(), 0..12),
    ) {
        let text = pieces.concat();
        for place in [Place::Inline, Place::Line, Place::Header] {
            check_guard(&text, place);
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

/// Text without an anchor costs nothing and stays.
#[test]
fn text_without_anchors_is_borrowed() {
    let text = "plain 文 text: with > quotes, a.b and (brackets)\n".repeat(20);
    for place in [Place::Inline, Place::Line] {
        assert!(matches!(guard(&text, place), Cow::Borrowed(same) if same == text));
    }
}
