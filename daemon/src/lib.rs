//! `mcp-remoted`: one daemon a user, holding warm sessions to remote MCP servers
//! for the shims that MCP clients start.
//!
//! Modules in reading order; each may use those after it, none those before.

pub(crate) mod daemon;

pub(crate) mod cli;
pub(crate) mod config;
pub(crate) mod instance;
pub(crate) mod listening;
pub(crate) mod service_manager;
pub(crate) mod shutdown;
pub(crate) mod startup_report;
pub(crate) mod telemetry;
pub(crate) mod tokens;

pub(crate) mod api;
pub(crate) mod diagnose;
pub(crate) mod one_shot;
pub(crate) mod relay;
pub(crate) mod session;
pub(crate) mod upstream;

pub(crate) mod configuration;

pub(crate) mod oauth;

pub(crate) mod changes;
pub(crate) mod heap;
pub(crate) mod http;
pub(crate) mod storage;

pub(crate) mod jsonrpc;
pub(crate) mod protocol;
pub(crate) mod secret;
pub(crate) mod server_url;
pub(crate) mod shell;

pub use daemon::main;
