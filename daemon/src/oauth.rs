//! OAuth 2.1 client: signs people in, keeps their tokens and renews them. Others
//! see [`Authority`] and [`TokenSource`]. Knows no MCP messages.
//!
//! A token leaves this module only as a sensitive header value; it is in no log,
//! error, `Debug` or status.
#![expect(dead_code, reason = "sessions do not ask for tokens yet")]

pub(crate) mod browsers;
pub(crate) mod endpoints;
pub(crate) mod grant;
pub(crate) mod identity;
pub(crate) mod loopback;
pub(crate) mod pages;
pub(crate) mod redirect;
pub(crate) mod sign_in;
pub(crate) mod store;

pub(crate) mod address;
pub(crate) mod authorization;
pub(crate) mod authorize_url;
pub(crate) mod challenge;
pub(crate) mod discovery;
pub(crate) mod http;
pub(crate) mod registration;
pub(crate) mod scope;
pub(crate) mod text;
pub(crate) mod token;

#[cfg(test)]
mod fake;
