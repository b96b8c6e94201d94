//! One command for a server: calls a tool with what was typed in a shell, or says
//! which tools there are.
//!
//! It is a client of a relay like any other, without capabilities of its own, and
//! asks for lists where a client would. Knows no gRPC and prints nothing: what is
//! to be shown goes out as it came from the server.

mod arguments;
mod content;
mod describe;
mod schema;
mod tools;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::jsonrpc::{self, Envelope, Kind};
use crate::relay::fault::BRIDGE_ERROR;
use crate::relay::{NoticeLevel, ToShim};
use arguments::{Arguments, Refused};

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Call a tool.
    Call {
        /// Its name.
        name: String,
        /// What was typed after it.
        words: Vec<String>,
        /// All arguments as JSON, instead of words.
        arguments: Option<Bytes>,
        /// Show the result as the server sent it.
        as_json: bool,
    },
    /// Say which tools there are.
    Tools {
        /// Only this one, and its arguments.
        name: Option<String>,
        /// Show what the server sent.
        as_json: bool,
    },
}

/// What is to be shown, or happens beside it.
#[derive(Debug)]
pub(crate) enum Said {
    /// The relay says something to whoever runs it.
    Beside(ToShim),
    /// Text.
    Text(String),
    /// JSON, as it came.
    Json(Bytes),
    /// What a tool says of its failure.
    Failure(String),
    /// Something for a file.
    File(File),
    /// A tool: its name, and what it says of itself.
    Tool(String, String),
    /// It is over.
    Finished(Finished),
}

/// Something for a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// What it is.
    pub(crate) mime_type: String,
    /// What it is called where it comes from.
    pub(crate) name: String,
    /// Its content.
    pub(crate) content: Bytes,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    /// The exit code.
    pub(crate) exit: Exit,
    /// For standard error; empty: nothing.
    pub(crate) sentence: String,
}

/// What the exit code will say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// The server or the tool failed.
    Failed,
    /// What was typed makes no sense.
    Usage,
    /// Somebody has to sign in, or to see to a token.
    NeedsLogin,
}

impl Finished {
    fn done() -> Self {
        Self::new(Exit::Done, String::new())
    }

    fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        Self { exit, sentence }
    }
}

/// The relay on one side, whoever wants the answer on the other.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The server's name for people.
    pub(crate) server: String,
    /// Messages for the relay.
    pub(crate) to_relay: mpsc::Sender<Bytes>,
    /// What it says.
    pub(crate) from_relay: mpsc::Receiver<ToShim>,
    /// What is to be shown.
    pub(crate) say: mpsc::Sender<Said>,
    /// The last request's id.
    pub(crate) last_id: u64,
}

/// Does it; returns how it ended, to be said once the relay has ended too and its
/// session is free for the next command. `None`: nobody listens any more, and what
/// is under way is cancelled.
pub(crate) async fn run(command: Command, mut peer: Peer) -> Option<Said> {
    let say = peer.say.clone();
    let finished = tokio::select! {
        finished = peer.execute(command) => finished.unwrap_or_else(|finished| finished),
        () = say.closed() => return None,
    };
    Some(Said::Finished(finished))
}

impl Peer {
    async fn execute(&mut self, command: Command) -> Result<Finished, Finished> {
        match command {
            Command::Call {
                name,
                words,
                arguments,
                as_json,
            } => {
                let arguments = match arguments {
                    Some(json) => whole(&json)?,
                    None => match self.arguments(&name, &words).await? {
                        Some(arguments) => arguments,
                        None => return self.tools(Some(name), false).await,
                    },
                };
                self.call(&name, &arguments, as_json).await
            }
            Command::Tools { name, as_json } => self.tools(name, as_json).await,
        }
    }

    /// Makes the arguments of a tool from what was typed; `None`: help is wanted.
    async fn arguments(
        &mut self,
        name: &str,
        words: &[String],
    ) -> Result<Option<String>, Finished> {
        let tool = self.tool(name).await?;
        match Arguments::of(&tool.schema(), words) {
            Ok(Arguments::Json(json)) => Ok(Some(json)),
            Ok(Arguments::Help) => Ok(None),
            Err(Refused(why)) => Err(Finished::new(Exit::Usage, format!("{name}: {why}"))),
        }
    }

