//! Plays the script of one request: what is said before its answer, the answer, and
//! what is said after it.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::script::{self, Fate, Noise, Script};
use super::session::{Piece, Session};
use super::world::{INVENTED, World};

/// The name of the stream for what is unasked; those of requests are their ids.
pub(super) const UNASKED: &str = "unasked";

/// One request that a server executes.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) world: Arc<World>,
    pub(super) session: Arc<Session>,
    /// The id that it came with, as JSON text.
    pub(super) id: String,
    pub(super) token: String,
    pub(super) progress: Option<String>,
}

/// Where the answer goes.
#[derive(Debug)]
pub(super) enum Stage {
    /// A stream of its own.
    Own(mpsc::Sender<Piece>),
    /// The session's one stream.
    Shared,
}

/// Nobody listens any more.
struct Gone;

impl Call {
    /// Plays it on a stream.
    pub(super) async fn perform(self, mut script: Script, stage: Stage) {
        // Who has gone hears nothing; nothing else comes of it.
        if let Err(Gone) = self.play(&mut script, &stage).await {
            self.world.count("streams nobody reads");
        }
    }

    async fn play(&self, script: &mut Script, stage: &Stage) -> Result<(), Gone> {
        for noise in script.before.clone() {
            self.make(noise, script, stage).await?;
        }
        match script.fate {
            Fate::Held if !self.held().await => return Ok(()),
            Fate::Cut => return self.cut(script, stage).await,
            Fate::Garbled => {
                let garbled = format!(r#"{{"jsonrpc":"2.0","id":{},"result":"{INVENTED}"#, self.id);
                self.say(&garbled, script, stage).await?;
            }
            Fate::Refused => {
                let refusal = script::refusal(&self.id, &self.token);
                self.say(&refusal, script, stage).await?;
            }
            _ => {
                if script.fate == Fate::Ignored {
                    self.world.released().await;
                }
                let answer = script::answer(&self.id, &self.token);
                self.say(&answer, script, stage).await?;
            }
        }
        for noise in script.after.clone() {
            // On a stream for all it would be the next client's.
            if !(matches!(stage, Stage::Shared) && noise == Noise::Log) {
                self.make(noise, script, stage).await?;
            }
        }
        Ok(())
    }

    /// Plays it as one body.
    pub(super) async fn body(self, mut script: Script) -> String {
        let (id, token, random) = (&self.id, &self.token, &mut script.random);
        match script.fate {
            Fate::Held => {
                self.held().await;
            }
            Fate::Cut | Fate::Garbled => return format!("{{\"id\":{id},\"result\":\"{INVENTED}"),
            Fate::Refused => return script::refusal(id, token),
            _ => {}
        }
        let answer = script::answer(id, token);
        if self.world.calm || !random.one_in(3) {
            return answer;
        }
        let wrong = match random.one_in(2) {
            true => script::unknown(random),
            false => script::other_type(random, id),
        };
        format!("[{wrong},{answer},{answer}, {}]", self.log())
    }

    /// Waits until it is cancelled or nobody has more to say. Returns whether to
    /// answer all the same.
    async fn held(&self) -> bool {
        tokio::select! {
            () = self.session.cancelled(&self.id) => {
                self.world.count("late answers");
                self.world.random(&self.id).one_in(2)
            }
            () = self.world.released() => true,
        }
    }

    /// Ends the stream instead of answering; the answer may come on another.
    async fn cut(&self, script: &mut Script, stage: &Stage) -> Result<(), Gone> {
        if self.session.exclusive {
            self.session.lose(&self.id, &self.token);
        }
        if script.random.one_in(2) {
            send(&self.sender(stage)?, None).await?;
        }
        if matches!(stage, Stage::Shared) {
            self.session.forget();
        }
        Ok(())
    }

    fn sender(&self, stage: &Stage) -> Result<mpsc::Sender<Piece>, Gone> {
        match stage {
            Stage::Own(pieces) => Ok(pieces.clone()),
            Stage::Shared => self.session.pushes().ok_or(Gone),
        }
    }

    async fn say(&self, message: &str, script: &mut Script, stage: &Stage) -> Result<(), Gone> {
        let pieces = script::event(&mut script.random, &self.id, message);
        self.world.note(format!("{} -> {message}", self.session.id));
        let sender = self.sender(stage)?;
        // Many speak on a shared stream: an event must not get between another's pieces.
        if matches!(stage, Stage::Shared) {
            return send(&sender, Some(pieces.concat())).await;
        }
        for piece in pieces {
            send(&sender, Some(piece)).await?;
        }
        Ok(())
    }

    fn log(&self) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{}"}}}}"#,
            self.token
        )
    }

    async fn make(&self, noise: Noise, script: &mut Script, stage: &Stage) -> Result<(), Gone> {
        let message = match noise {
            Noise::Progress => match &self.progress {
                Some(token) => format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1,"message":"{}"}}}}"#,
                    self.token
                ),
                None => return Ok(()),
            },
            Noise::Log => self.log(),
            Noise::Ask(waits) => return self.ask(waits, script, stage).await,
            Noise::Comment => return send(&self.sender(stage)?, Some(b": x\n\n".into())).await,
            Noise::Priming => {
                let priming = format!("id: {}\nretry: 10\ndata:\n\n", self.id);
                return send(&self.sender(stage)?, Some(priming.into_bytes())).await;
            }
            Noise::Push | Noise::PushedAsk => return self.push(noise, script),
            Noise::UnknownId => script::unknown(&mut script.random),
            Noise::OtherType => script::other_type(&mut script.random, &self.id),
            Noise::Broken => format!("{{\"id\":\"{INVENTED}\",\"result\":{{"),
            Noise::NotJson => INVENTED.to_owned(),
            Noise::Stray => match self.session.stray() {
                Some(answer) => answer,
                None => return Ok(()),
            },
            Noise::Again => script::answer(&self.id, &self.token),
            // On HTTP+SSE the stream is the session.
            Noise::CutPushes if matches!(stage, Stage::Shared) => return Ok(()),
            Noise::CutPushes => {
                self.session.cut_pushes();
                return Ok(());
            }
            Noise::Forget if !self.session.exclusive => return Ok(()),
            Noise::Forget => {
                self.world.note(format!("{} is forgotten", self.session.id));
                self.session.forget();
                return Ok(());
            }
        };
        self.say(&message, script, stage).await
    }

    async fn ask(&self, waits: bool, script: &mut Script, stage: &Stage) -> Result<(), Gone> {
        let (id, question) = self
            .session
            .ask(&self.world, &self.token, script.random.one_in(2));
        self.say(&question, script, stage).await?;
        if waits {
            tokio::select! {
                () = self.session.answered(&id) => {}
                () = self.session.cancelled(&self.id) => {}
                () = self.world.released() => {}
            }
        }
        Ok(())
    }

    fn push(&self, noise: Noise, script: &mut Script) -> Result<(), Gone> {
        let Some(pushes) = self.session.pushes() else {
            return Ok(());
        };
        let kind = self.session.id.split('-').next().unwrap_or_default();
        let mark = self.world.new_push(kind);
        let message = match noise {
            Noise::PushedAsk => {
                self.session
                    .ask(&self.world, &mark, script.random.one_in(2))
                    .1
            }
            _ => format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"info","data":"{mark}"}}}}"#
            ),
        };
        self.world.note(format!("{} => {message}", self.session.id));
        let event = script::event(&mut script.random, UNASKED, &message).concat();
        // A stream that nobody reads holds nothing up.
        drop(pushes.try_send(Some(event)));
        Ok(())
    }
}

async fn send(sender: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), Gone> {
    sender.send(piece).await.map_err(|_| Gone)
}
