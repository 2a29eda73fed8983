//! Finds the few units of a text that matter, many at a time.

use std::ops::ControlFlow;

/// Units looked at together; several of the widest vector registers.
pub(super) const BLOCK: usize = 128;

/// Units in a row of a block: bytes in one of the widest registers.
const WIDTH: usize = 32;

/// What is looked at with a unit: the two behind it.
const BEHIND: usize = 2;

/// The first place from `from` on of a byte that is one of `kinds`; `table` has those of each byte as
/// bits. For short texts: [`scan`] is quicker with whole blocks.
pub(super) fn find(bytes: &[u8], from: usize, table: &[u8; 256], kinds: u8) -> Option<usize> {
    let kinds_of = |byte: &u8| table[usize::from(*byte)];
    let mut at = from;
    for eight in bytes[from..].chunks_exact(8) {
        if eight.iter().fold(0, |found, byte| found | kinds_of(byte)) & kinds != 0 {
            break;
        }
        at += eight.len();
    }
    let found = bytes[at..].iter().position(|byte| kinds_of(byte) & kinds != 0);
    found.map(|behind| at + behind)
}

/// Calls `visit` with each place of `units` that `may_matter`, in order, until it breaks. The last
/// places, where no whole block is left, are left to the caller: it returns where they begin.
///
/// `may_matter` is told a unit and the two behind it. It must have no branches, or it is called for
/// one place at a time.
#[inline(always)]
pub(super) fn scan<T: Copy>(
    units: &[T],
    may_matter: impl Fn(T, T, T) -> bool + Copy,
    visit: impl FnMut(usize) -> ControlFlow<()>,
) -> ControlFlow<(), usize> {
    if units.len() < BLOCK + BEHIND {
        return ControlFlow::Continue(0);
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was found a line above.
        #[allow(unsafe_code)]
        return unsafe { scan_avx2(units, may_matter, visit) };
    }
    scan_portable(units, may_matter, visit)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn scan_avx2<T: Copy>(
    units: &[T],
    may_matter: impl Fn(T, T, T) -> bool + Copy,
    visit: impl FnMut(usize) -> ControlFlow<()>,
) -> ControlFlow<(), usize> {
    scan_portable(units, may_matter, visit)
}

// Written so that the compiler looks at as many units at once as the machine can; all of it is
// inlined, or it would be compiled for any machine.
#[inline(always)]
fn scan_portable<T: Copy>(
    units: &[T],
    may_matter: impl Fn(T, T, T) -> bool + Copy,
    mut visit: impl FnMut(usize) -> ControlFlow<()>,
) -> ControlFlow<(), usize> {
    let mut at = 0;
    // Where a block has some, the next will have some, too: it is not asked first.
    let mut is_rich = false;
    while let Some(block) = units.get(at..at + BLOCK + BEHIND) {
        if is_rich || matters(block, 0, BLOCK, may_matter).fold(0, |any, one| any | one) != 0 {
            is_rich = visit_block(block, at, may_matter, &mut visit)?;
        }
        at += BLOCK;
    }
    ControlFlow::Continue(at)
}

/// One for each of `count` places from `at` on that `may_matter`, zero for the others.
#[inline(always)]
fn matters<T: Copy>(
    block: &[T],
    at: usize,
    count: usize,
    may_matter: impl Fn(T, T, T) -> bool,
) -> impl Iterator<Item = u8> {
    let (first, second) = (&block[at..at + count], &block[at + 1..at + 1 + count]);
    let units = first.iter().zip(second).zip(&block[at + 2..at + 2 + count]);
    units.map(move |((first, second), third)| u8::from(may_matter(*first, *second, *third)))
}

/// Visits the places of a block that begins at `start`, row by row; says whether there are any.
#[inline(always)]
fn visit_block<T: Copy>(
    block: &[T],
    start: usize,
    may_matter: impl Fn(T, T, T) -> bool + Copy,
    visit: &mut impl FnMut(usize) -> ControlFlow<()>,
) -> ControlFlow<(), bool> {
    // One byte for each column, one bit of it for each row.
    let mut found = [0; WIDTH];
    for row in 0..BLOCK / WIDTH {
        let columns = found.iter_mut().zip(matters(block, row * WIDTH, WIDTH, may_matter));
        columns.for_each(|(found, one)| *found |= one << row);
    }
    if found == [0; WIDTH] {
        return ControlFlow::Continue(false);
    }
    for row in 0..BLOCK / WIDTH {
        let start = start + row * WIDTH;
        for (start, columns) in (start..).step_by(8).zip(found.chunks_exact(8)) {
            let columns = u64::from_le_bytes(columns.try_into().unwrap_or_default());
            let mut places = columns & 0x0101_0101_0101_0101 << row;
            while places != 0 {
                visit(start + places.trailing_zeros() as usize / 8)?;
                places &= places - 1;
            }
        }
    }
    ControlFlow::Continue(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways to scan, and the search, find what looking at each place finds.
    #[test]
    fn each_place_is_found_in_order() {
        let is_it = |first: u32, second, third| (first == 1) & (second != 1) & (third < 3);
        let mut table = [0; 256];
        table[1] = 2;
        let mut seed = 1_u32;
        for length in 0..600 {
            let units: Vec<u32> = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 29) / if length % 3 == 0 { 1 } else { 2 }
            })
            .take(length)
            .collect();
            let end = length.saturating_sub(BEHIND) / BLOCK * BLOCK;
            let expected: Vec<usize> =
                (0..end).filter(|&at| is_it(units[at], units[at + 1], units[at + 2])).collect();
            let bytes: Vec<u8> = units.iter().map(|&unit| unit as u8).collect();
            let is_byte = |a: u8, b: u8, c: u8| is_it(a.into(), b.into(), c.into());
            let mut found = [Vec::new(), Vec::new(), Vec::new()];
            let [ref mut first, ref mut second, ref mut third] = found;
            let keep = |places: &mut Vec<usize>, at| {
                places.push(at);
                ControlFlow::Continue(())
            };
            let ends = [
                scan(&units, is_it, |at| keep(first, at)),
                scan(&bytes, is_byte, |at| keep(second, at)),
                scan_portable(&bytes, is_byte, |at| keep(third, at)),
            ];
            assert_eq!(ends, [ControlFlow::Continue(end); 3]);
            assert_eq!(found, [&expected[..]; 3]);
            for from in [0, length / 2, length] {
                let expected = (from..length).find(|&at| bytes[at] == 1);
                assert_eq!(find(&bytes, from, &table, 2), expected);
                assert_eq!(find(&bytes, from, &table, 1), None);
            }
        }
    }

    /// A visit that breaks ends the scan.
    #[test]
    fn a_scan_can_be_broken_off() {
        let mut visits = 0;
        let broken = scan(
            &[0_u8; 2 * BLOCK + BEHIND],
            |_, _, _| true,
            |at| {
                visits += 1;
                if at == BLOCK + 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        assert_eq!((broken, visits), (ControlFlow::Break(()), BLOCK + 2));
    }
}
