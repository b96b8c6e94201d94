//! How a client reaches the daemon: a relay stream of its own, or the real shim.

use std::os::fd::OwnedFd;
use std::process::Stdio;

use mcp_remote_proto::channel::{Channel, ORIGIN};
use mcp_remote_proto::v1::relay_request::Frame;
use mcp_remote_proto::v1::relay_service_client::RelayServiceClient;
use mcp_remote_proto::v1::{Header, Open, Options, RelayRequest, RelayResponse, relay_response};
use mcp_remote_proto::{API_VERSION, VERSION};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::home::TestHome;
use crate::process::Program;

/// Messages that a client may send ahead of the daemon.
const OUTBOX: usize = 16;

/// A client's end of its connection; dropped, it is cut.
#[derive(Debug)]
pub(super) enum Link {
    Stream {
        outbox: Option<mpsc::Sender<RelayRequest>>,
        inbox: Streaming<RelayResponse>,
    },
    Shim {
        _program: Program,
        stdin: Option<pipe::Sender>,
        stdout: Lines<BufReader<pipe::Receiver>>,
    },
}

impl Link {
    /// Opens a relay stream.
    pub(super) async fn stream(channel: Channel, url: &str, seed: u64) -> Result<Self, String> {
        let origin = ORIGIN.parse().expect("it is a URI");
        let mut client = RelayServiceClient::with_origin(channel, origin);
        let (outbox, requests) = mpsc::channel(OUTBOX);
        let open = Open {
            server_url: url.to_owned(),
            options: Some(Options::default()),
            headers: vec![Header {
                name: "x-seed".to_owned(),
                value: seed.to_string(),
            }],
            api_version: API_VERSION,
            shim_version: VERSION.to_owned(),
            shim_pid: std::process::id(),
            ..Open::default()
        };
        let open = RelayRequest {
            frame: Some(Frame::Open(Box::new(open))),
        };
        outbox.send(open).await.expect("there is room");
        let answer = client.relay(ReceiverStream::new(requests)).await;
        Ok(Self::Stream {
            outbox: Some(outbox),
            inbox: answer.map_err(|status| status.to_string())?.into_inner(),
        })
    }

    /// Starts a shim.
    pub(super) fn shim(home: &TestHome, url: &str, seed: u64) -> Self {
        let header = format!("x-seed: {seed}");
        let mut command = home.command("mcp-remote", &[url, "--silent", "--header", &header]);
        let (program, stdin, stdout) = Program::start(command.stderr(Stdio::null()));
        let stdin: OwnedFd = stdin.expect("it is a pipe").into();
        let stdout: OwnedFd = stdout.expect("it is a pipe").into();
        let stdout = pipe::Receiver::from_owned_fd(stdout).expect("it is a pipe");
        Self::Shim {
            _program: program,
            stdin: Some(pipe::Sender::from_owned_fd(stdin).expect("it is a pipe")),
            stdout: BufReader::new(stdout).lines(),
        }
    }

    /// Sends a message, unless all has been said.
    pub(super) async fn send(&mut self, message: &str) -> Result<(), String> {
        match self {
            Self::Stream { outbox, .. } => {
                let Some(outbox) = outbox else { return Ok(()) };
                let message = message.as_bytes().to_vec().into();
                let frame = Some(Frame::Message(message));
                let sent = outbox.send(RelayRequest { frame }).await;
                sent.map_err(|_| "the daemon has ended the stream".to_owned())
            }
            Self::Shim { stdin, .. } => {
                let Some(stdin) = stdin else { return Ok(()) };
                let sent = stdin.write_all(format!("{message}\n").as_bytes()).await;
                sent.map_err(|error| format!("the shim does not read: {error}"))
            }
        }
    }

    /// Waits for the next message; `None` at the end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<String>, String> {
        match self {
            Self::Stream { inbox, .. } => loop {
                let response = inbox.message().await.map_err(|status| status.to_string())?;
                match response.map(|response| response.frame) {
                    None => return Ok(None),
                    Some(Some(relay_response::Frame::Message(message))) => {
                        let text = String::from_utf8(message.into());
                        return text.map(Some).map_err(|error| error.to_string());
                    }
                    Some(_) => {}
                }
            },
            Self::Shim { stdout, .. } => {
                stdout.next_line().await.map_err(|error| error.to_string())
            }
        }
    }

    /// Says that there is nothing more to say.
    pub(super) fn half_close(&mut self) {
        match self {
            Self::Stream { outbox, .. } => *outbox = None,
            Self::Shim { stdin, .. } => *stdin = None,
        }
    }
}
