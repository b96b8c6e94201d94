//! What `--help` prints: every flag, shortly; and what is said when a command line
//! makes no sense.

use crate::exit::{Exit, ShimError};

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
Usage: mcp-remote <https://server-url> [callback-port] [flags]
       mcp-remote login <https://server-url> [flags]
       mcp-remote logout <https://server-url> [flags] | --all
       mcp-remote status [SERVER] [--json]
       mcp-remote call [flags] <https://server-url> TOOL [--key value ...]
       mcp-remote tools <https://server-url> [TOOL] [--json] [flags]
       mcp-remote stop

Speaks MCP on standard input and output for a remote server, through the
daemon mcp-remoted, which keeps the session warm and is started when needed.
At a terminal it signs in if that is needed, says who answers, and ends.

Flags:
  --header 'Name: value'  send this header; ${VAR} is taken from the environment
  --header-file PATH      send the headers of this file, one a line, # comments
  --transport STRATEGY    http-first (default), sse-first, http-only, sse-only
  --reuse MODE            sequential (default), never, concurrent: who may have the
                          session besides this command
  --allow-http            permit http to hosts other than this one
  --ca-file PATH          trust the certificates of this PEM file as well
  --drain-timeout SECONDS wait this long for answers at the end (default 30)
  --request-timeout SECONDS  give a request up after this long without an answer
                          or progress (default: never)
  --cache-lists WHEN      certain (default), never, or a number of seconds: answer
                          lists from memory while they cannot have changed
  --json JSON|@FILE|-     (call) all arguments of the tool at once
  --output text|json      (call) what the tool says (default), or the whole result
  --save-to DIR           (call) where images, audio and other files are put
  --no-browser            print the URL to sign in at, open no browser
  --auth-timeout SECONDS  wait this long for somebody to sign in
  --static-oauth-client-info JSON|@file      a client registered by hand
  --static-oauth-client-metadata JSON|@file  what to register with
  --client-metadata-url URL                  the URL that is the client id
  --resource URI, --disable-resource-parameter, --authorize-param NAME=VALUE,
  --host HOST, --callback-path PATH, --auth-success-url URL, --use-id-token,
  --allow-missing-pkce    see the README
  --debug, --verbose      say more on standard error
  --silent                say nothing on standard error
  --help, -h              this text
  --version               the version
";

/// Refuses an argument that is one too many.
pub(super) fn unexpected(command: &str, position: usize) -> ShimError {
    usage(&format!(
        "the argument in position {position} means nothing to mcp-remote {command}"
    ))
}

/// Refuses a command line.
pub(super) fn usage(sentence: &str) -> ShimError {
    ShimError::new(Exit::USAGE, format!("{sentence}\n{}", USAGE.trim_end()))
}
