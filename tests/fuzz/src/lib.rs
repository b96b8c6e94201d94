//! What has to hold for any bytes, in `check` one module a decoder; `targets/`
//! hands each the inputs that the fuzzer makes up.
//!
//! The decoders are private to their crates, and those crates are large: their
//! files are compiled into this one, under the names by which they know each other.

extern crate self as mcp_remote_proto;

#[path = "../../../daemon/src/upstream/sse/decoder.rs"]
mod decoder;
#[path = "../../../client-shim/src/stdio/framing.rs"]
mod framing;
#[expect(dead_code, reason = "the daemon uses the rest")]
#[path = "../../../daemon/src/jsonrpc.rs"]
mod jsonrpc;
#[path = "../../../proto/src/members.rs"]
pub mod members;

pub mod check;
