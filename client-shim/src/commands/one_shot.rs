//! `mcp-remote call` and `mcp-remote tools`: one command for a server, through the
//! daemon, which does the work; here its answer is shown.
//!
//! What a server sends is foreign: on a terminal it cannot do anything, and a file
//! gets a name and a place of ours. Ctrl-C ends the process, which cancels.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use bytes::Bytes;
use mcp_remote_proto::MAX_MESSAGE_LEN;
use mcp_remote_proto::calls::{self, Answers};
use mcp_remote_proto::v1::one_shot::What;
use mcp_remote_proto::v1::output::What as Shown;
use mcp_remote_proto::v1::relay_request::Frame as Sent;
use mcp_remote_proto::v1::relay_response::Frame;
use mcp_remote_proto::v1::{
    CallTool, Finished, ListTools, OneShot, Open, OutputFile, Purpose, RelayResponse,
};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::bridge::Opening;
use crate::bridge::link::{Requests, request};
use crate::cli::{CallArguments, ToolsArguments};
use crate::daemon::Daemon;
use crate::exit::{Exit, ShimError};
use crate::launch::{Launcher, PATIENCE};
use crate::notices::Notices;
use crate::sign_in::{self, Browsers};

mod files;
mod terminal;

use terminal::Screen;

/// A daemon that is stopping makes place for the next; more than a few do not.
const ATTEMPTS: usize = 3;

/// Calls a tool.
///
/// # Errors
/// What was typed makes no sense, or no daemon can be had.
pub(crate) async fn call(
    arguments: CallArguments,
    opening: &Opening,
    launcher: &Launcher,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let folder = arguments.save_to.as_deref().unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let sentence = format!(
            "--save-to {} is not a folder: make it first",
            folder.display()
        );
        return Err(ShimError::new(Exit::USAGE, sentence));
    }
    let json = arguments.json.as_deref().map(whole).transpose()?;
    let what = What::Call(CallTool {
        name: arguments.tool,
        words: arguments.words,
        arguments: json,
    });
    let one_shot = OneShot {
        what: Some(what),
        as_json: arguments.as_json,
    };
    run(one_shot, folder, opening, launcher, notices).await
}

/// Shows which tools there are.
///
/// # Errors
/// No daemon can be had.
pub(crate) async fn tools(
    arguments: ToolsArguments,
    opening: &Opening,
    launcher: &Launcher,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let what = What::Tools(ListTools {
        name: arguments.tool.unwrap_or_default(),
    });
    let one_shot = OneShot {
        what: Some(what),
        as_json: arguments.as_json,
    };
    run(one_shot, Path::new("."), opening, launcher, notices).await
}

/// Reads the value of `--json`: a file, standard input, or itself.
fn whole(value: &str) -> Result<Bytes, ShimError> {
    let read = |from: &mut dyn Read| {
        let mut bytes = Vec::new();
        // One more shows that it is too long.
        let limit = MAX_MESSAGE_LEN as u64 + 1;
        from.take(limit).read_to_end(&mut bytes).map(|_| bytes)
    };
    let (bytes, source) = match value.strip_prefix('@') {
        Some(path) => {
            let read = std::fs::File::open(path).and_then(|mut file| read(&mut file));
            (read, format!("the file {path} of --json"))
        }
        None if value == "-" => (
            read(&mut std::io::stdin().lock()),
            "standard input".to_owned(),
        ),
        None => (Ok(value.as_bytes().to_owned()), String::new()),
    };
    match bytes {
        Ok(bytes) if bytes.len() > MAX_MESSAGE_LEN => Err(ShimError::new(
            Exit::USAGE,
            format!(
                "{source} has more than {MAX_MESSAGE_LEN} bytes, the most that a call can have"
            ),
        )),
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(ShimError::new(
            Exit::USAGE,
            format!("{source} cannot be read: {error}"),
        )),
    }
}

async fn run(
    one_shot: OneShot,
    folder: &Path,
    opening: &Opening,
    launcher: &Launcher,
    notices: Notices,
) -> Result<Exit, ShimError> {
    let open = Open {
        one_shot: Some(one_shot),
        ..opening.open(Purpose::Unspecified)
    };
    let (stream, _daemon) = connected(open, launcher).await?;
    let show = Show {
        opening,
        notices,
        folder,
        screen: Screen::of_stdout(),
        tools: Vec::new(),
        is_all_saved: true,
        requests: stream.requests,
        browsers: Browsers::default(),
    };
    show.all(stream.responses).await
}

struct Stream {
    requests: Requests,
    responses: Answers<RelayResponse>,
}

