//! The relay's way down: what the session says, for the shim.

use std::sync::Arc;

use super::in_flight::Finished;
use super::leaving::{minted_id, outcome};
use super::repeats::Nature;
use super::shim::{NoticeLevel, ToShim};
use super::{Gone, Relay, fault};
use crate::jsonrpc::{self, Envelope, Kind};
use crate::oauth::token_source::TokenSource;
use crate::session::{Asked, Inbound, names};
use crate::upstream::UpstreamError;

impl Relay {
    /// Handles what the session says.
    pub(super) async fn on_inbound(&mut self, inbound: Inbound) -> Result<(), Gone> {
        if self.keep_alive.hears(&inbound) {
            return Ok(());
        }
        match inbound {
            Inbound::Message(envelope) => self.on_server_message(envelope).await,
            Inbound::Asked(request, generation) => self.on_question(&request, generation).await,
            Inbound::Ended(id, error) => {
                self.in_flight.over(id);
                self.ended(id, error).await
            }
            Inbound::Waiting(id, cancelled) => {
                if self.in_flight.get(id).is_none() {
                    cancelled.cancel();
                }
                Ok(())
            }
            Inbound::Skipped(Some(id), error) => match id.as_json().parse() {
                Ok(id) => self.ended(id, Some(error)).await,
                Err(_) => Ok(()),
            },
            // An answer may be among them, and whose cannot be told.
            Inbound::Skipped(None, error @ UpstreamError::TooLarge(_)) => {
                let sentence = format!("mcp-remote: {}", fault::sentence(self.deps.whom(), &error));
                self.say(jsonrpc::error_response(
                    None,
                    fault::BRIDGE_ERROR,
                    &sentence,
                    None,
                ))
                .await
            }
            Inbound::Skipped(None, error) => {
                tracing::warn!(%error, "skipped what the server said");
                Ok(())
            }
            Inbound::Lost {
                error,
                up_to,
                unsent,
            } => {
                let lost = |id: &u64| *id <= up_to && !unsent.contains(id);
                for id in self.in_flight.all().into_iter().filter(lost) {
                    self.ended(id, Some(error.clone())).await?;
                }
                Ok(())
            }
        }
    }

    async fn on_server_message(&mut self, envelope: Envelope) -> Result<(), Gone> {
        match envelope.kind() {
            Kind::Response => self.on_answer(envelope).await,
            // What asks has said from where.
            Kind::Request => Ok(()),
            Kind::Notification => match envelope.method() {
                Some("notifications/progress") => {
                    let progress = self.in_flight.progress(&envelope);
                    match progress.or_else(|| self.task_tokens.progress(&envelope)) {
                        Some(message) => self.say(message).await,
                        None => Ok(()),
                    }
                }
                Some("notifications/cancelled") => match self.questions.cancel(&envelope) {
                    Some(message) => self.say(message).await,
                    None => Ok(()),
                },
                Some("notifications/tasks/status") => {
                    self.note_task_status(&envelope);
                    self.say(envelope.bytes().clone()).await
                }
                Some("notifications/message") if !self.admits(&envelope) => Ok(()),
                _ => self.say(envelope.bytes().clone()).await,
            },
        }
    }

    /// Says which list a request asks for, if that may be answered from here.
    pub(super) fn list_asked(&mut self, request: &Envelope, minted: u64) -> Option<Arc<Asked>> {
        let lists = self.lease.as_ref()?.session().lists();
        let tokens = self.deps.spec.tokens.as_ref();
        let token = || tokens.and_then(TokenSource::current);
        let asked = Arc::new(lists.ask(request, self.deps.cache_lists, token)?);
        self.in_flight.note_list(minted, asked.clone());
        Some(asked)
    }

    /// In a session that others have too, the server logs as one of them wants.
    fn admits(&self, message: &Envelope) -> bool {
        let shared = self.lease.as_ref().filter(|lease| lease.is_shared());
        shared.is_none_or(|lease| lease.membership().admits(message))
    }

    async fn on_question(&mut self, request: &Envelope, generation: u64) -> Result<(), Gone> {
        if let Some(lease) = &mut self.lease
            && let Some(id) = names::text(request, "elicitationId")
        {
            match lease.is_shared() {
                true => lease.membership().own_name(&names::elicitation(id)),
                // The server says when it is over, to whoever has the session then.
                false => lease.spoil(),
            }
        }
        if self.input_ended {
            return self.answer_without_client(request, generation).await;
        }
        match (self.questions.ask(request, generation), request.id()) {
            (Some(message), _) => self.say(message).await,
            (None, Some(id)) => {
                self.refuse_question(&id, generation).await;
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    /// Answers a question once the client says no more; we are still there.
    async fn answer_without_client(
        &mut self,
        request: &Envelope,
        generation: u64,
    ) -> Result<(), Gone> {
        match (request.id(), request.method()) {
            (Some(id), Some("ping")) => {
                self.answer_question(id.empty_result(), generation).await;
            }
            (Some(id), _) => self.refuse_question(&id, generation).await,
            (None, _) => {}
        }
        Ok(())
    }

    async fn on_answer(&mut self, mut envelope: Envelope) -> Result<(), Gone> {
        let shared = self.lease.as_ref().is_some_and(|lease| lease.is_shared());
        if (shared || !self.in_flight.is_whole() || !self.changes.is_empty())
            && let Some(minted) = minted_id(&envelope)
        {
            self.in_flight.over(minted);
            self.settle(minted, outcome(&envelope)).await;
            if shared {
                envelope = self.claim(minted, envelope);
            }
        }
        if !shared && envelope.is_error() && !names::elicitations(&envelope).is_empty() {
            self.spoil();
        }
        let Some(mut finished) = self.in_flight.finish(&envelope) else {
            return Ok(());
        };
        self.keep_task_token(&envelope, &mut finished);
        let Finished {
            mut answer,
            took,
            nature,
            minted,
            list,
            ..
        } = finished;
        if let (Some(asked), Some(lease)) = (list, &self.lease) {
            lease.session().lists().keep(&asked, &envelope);
        }
        if let (Nature::ToolsList { first }, Some(lease)) = (nature, &self.lease) {
            let tools = lease.session().tools();
            tools.note(envelope.bytes(), first);
            if let Some(count) = tools.count(envelope.bytes(), first) {
                self.deps.server.lists_tools(count);
            }
            answer = self.deps.tools.listed(answer);
        }
        self.deps.server.answered(took);
        if self.deps.debug {
            let id = envelope
                .id()
                .map(|id| id.as_json().to_owned())
                .unwrap_or_default();
            let text = format!(
                "request {id} answered after {:.1} ms, {} bytes",
                took.as_secs_f64() * 1e3,
                answer.len()
            );
            self.out
                .send(ToShim::Notice(NoticeLevel::Debug, text))
                .await
                .map_err(|_| Gone)?;
        }
        self.answer(Some(minted), answer).await
    }
}
