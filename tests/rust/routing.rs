//! Session keys and the identity of notices.

use hermes_core::text::fields::Key;
use hermes_core::text::session_key::{identity, parse_session_key};
use proptest::prelude::*;

use super::config;
use super::judge::check_session_key;

#[test]
fn a_session_key_names_platform_chat_and_sometimes_a_thread() {
    let parts = parse_session_key(b"agent:main:telegram:dm:42:7:8").unwrap();
    assert_eq!(parts.platform, b"telegram");
    assert_eq!(parts.chat_type, b"dm");
    assert_eq!(parts.chat_id, b"42");
    assert_eq!(parts.thread_id, Some(&b"7"[..]));
    let group = parse_session_key(b"agent:main:telegram:group:42:7").unwrap();
    assert_eq!(group.thread_id, None, "may be a user's id");
    let empty = parse_session_key(b"agent:main:::").unwrap();
    assert_eq!((empty.platform, empty.chat_id), (&b""[..], &b""[..]));
}

#[test]
fn other_keys_are_not_session_keys() {
    for key in ["", "agent:main", "agent:main:a:b", "agent:other:a:b:c", "20260101_abc", ":::::"] {
        assert_eq!(parse_session_key(key.as_bytes()), None, "{key}");
    }
}

proptest! {
    #![proptest_config(config(1000))]

    /// F2: a key is split as a naive splitter splits it, whatever stands between the colons.
    #[test]
    fn f2_a_key_splits_at_its_colons(
        prefix in prop::sample::select(vec!["agent:main", "agent:main:", "agent", "agent::main", ""]),
        parts in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec!["dm", "thread", "group", "", "dm "]).prop_map(str::as_bytes).prop_map(<[u8]>::to_vec),
                prop::collection::vec(any::<u8>(), 0..4),
            ],
            0..6,
        ),
    ) {
        let mut key = prefix.as_bytes().to_vec();
        for part in &parts {
            key.push(b':');
            key.extend_from_slice(part);
        }
        check_session_key(&key);
    }
}

#[test]
fn f11_what_makes_two_notices_the_same_depends_on_their_kind() {
    let keys = |kind| identity(kind).iter().map(|&(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys("completion"), [Key::SessionId, Key::Type]);
    assert_eq!(keys("anything"), [Key::SessionId, Key::Type]);
    assert_eq!(keys("async_delegation"), [Key::DelegationId, Key::Type]);
    assert!(keys("watch_match").contains(&Key::MessageId));
    assert_eq!(keys("watch_overflow_tripped"), keys("watch_disabled"));
}