/// Begins the command. A daemon that refuses it has executed nothing.
async fn connected(open: Open, launcher: &Launcher) -> Result<(Stream, Daemon), ShimError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut daemon = launcher.connect().await?;
        let (requests, receiver) = mpsc::channel(1);
        requests
            .try_send(request(Sent::Open(Box::new(open.clone()))))
            .expect("a new channel has room for its first frame");
        let answer = daemon.converse(calls::CALL, receiver).await;
        let status = match answer {
            Ok(responses) => {
                let stream = Stream {
                    requests,
                    responses,
                };
                return Ok((stream, daemon));
            }
            Err(status) => status,
        };
        match status.code() {
            Code::Unavailable if attempts < ATTEMPTS => {
                // It is stopping. Only once it has hung up can the next be found.
                let _late = tokio::time::timeout(PATIENCE, daemon.hung_up()).await;
            }
            Code::Unimplemented => {
                let sentence = format!(
                    "{daemon} does not know this command: run mcp-remote stop, then try again"
                );
                return Err(ShimError::new(Exit::VERSION_MISMATCH, sentence));
            }
            _ => return Err(refused(&status)),
        }
    }
}

fn refused(status: &Status) -> ShimError {
    match crate::bridge::refusal(status) {
        Err(refusal) => refusal,
        Ok(()) => ShimError::general(crate::bridge::describe(status)),
    }
}

/// Shows what comes.
struct Show<'a> {
    opening: &'a Opening,
    notices: Notices,
    folder: &'a Path,
    screen: Screen,
    tools: Vec<(String, String)>,
    is_all_saved: bool,
    requests: Requests,
    browsers: Browsers,
}

impl Show<'_> {
    async fn all(mut self, mut responses: Answers<RelayResponse>) -> Result<Exit, ShimError> {
        loop {
            let frame = match responses.message().await {
                Ok(Some(RelayResponse { frame })) => frame,
                Ok(None) => return Err(lost("the daemon ended the command")),
                Err(status) => return Err(lost(&crate::bridge::describe(&status))),
            };
            match frame {
                Some(Frame::Output(output)) => self.output(output.what)?,
                Some(Frame::Finished(finished)) => return self.finished(&finished),
                Some(Frame::SignIn(asked)) => sign_in::say(self.notices, &asked),
                Some(Frame::OpenBrowser(asked)) => {
                    let display = self.opening.display();
                    self.browsers.open(asked, display, &self.requests);
                }
                Some(Frame::Notice(notice)) => self.opening.notice(self.notices, &notice),
                Some(Frame::Server(server)) => self.notices.debug(self.opening.connected(&server)),
                // Otherwise a frame of a kind that this release does not know.
                Some(Frame::Goodbye(_) | Frame::Message(_)) | None => {}
            }
        }
    }

    fn output(&mut self, what: Option<Shown>) -> Result<(), ShimError> {
        match what {
            Some(Shown::Text(text)) => self.print(text.as_bytes()),
            Some(Shown::Json(json)) => self.print(&json),
            Some(Shown::Failure(text)) => {
                let text = Screen::of_stderr().text(text.as_bytes());
                // Nobody is left to tell if standard error is gone.
                let _written = std::io::stderr().write_all(&text);
                Ok(())
            }
            Some(Shown::File(file)) => {
                self.save(&file);
                Ok(())
            }
            Some(Shown::Tool(tool)) => {
                self.tools.push((tool.name, tool.description));
                Ok(())
            }
            // Of a later release.
            None => Ok(()),
        }
    }

    /// Writes a file and says where. The call was executed: what cannot be written
    /// takes nothing of the rest away.
    fn save(&mut self, file: &OutputFile) {
        match files::save(self.folder, &file.name, &file.mime_type, &file.content) {
            Ok(path) => {
                let size = format!("{} bytes", file.content.len());
                let kind = match file.mime_type.is_empty() {
                    true => size,
                    false => format!("{}, {size}", terminal::plain(&file.mime_type)),
                };
                self.notices
                    .info(format_args!("wrote {} ({kind})", path.display()));
            }
            Err(error) => {
                self.is_all_saved = false;
                self.notices.error(error);
            }
        }
    }

    fn finished(mut self, finished: &Finished) -> Result<Exit, ShimError> {
        let lines = self.screen.list(&std::mem::take(&mut self.tools));
        if !lines.is_empty() {
            self.print(lines.as_bytes())?;
        }
        let exit = Exit::finished(finished.exit);
        let sentence = terminal::plain(&finished.sentence);
        match exit {
            Exit::OK if !sentence.is_empty() => self.notices.info(sentence),
            _ if !sentence.is_empty() => return Err(ShimError::new(exit, sentence)),
            _ => {}
        }
        match self.is_all_saved {
            false if exit == Exit::OK => Ok(Exit::ERROR),
            _ => Ok(exit),
        }
    }

    /// Prints on lines of its own. A reader who has gone is no error.
    fn print(&self, text: &[u8]) -> Result<(), ShimError> {
        let mut output = std::io::stdout().lock();
        let written = output
            .write_all(&self.screen.text(text))
            .and_then(|()| output.flush());
        match written {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(ShimError::general(
                format!("standard output cannot be written: {error}"),
            )),
            _ => Ok(()),
        }
    }
}

fn lost(why: &str) -> ShimError {
    ShimError::general(format!(
        "{why} before the answer: a call may have been executed, check whether it was done before repeating it"
    ))
}
