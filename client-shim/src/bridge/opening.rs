//! What the daemon is told first: whom to talk to and how. Made once from the
//! command line and the environment, said again to every daemon.

use std::io::IsTerminal;
use std::time::Duration;

use mcp_remote_proto::names;
use mcp_remote_proto::v1::{
    Display, Notice, NoticeLevel, Open, Options, Purpose, ServerSummary, Transport,
};
use mcp_remote_proto::{API_VERSION, VERSION};
use tonic::{Code, Status};

use crate::auth_options;
use crate::cli::{BridgeArguments, ConnectionArguments};
use crate::environment::{Environment, absolute};
use crate::exit::{Exit, ShimError};
use crate::headers;
use crate::notices::Notices;
use crate::terminal::columns_of_standard_error;

/// The first frame, and the server's name for people.
#[derive(Clone)]
pub(crate) struct Opening {
    open: Open,
    server: String,
}

/// Makes the first frame.
///
/// # Errors
/// A header or a path that cannot be used.
pub(crate) fn opening(
    arguments: &BridgeArguments,
    environment: &Environment,
    notices: Notices,
) -> Result<Opening, ShimError> {
    let ca_file = match &arguments.ca_file {
        Some(path) => absolute(path, "--ca-file")?,
        None => String::new(),
    };
    // What Node.js adds to its own certificates, if it can be read.
    let environment_ca_file = match environment.path("NODE_EXTRA_CA_CERTS") {
        Some(path) if path.is_file() => absolute(&path, "NODE_EXTRA_CA_CERTS")?,
        _ => String::new(),
    };
    let ssl_cert_file = match environment.path("SSL_CERT_FILE") {
        Some(path) => absolute(&path, "SSL_CERT_FILE")?,
        None => String::new(),
    };
    let (headers, raw) = headers::collect(&arguments.headers, environment, |warning| {
        notices.info(warning);
    })?;
    let auth = auth_options::collect(&arguments.auth, raw, environment, |warning| {
        notices.info(warning);
    })?;
    let transport: Transport = arguments.transport;
    let (name, server_url) = name_or_url(&arguments.url);
    let open = Open {
        name,
        server_url,
        options: Some(Options {
            allow_http: arguments.allow_http,
            transport: transport.into(),
            ca_file,
            ssl_cert_file,
            debug: arguments.debug,
            request_timeout_ms: arguments.request_timeout.map_or(0, milliseconds),
            reuse: arguments.reuse.into(),
            no_request_timeout: arguments.request_timeout == Some(Duration::ZERO),
            environment_ca_file,
            cache_lists: arguments.cache_lists.clone(),
            ..connection(&arguments.connection)
        }),
        headers,
        proxy: environment.proxy(),
        api_version: API_VERSION,
        shim_version: VERSION.to_owned(),
        shim_pid: std::process::id(),
        purpose: Purpose::Bridge.into(),
        resumed: None,
        auth: Some(auth),
        display: Some(display(arguments, environment)),
        one_shot: None,
        auth_folder: environment.auth_folder()?,
    };
    let server = without_secrets(&arguments.url);
    Ok(Opening { open, server })
}

/// Who can be asked to sign in here, and what they see.
fn display(arguments: &BridgeArguments, environment: &Environment) -> Display {
    let interactive = std::io::stderr().is_terminal() || std::io::stdin().is_terminal();
    let is_build = environment.is_ci() && !interactive;
    Display {
        stderr_columns: columns_of_standard_error(environment),
        non_interactive: arguments.auth.non_interactive || is_build,
        ..environment.display(interactive, arguments.auth.no_browser)
    }
}

/// Tells the name of a configured server, which the daemon looks up, from a URL.
pub(crate) fn name_or_url(typed: &str) -> (String, String) {
    match names::check(typed) {
        Ok(()) => (typed.to_owned(), String::new()),
        Err(_) => (String::new(), typed.to_owned()),
    }
}

impl Opening {
    /// Returns the first frame of a stream.
    pub(crate) fn open(&self, purpose: Purpose) -> Open {
        Open {
            purpose: purpose.into(),
            ..self.open.clone()
        }
    }

    /// Returns what there is of a desktop.
    pub(crate) fn display(&self) -> &Display {
        self.open
            .display
            .as_ref()
            .expect("an opening is made with one")
    }