    async fn call(
        &mut self,
        name: &str,
        arguments: &str,
        as_json: bool,
    ) -> Result<Finished, Finished> {
        let name = serde_json::Value::from(name);
        let params = format!(r#"{{"name":{name},"arguments":{arguments}}}"#);
        let answer = self.ask("tools/call", &params).await?;
        let result = self.result(&answer)?;
        let read = content::read(result);
        if as_json {
            let json = Bytes::copy_from_slice(result.get().as_bytes());
            self.show(Said::Json(json)).await;
        } else {
            for said in read.parts {
                self.show(said).await;
            }
        }
        Ok(match read.failed {
            true => Finished::new(Exit::Failed, ""),
            false => Finished::done(),
        })
    }

    /// Asks the server; the error is how the command ends.
    async fn ask(&mut self, method: &str, params: &str) -> Result<Envelope, Finished> {
        self.last_id += 1;
        let id = self.last_id;
        let message =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        // If the relay has ended it says so below.
        drop(self.to_relay.send(message.into()).await);
        while let Some(said) = self.from_relay.recv().await {
            let message = match said {
                ToShim::Message(message) => message,
                // What went wrong is in the answer too.
                ToShim::Goodbye
                | ToShim::SignInNeeded(_)
                | ToShim::Notice(NoticeLevel::Error, _) => continue,
                beside => {
                    self.show(Said::Beside(beside)).await;
                    continue;
                }
            };
            for envelope in Envelope::parse_all(message).into_iter().flatten() {
                match envelope.kind() {
                    Kind::Response if answers(&envelope, id) => return Ok(envelope),
                    Kind::Request => self.refuse(&envelope).await,
                    Kind::Response | Kind::Notification => {}
                }
            }
        }
        let sentence = format!(
            "the daemon stopped before {} answered; the request may have been executed",
            self.server
        );
        Err(Finished::new(Exit::Failed, sentence))
    }

    /// Answers a request of the server, to a client without capabilities.
    async fn refuse(&self, request: &Envelope) {
        let Some(id) = request.id() else { return };
        let answer = match request.method() {
            Some("ping") => id.empty_result(),
            _ => {
                let refusal = "mcp-remote: a command has nobody to ask";
                jsonrpc::error_response(Some(&id), -32601, refusal, None)
            }
        };
        drop(self.to_relay.send(answer).await);
    }

    async fn show(&self, said: Said) {
        // Whether somebody still listens is looked at elsewhere.
        drop(self.say.send(said).await);
    }

    /// Returns the result in an answer; the error is how the command ends.
    fn result<'a>(&self, answer: &'a Envelope) -> Result<&'a RawValue, Finished> {
        #[derive(Deserialize)]
        struct Answer<'a> {
            #[serde(borrow, default)]
            result: Option<&'a RawValue>,
            #[serde(default)]
            error: Option<serde_json::Value>,
        }
        let read: Option<Answer<'_>> = serde_json::from_slice(answer.bytes()).ok();
        match read {
            Some(Answer {
                result: Some(result),
                error: None,
            }) => Ok(result),
            Some(Answer {
                error: Some(error), ..
            }) => Err(failed(&self.server, &error)),
            _ => {
                let sentence = format!("{} gave an answer without a result", self.server);
                Err(Finished::new(Exit::Failed, sentence))
            }
        }
    }
}

/// Checks arguments that were given as a whole.
fn whole(json: &[u8]) -> Result<String, Finished> {
    let text = std::str::from_utf8(json).ok().map(str::trim);
    let is_object = |text: &&str| {
        text.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    };
    match text.filter(is_object) {
        Some(text) => Ok(text.to_owned()),
        None => Err(Finished::new(
            Exit::Usage,
            "the value of --json is not a JSON object",
        )),
    }
}

fn answers(envelope: &Envelope, id: u64) -> bool {
    let answered = envelope.id();
    answered.is_some_and(|answered| answered.as_json() == id.to_string())
}

/// Says what an error of the server, or of the relay about it, means.
fn failed(server: &str, error: &serde_json::Value) -> Finished {
    let message = error["message"].as_str().unwrap_or("it did not say why");
    let ours = error["code"] == BRIDGE_ERROR && error["data"]["server"].is_string();
    let Some(sentence) = message.strip_prefix("mcp-remote: ").filter(|_| ours) else {
        let code = &error["code"];
        let sentence = format!("{server} answered with an error: {message} ({code})");
        return Finished::new(Exit::Failed, sentence);
    };
    let wants_credentials = matches!(error["data"]["httpStatus"].as_u64(), Some(401 | 403));
    let exit = match wants_credentials || error["data"]["noToken"] == true {
        true => Exit::NeedsLogin,
        false => Exit::Failed,
    };
    Finished::new(exit, sentence)
}
