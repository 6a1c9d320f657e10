#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lockstep_fuzz::read_with_a_part(lockstep_fuzz::operator().into(), bytes);
});
