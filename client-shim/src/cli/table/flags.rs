//! The flags of a bridge, and those that several commands have.

use super::{Flag, LEVELS, Values};

/// The flags of every command.
pub(crate) const COMMON: &[Flag] = &[
    switch(&["--debug", "--verbose"], "say more on standard error"),
    switch(&["--silent"], "say nothing on standard error"),
    switch(&["--help", "-h"], "print this text"),
    switch(&["--version"], "print the version"),
];

/// The flags of whatever talks to a server.
pub(super) const BRIDGE: &[Flag] = &[
    valued(
        &["--header"],
        "'Name: value'",
        Values::Any,
        "send this header; ${VAR} is taken from the environment; may be repeated",
    ),
    valued(
        &["--header-file"],
        "PATH",
        Values::File,
        "send the headers of this file, one a line, # comments",
    ),
    valued(
        &["--transport"],
        "STRATEGY",
        Values::OneOf(&["http-first", "sse-first", "http-only", "sse-only"]),
        "which transport, or which first (http-first)",
    ),
    valued(
        &["--reuse"],
        "MODE",
        Values::OneOf(&["sequential", "never", "concurrent"]),
        "who may have the session besides this command (sequential)",
    ),
    switch(
        &["--allow-http"],
        "permit http to hosts other than this one",
    ),
    valued(
        &["--ca-file"],
        "PATH",
        Values::File,
        "trust the certificates of this PEM file as well",
    ),
    valued(
        &["--drain-timeout"],
        "SECONDS",
        Values::Any,
        "wait this long for answers at the end of the input (30)",
    ),
    valued(
        &["--request-timeout"],
        "SECONDS",
        Values::Any,
        "give a request up after this long without an answer or progress (never)",
    ),
    valued(
        &["--ignore-tool"],
        "PATTERN",
        Values::Any,
        "hide the tools of this name, * stands for anything; may be repeated",
    ),
    switch(&["--keep-alive"], "ping the server meanwhile"),
    valued(
        &["--ping-interval"],
        "SECONDS",
        Values::Any,
        "the same, this often (30)",
    ),
    valued(
        &["--connect-timeout"],
        "SECONDS",
        Values::Any,
        "give up connecting after this long (10)",
    ),
    valued(
        &["--headers-timeout"],
        "SECONDS",
        Values::Any,
        "give up on the beginning of a response likewise (never)",
    ),
    valued(
        &["--body-timeout"],
        "SECONDS",
        Values::Any,
        "give up on a response that is silent likewise (never)",
    ),
    switch(&["--ipv4"], "connect to IPv4 addresses only"),
    switch(&["--disable-cookies"], "keep no cookies"),
    valued(
        &["--protocol"],
        "MODE",
        Values::OneOf(&["legacy", "auto"]),
        "which revisions, as the npm package",
    ),
    valued(
        &["--cache-lists"],
        "WHEN",
        Values::Any,
        "answer lists from memory: never, certain, or for so many seconds",
    ),
    switch(
        &["--no-browser"],
        "print the URL to sign in at, open no browser",
    ),
    switch(
        &["--device-code", "--device"],
        "sign in by a code that is typed in on any machine",
    ),
    switch(
        &["--non-interactive"],
        "ask nobody to sign in: fail at once (as with CI=true and no terminal)",
    ),
    valued(
        &["--auth-timeout"],
        "SECONDS",
        Values::Any,
        "wait this long for somebody to sign in (30)",
    ),
    valued(
        &["--static-oauth-client-info"],
        "JSON",
        Values::Any,
        "a client registered by hand; @file reads a file",
    ),
    valued(
        &["--static-oauth-client-metadata"],
        "JSON",
        Values::Any,
        "what to say besides the usual when registering; @file reads a file",
    ),
    valued(
        &["--client-metadata-url"],
        "URL",
        Values::Any,
        "the URL that is the client id",
    ),
    valued(
        &["--resource"],
        "URI",
        Values::Any,
        "send this as resource instead of what the server publishes",
    ),
    switch(&["--disable-resource-parameter"], "send no resource"),
    valued(
        &["--authorize-param"],
        "NAME=VALUE",
        Values::Any,
        "one more parameter of the authorization request; may be repeated",
    ),
    valued(
        &["--host"],
        "HOST",
        Values::Any,
        "the host in the redirect URI (localhost)",
    ),
    valued(
        &["--callback-path"],
        "PATH",
        Values::Any,
        "the path in the redirect URI (/oauth/callback)",
    ),
    valued(
        &["--auth-success-url"],
        "URL",
        Values::Any,
        "where the browser goes afterwards",
    ),
    switch(
        &["--use-id-token"],
        "send the ID token instead of the access token",
    ),
    switch(
        &["--client-credentials"],
        "nobody signs in: the client given by hand is a service account",
    ),
    valued(
        &["--token-endpoint"],
        "URL",
        Values::Any,
        "where the service account asks, instead of where the server leads",
    ),
    valued(
        &["--client-key"],
        "PATH",
        Values::File,
        "its private key (PEM or JWK) instead of a secret",
    ),
    valued(
        &["--client-key-id"],
        "ID",
        Values::Any,
        "how the authorization server calls that key",
    ),
    valued(
        &["--client-assertion-audience"],
        "AUDIENCE",
        Values::Any,
        "for whom it signs: issuer (default), token-endpoint, or, with that flag, a URL",
    ),
    valued(
        &["--bearer-token-file"],
        "PATH",
        Values::File,
        "nobody signs in: send the token of this file, read again when it changes",
    ),
    switch(
        &["--allow-missing-pkce"],
        "accept an authorization server that does not announce PKCE",
    ),
    valued(
        &["--dpop"],
        "WHEN",
        Values::OneOf(&["auto", "always", "never"]),
        "when tokens are bound to a key (auto: where the server asks for it)",
    ),
    valued(
        &["--workload-token-file"],
        "PATH",
        Values::File,
        "nobody signs in: show the workload token of this file (experimental)",
    ),
    valued(
        &["--identity-provider"],
        "URL",
        Values::Any,
        "sign in at this identity provider, which vouches for you (experimental)",
    ),
    valued(
        &["--identity-provider-client"],
        "JSON",
        Values::Any,
        "the client registered there; @file reads a file",
    ),
    valued(
        &["--identity-provider-key"],
        "PATH",
        Values::File,
        "the private key of that client, PEM or JWK",
    ),
    valued(
        &["--subject-token-file"],
        "PATH",
        Values::File,
        "nobody signs in there: show it the token of this file",
    ),
    valued(
        &["--subject-token-type"],
        "TYPE",
        Values::OneOf(&["id-token", "refresh-token"]),
        "what that file holds (id-token)",
    ),
];

const fn switch(names: &'static [&'static str], summary: &'static str) -> Flag {
    Flag {
        names,
        value: None,
        summary,
    }
}

const fn valued(
    names: &'static [&'static str],
    value: &'static str,
    values: Values,
    summary: &'static str,
) -> Flag {
    Flag {
        names,
        value: Some((value, values)),
        summary,
    }
}

/// `--json`.
pub(super) const fn json(summary: &'static str) -> Flag {
    switch(&["--json"], summary)
}

/// `-f`.
pub(super) const fn follow() -> Flag {
    switch(&["--follow", "-f"], "go on with what is logged from now on")
}

/// `--level`.
pub(super) const fn level() -> Flag {
    Flag {
        names: &["--level"],
        value: Some(("LEVEL", Values::OneOf(LEVELS))),
        summary: "only lines at least as bad as this",
    }
}
