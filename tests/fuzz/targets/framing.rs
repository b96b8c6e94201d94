#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mcp_remote_fuzz::check::framing::check(input));
