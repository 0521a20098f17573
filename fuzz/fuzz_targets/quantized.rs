#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| evopress_fuzz::quantized(input));
