//! The ledger in a file and its model in memory, driven in step: they never differ.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Write(Write),
    Adopt(Vec<String>),
}

const IDS: [&str; 4] = ["a", "b", "c", "d"];

fn id() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&IDS[..])
}

fn some_claim() -> impl Strategy<Value = Claim> {
    (id(), prop_oneof![4 => Just(1u64), 2 => Just(2), 1 => Just(3), 1 => Just(4)])
        .prop_map(|(id, fence)| claim(id, fence))
}

fn some_owner() -> impl Strategy<Value = Owner> {
    (prop::sample::select(vec!["", "k", "l"]), any::<bool>()).prop_map(|(key, tab)| Owner {
        session_key: key.into(),
        origin_ui_session_id: if tab { "tab".into() } else { "".into() },
        ..Owner::default()
    })
}

fn some_write() -> impl Strategy<Value = Write> {
    let key = prop::option::of(prop::sample::select(vec!["x", "y"]));
    let state = prop::sample::select(vec![State::Completed, State::Error, State::Interrupted]);
    prop_oneof![
        6 => (id(), some_owner(), key, any::<bool>()).prop_map(|(id, owner, key, is_queued)| {
            let idempotency_key = key.map(Into::into);
            let owner = owner.into();
            Write::Dispatch(NewDelegation { owner, idempotency_key, is_queued, ..new(id) })
        }),
        2 => some_claim().prop_map(Write::Begin),
        1 => some_claim().prop_map(Write::Withdraw),
        6 => (some_claim(), state).prop_map(|(claim, state)| Write::Finish {
            claim,
            state,
            event: "{}".into(),
            completed_at: 5,
        }),
        2 => (some_claim(), 0u32..5)
            .prop_map(|(claim, attempts)| Write::Attempts { claim, attempts }),
        3 => some_claim().prop_map(Write::Ack),
        2 => some_claim().prop_map(Write::Reopen),
        2 => (some_claim(), 0u32..5).prop_map(|(claim, attempts)| Write::Bury { claim, attempts }),
        2 => some_claim().prop_map(Write::Drop),
        2 => prop::sample::select(vec!["", "k", "l"]).prop_map(|key| Write::NewEpoch(key.into())),
        3 => id().prop_map(|id| Write::Redeliver(id.into())),
        2 => id().prop_map(|id| Write::Discard(id.into())),
        1 => id().prop_map(|id| Write::Cancel(id.into())),
    ]
}

fn some_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        9 => some_write().prop_map(Step::Write),
        2 => prop::collection::vec(id().prop_map(str::to_owned), 1..4).prop_map(Step::Adopt),
    ]
}

/// A row but for the moments that a ledger reads off its own clock.
fn but_for_the_time(mut rows: Vec<Row>) -> Vec<Row> {
    for row in &mut rows {
        row.settled_at = row.settled_at.map(|_| 0);
    }
    rows
}

fn everything(ledger: &Opened) -> Vec<Vec<Row>> {
    let all = [
        Which::Newest(9),
        Which::Newest(2),
        Which::Running,
        Which::Elsewhere,
        Which::ElsewhereOf("k"),
        Which::Free,
        Which::Dead,
    ];
    let each = IDS.into_iter().map(Which::One);
    all.into_iter().chain(each).map(|which| but_for_the_time(ledger.read(which).unwrap())).collect()
}

proptest! {
    #![proptest_config(crate::config(128))]

    #[test]
    fn they_never_differ(steps in prop::collection::vec(some_step(), 1..60)) {
        let (memory, file) =
            (in_memory(KEEPS_ALL), in_a_file(KEEPS_ALL));
        for step in steps {
            match &step {
                Step::Write(what) => {
                    let ours = write(&*memory, what.clone());
                    prop_assert_eq!(ours, write(&*file, what.clone()), "{:?}", step);
                }
                Step::Adopt(ids) => {
                    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
                    let ours = memory.adopt(&ids).unwrap();
                    prop_assert_eq!(ours, file.adopt(&ids).unwrap(), "{:?}", step);
                }
            }
            prop_assert_eq!(everything(&memory), everything(&file), "{:?}", step);
            prop_assert_eq!(notices(&*memory), notices(&*file), "{:?}", step);
        }
    }
}
