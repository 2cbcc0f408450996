#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| squall_fuzz::acker_ops(data));
