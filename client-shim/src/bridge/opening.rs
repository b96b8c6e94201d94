//! What the daemon is told first: whom to talk to and how. Made once from the
//! command line and the environment, said again to every daemon.

use std::io::IsTerminal;
use std::time::Duration;

use mcp_remote_proto::v1::{
    Display, Notice, NoticeLevel, Open, Options, Purpose, ServerSummary, Transport,
};
use mcp_remote_proto::{API_VERSION, VERSION};
use tonic::{Code, Status};

use crate::auth_options;
use crate::cli::BridgeArguments;
use crate::environment::{Environment, absolute};
use crate::exit::{Exit, ShimError};
use crate::headers;
use crate::notices::Notices;

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
    let interactive = std::io::stderr().is_terminal() || std::io::stdin().is_terminal();
    let transport: Transport = arguments.transport;
    let open = Open {
        server_url: arguments.url.clone(),
        options: Some(Options {
            allow_http: arguments.allow_http,
            transport: transport.into(),
            ca_file,
            ssl_cert_file,
            debug: arguments.debug,
            request_timeout_ms: arguments.request_timeout.map_or(0, milliseconds),
            reuse: arguments.reuse.into(),
        }),
        headers,
        proxy: environment.proxy(),
        api_version: API_VERSION,
        shim_version: VERSION.to_owned(),
        shim_pid: std::process::id(),
        purpose: Purpose::Bridge.into(),
        resumed: None,
        auth: Some(auth),
        display: Some(environment.display(interactive, arguments.auth.no_browser)),
        auth_folder: environment.auth_folder()?,
    };
    let server = without_secrets(&arguments.url);
    Ok(Opening { open, server })
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

    /// Returns the server's URL without secrets.
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

/// At least one: none would mean for ever.
fn milliseconds(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// Leaves out credentials, query and fragment, which may be secret.
pub(super) fn without_secrets(url: &str) -> String {
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
