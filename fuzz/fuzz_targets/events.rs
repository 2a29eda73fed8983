#![no_main]

use libfuzzer_sys::Corpus;

// Input that decodes to nothing is not worth keeping.
libfuzzer_sys::fuzz_target!(|data: &[u8]| -> Corpus {
    hermes_core_fuzz::events(data).map_or(Corpus::Reject, |()| Corpus::Keep)
});
