//! The relay's way down: what the session says, for the shim.

use super::in_flight::Finished;
use super::repeats::Nature;
use super::shim::{NoticeLevel, ToShim};
use super::{Gone, MAX_OWED, Relay, fault};
use crate::jsonrpc::{self, Envelope, Kind, RequestId};
use crate::session::Inbound;
use crate::upstream::UpstreamError;

impl Relay {
    /// Handles what the session says.
    pub(super) async fn on_inbound(&mut self, inbound: Inbound) -> Result<(), Gone> {
        match inbound {
            Inbound::Message(envelope) => self.on_server_message(envelope).await,
            Inbound::Ended(id, error) => self.ended(id, error).await,
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
                let sentence = format!(
                    "mcp-remote: {}",
                    fault::sentence(&self.deps.server.shown, &error)
                );
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
            Kind::Response => match self.in_flight.finish(&envelope) {
                Some(Finished {
                    answer,
                    took,
                    nature,
                }) => {
                    if let (Nature::ToolsList { first }, Some(lease)) = (nature, &self.lease) {
                        lease.session().tools().note(envelope.bytes(), first);
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
                    self.say(answer).await
                }
                None => Ok(()),
            },
            Kind::Request => {
                if self.owed.len() < MAX_OWED {
                    self.owed.extend(envelope.id());
                }
                self.say(envelope.bytes().clone()).await
            }
            Kind::Notification => match envelope.method() {
                Some("notifications/progress") => match self.in_flight.progress(&envelope) {
                    Some(message) => self.say(message).await,
                    None => Ok(()),
                },
                Some("notifications/cancelled") => {
                    if let Some(id) = envelope.cancelled_request() {
                        self.owed.remove(&RequestId::from_json(envelope.text(id)));
                    }
                    self.say(envelope.bytes().clone()).await
                }
                _ => self.say(envelope.bytes().clone()).await,
            },
        }
    }
}
