#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| kvass::fuzzing::run("frame", data));
