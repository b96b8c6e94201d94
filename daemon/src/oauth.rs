//! OAuth 2.1 client: signs people in, keeps their tokens and renews them. Others
//! see [`Authority`] and [`TokenSource`]. Knows no MCP messages.
//!
//! A token leaves this module only as a sensitive header value; it is in no log,
//! error, `Debug` or status.
#![expect(dead_code, reason = "sessions do not ask for tokens yet")]

pub(crate) mod identity;

pub(crate) mod challenge;
pub(crate) mod scope;
pub(crate) mod text;
