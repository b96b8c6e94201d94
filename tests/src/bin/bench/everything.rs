//! The real MCP server that everything is measured against, on a loopback port.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::Failure;

/// server-everything, running until dropped.
#[derive(Debug)]
pub(crate) struct Everything {
    child: Child,
    /// Kept open: it would fail on a closed one. It says nothing worth reading.
    _stderr: BufReader<ChildStderr>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Everything {
    /// Starts it on a free port and waits until it accepts.
    pub(crate) fn start(peers: &Path) -> Result<Self, Failure> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let package = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
        let mut child = Command::new("node")
            .arg(peers.join(package))
            .arg("streamableHttp")
            .env("PORT", address.port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stderr = BufReader::new(child.stderr.take().ok_or("no stderr")?);
        let mut line = String::new();
        while !line.contains("listening on port") {
            line.clear();
            if stderr.read_line(&mut line)? == 0 {
                drop(child.wait());
                return Err("server-everything did not start".into());
            }
        }
        Ok(Self {
            child,
            _stderr: stderr,
            address,
        })
    }

    /// The URL of its MCP endpoint.
    pub(crate) fn url(&self) -> String {
        url("http", self.address)
    }
}

/// The URL of the MCP endpoint at another address.
pub(crate) fn url(scheme: &str, address: SocketAddr) -> String {
    format!("{scheme}://{address}/mcp")
}

impl Drop for Everything {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
