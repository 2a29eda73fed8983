//! Where the id of a delegation comes from.

use std::sync::Arc;

/// Random bits for new ids: the system is asked for many at once. A forked child asks anew.
#[derive(Default)]
pub(super) struct Ids {
    bits: [u64; Self::MANY],
    left: usize,
}

impl Ids {
    const MANY: usize = 32;

    /// `deleg_` and 64 random bits in hex.
    pub(super) fn new_id(&mut self) -> Arc<str> {
        if self.left == 0 {
            let mut bytes = [0; Self::MANY * 8];
            getrandom::fill(&mut bytes).expect("the operating system gives random bits");
            for (bits, bytes) in self.bits.iter_mut().zip(bytes.chunks_exact(8)) {
                *bits = bytes.iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
            }
            self.left = Self::MANY;
        }
        self.left -= 1;
        let bits = self.bits[self.left];
        let mut id = *b"deleg_0000000000000000";
        for (place, digit) in id[6..].iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(bits >> (60 - 4 * place)) as usize & 0xF];
        }
        std::str::from_utf8(&id).expect("hex is ASCII").into()
    }
}
