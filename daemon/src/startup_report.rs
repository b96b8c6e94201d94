//! The one line by which a daemon tells the shim that started it how it went.
//! Standard output carries it and is then given up, so that nothing of the
//! shim's stays open in us.

use std::io::Write as _;

use mcp_remote_proto::endpoint::Endpoint;

/// How starting went.
#[derive(Debug)]
pub(crate) enum Report<'a> {
    /// It accepts connections.
    Ready(&'a Endpoint),
    /// Another daemon serves this state folder.
    Running(Option<u32>),
    /// It failed, with this exit code and sentence.
    Failed(u8, &'a str),
}

/// Writes the report and closes standard output.
pub(crate) fn send(report: &Report<'_>) {
    let line = match report {
        Report::Ready(endpoint) => format!("ready {endpoint}\n"),
        Report::Running(pid) => format!("running {}\n", pid.unwrap_or(0)),
        Report::Failed(code, sentence) => format!("failed {code} {sentence}\n"),
    };
    let mut out = std::io::stdout();
    // The shim may have been killed meanwhile: we serve those that come.
    if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        tracing::debug!(%error, "nobody reads the start-up report");
    }
    close_stdout();
}

#[cfg(unix)]
fn close_stdout() {
    let closed = std::fs::File::options()
        .write(true)
        .open("/dev/null")
        .and_then(|null| Ok(rustix::stdio::dup2_stdout(null)?));
    if let Err(error) = closed {
        tracing::warn!(%error, "standard output could not be closed");
    }
}

#[cfg(not(unix))]
fn close_stdout() {}