    /// Returns the server's name, or its URL without secrets.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Says who answers.
    pub(crate) fn connected(&self, server: &ServerSummary) -> String {
        let ServerSummary {
            name,
            version,
            protocol_version,
            transport,
            ..
        } = server;
        let url = &self.server;
        format!("Connected to {name} {version} at {url} ({transport}, {protocol_version})")
    }

    /// Says so in the npm package's words, which scripts look for.
    pub(crate) fn established(server: &ServerSummary) -> String {
        let transport = match server.transport.as_str() {
            "http+sse" => "SSEClientTransport",
            _ => "StreamableHTTPClientTransport",
        };
        format!("Proxy established successfully between local STDIO and remote {transport}")
    }

    /// Passes on what the daemon says to the user.
    pub(crate) fn notice(&self, notices: Notices, notice: &Notice) {
        match notice.level() {
            NoticeLevel::Debug => notices.debug(&notice.text),
            NoticeLevel::Info | NoticeLevel::Unspecified => notices.info(&notice.text),
            NoticeLevel::Error => notices.error(&notice.text),
        }
    }
}

/// Tells a daemon that refuses from one that is lost.
///
/// # Errors
/// The daemon's own sentence: trying again would not help.
pub(crate) fn refusal(status: &Status) -> Result<(), ShimError> {
    let exit = match status.code() {
        Code::InvalidArgument => Exit::ERROR,
        Code::FailedPrecondition => Exit::VERSION_MISMATCH,
        _ => return Ok(()),
    };
    Err(ShimError::new(exit, status.message()))
}

/// What the flags about the connection say.
fn connection(arguments: &ConnectionArguments) -> Options {
    let given = |timeout: Option<Duration>| {
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        timeout.map_or(0, milliseconds)
    };
    Options {
        ignore_tools: arguments.ignore_tools.clone(),
        ping_interval_ms: given(arguments.ping_interval()),
        connect_timeout_ms: given(arguments.connect_timeout),
        headers_timeout_ms: given(arguments.headers_timeout),
        body_timeout_ms: given(arguments.body_timeout),
        no_headers_timeout: arguments.headers_timeout == Some(Duration::ZERO),
        no_body_timeout: arguments.body_timeout == Some(Duration::ZERO),
        ipv4: arguments.ipv4,
        disable_cookies: arguments.disable_cookies,
        ..Options::default()
    }
}

/// At least one: none would mean for ever.
fn milliseconds(timeout: Duration) -> u64 {
    let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    milliseconds.max(u64::from(!timeout.is_zero()))
}

/// Leaves out credentials, query and fragment, which may be secret; a name has none.
pub(super) fn without_secrets(url: &str) -> String {
    if names::check(url).is_ok() {
        return url.to_owned();
    }
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let scheme_of = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let Some((scheme, rest)) = url[..end]
        .split_once("://")
        .filter(|(scheme, _)| scheme.bytes().all(scheme_of))
    else {
        return "what is not a URL".to_owned();
    };
    // Programs that read URLs forgive more slashes.
    let rest = rest.trim_start_matches(['/', '\\']);
    let host_end = rest.find(['/', '\\']).unwrap_or(rest.len());
    let host = rest[..host_end].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", &rest[host..])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_url_is_shown_without_secrets() {
        for (url, shown) in [
            ("https://h/mcp", "https://h/mcp"),
            ("https://h:8443/mcp?key=s#f", "https://h:8443/mcp"),
            ("https://user:p@ss@h/a@b", "https://h/a@b"),
            ("https://h?k=http://x/", "https://h"),
            ("https://h", "https://h"),
            ("https:///user:pass@h/mcp", "https://h/mcp"),
            ("https:/user:pass@h", "what is not a URL"),
            ("user:pass@https://h", "what is not a URL"),
            ("github", "github"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }

    #[test]
    fn paths_travel_absolute() {
        let path = absolute(Path::new("ca.pem"), "--ca-file").expect("a path");
        assert!(Path::new(&path).is_absolute() && path.ends_with("ca.pem"));
        let path = absolute(Path::new("/x/ca.pem"), "--ca-file").expect("a path");
        assert_eq!(path, "/x/ca.pem");
    }
}
