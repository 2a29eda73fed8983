//! Steps at a queue.

use arbitrary::{Result, Unstructured};

use crate::queue_steps::{Address, Filter, Step};

/// Names that most events share.
const NAMES: [&str; 5] = ["", "a", "b", "c", "agent:main:telegram:dm:1"];

/// The most steps in one run.
const STEPS: usize = 200;

/// Any steps, until the input ends.
pub(crate) fn steps(u: &mut Unstructured<'_>) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    while !u.is_empty() && steps.len() < STEPS {
        steps.push(step(u)?);
    }
    Ok(steps)
}

fn step(u: &mut Unstructured<'_>) -> Result<Step> {
    Ok(match u.int_in_range(0..=31_u8)? {
        0..=5 => Step::Put(address(u)?),
        6..=8 => Step::Publish(address(u)?),
        9..=11 => Step::PutBack(address(u)?),
        12..=15 => Step::Take(filter(u)?),
        16..=19 => Step::Wait(filter(u)?),
        20..=22 => Step::Look(place(u)?),
        23..=24 => Step::Leave(place(u)?),
        25 => Step::WaitForRoom,
        26 => Step::LookForRoom(place(u)?),
        27 => Step::LeaveRoom(place(u)?),
        28 => Step::TaskDone,
        29 => Step::SetMaxsize(u.int_in_range(-1..=6)?),
        30 => Step::Drain,
        _ => match u.int_in_range(0..=3_u8)? {
            0 => Step::Fork,
            1 => Step::Shutdown { immediate: true },
            2 => Step::Shutdown { immediate: false },
            _ => Step::Drain,
        },
    })
}

fn place(u: &mut Unstructured<'_>) -> Result<usize> {
    Ok(usize::from(u.arbitrary::<u8>()?))
}

fn address(u: &mut Unstructured<'_>) -> Result<Address> {
    Ok(Address { owner: perhaps(u)?, kind: perhaps(u)?, delegation_id: perhaps(u)? })
}

fn filter(u: &mut Unstructured<'_>) -> Result<Filter> {
    let kinds = if u.arbitrary()? {
        Some((0..u.int_in_range(0..=3)?).map(|_| name(u)).collect::<Result<_>>()?)
    } else {
        None
    };
    Ok(Filter { owner: perhaps(u)?, kinds })
}

fn perhaps(u: &mut Unstructured<'_>) -> Result<Option<String>> {
    u.ratio(3, 4)?.then(|| name(u)).transpose()
}

fn name(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.int_in_range(0..=15_u8)? {
        0 => u.arbitrary()?,
        // Longer than what the queue keeps for a name that nobody uses.
        1 => char::from(u.int_in_range(b'x'..=b'z')?).to_string().repeat(300),
        choice => NAMES[usize::from(choice) % NAMES.len()].to_owned(),
    })
}
