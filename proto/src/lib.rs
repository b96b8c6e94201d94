//! The contract between the shim and the daemon: generated gRPC types, the place
//! where the two meet, and how one dials the other.
//!
//! Knows no MCP, no OAuth and no policy; a JSON-RPC message is bytes here, of
//! which [`members`] can name a few top-level parts.

pub mod browser;
pub mod calls;
pub mod channel;
pub mod codec;
pub mod endpoint;
pub mod members;
pub mod names;
pub mod program;
pub mod release;

/// The generated types of `mcp_remote.v1`.
#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::too_many_lines,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("mcp_remote.v1");
}

/// The contract itself, for clients that ask for it (gRPC reflection): an encoded
/// `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Version of the contract: two sides with the same number understand each
/// other. Raised only when `v1` of the `.proto` files is left.
pub const API_VERSION: u32 = 1;

/// Largest JSON-RPC message in bytes, in either direction. A longer one is
/// answered with an error. Raising it raises what a hostile peer can make the
/// daemon hold.
pub const MAX_MESSAGE_LEN: usize = 32 * 1024 * 1024;

/// Largest gRPC frame in bytes: a message and the few bytes around it.
pub const MAX_FRAME_LEN: usize = MAX_MESSAGE_LEN + 64 * 1024;

/// Release of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
