//! Requests that end with an error, and what the client says and nobody can be told:
//! no message, or one over the limit.

use mcp_remote_proto::members::Members;

use super::shim::{NoticeLevel, ToShim};
use super::{Gone, Relay, Sent, fault};
use crate::jsonrpc::{self, Envelope, ParseError, RequestId, Unusable};
use crate::upstream::UpstreamError;

impl Relay {
    /// Refuses what is no message.
    pub(super) async fn refuse(&mut self, unusable: &Unusable) -> Result<(), Gone> {
        let code = match unusable.error {
            ParseError::NotJson(_) => -32700,
            ParseError::Invalid(_) => -32600,
        };
        let sentence = format!("mcp-remote: {}", unusable.error);
        // What is not JSON has no id (JSON-RPC 2.0, section 5).
        let id = match unusable.error {
            ParseError::NotJson(_) => None,
            ParseError::Invalid(_) => unusable.request_id(),
        };
        let answer = jsonrpc::error_response(id.as_ref(), code, &sentence, None);
        self.answer(None, answer).await
    }

    /// Refuses a message over the limit. A request gets an error; an answer becomes
    /// one, since the server waits for it.
    pub(super) async fn refuse_oversized(&mut self, message: &[u8]) -> Result<(), Gone> {
        let found = Members::of(message);
        let sentence = format!(
            "mcp-remote: the message has {} bytes and the limit is {}",
            message.len(),
            self.deps.max_message
        );
        if let Some(answers) = found.response_id().and_then(RequestId::found) {
            let error = jsonrpc::error_response(Some(&answers), -32603, &sentence, None);
            let error = Envelope::parse(error).expect("it is written here");
            self.on_response(error).await;
            let notice = "the answer to a question of the server is over the limit";
            let notice = format!("{notice}: {}", sentence.trim_start_matches("mcp-remote: "));
            return self.tell(ToShim::Notice(NoticeLevel::Error, notice)).await;
        }
        let id = found.request_id().and_then(RequestId::found);
        let refusal = jsonrpc::error_response(id.as_ref(), -32600, &sentence, None);
        self.say(refusal).await
    }

    /// Answers with an error; `sent`: the request had gone out.
    pub(super) async fn fault(
        &mut self,
        id: &RequestId,
        error: &UpstreamError,
        sent: Option<Sent>,
    ) -> Result<(), Gone> {
        let maybe_executed = sent.is_some_and(|sent| sent.maybe_executed);
        let minted = sent.map(|sent| sent.minted);
        self.fault_of(id, error, minted, maybe_executed).await
    }

    /// The same for a request with this id upstream, if it has one.
    pub(super) async fn fault_of(
        &mut self,
        id: &RequestId,
        error: &UpstreamError,
        minted: Option<u64>,
        maybe_executed: bool,
    ) -> Result<(), Gone> {
        self.note_refused(error);
        let whom = self.deps.whom();
        let notice = fault::said(whom, error, maybe_executed);
        let answer = fault::response(id, whom, error, maybe_executed);
        if !matches!(error, UpstreamError::JsonRpc { .. }) && self.last_notice != notice {
            self.last_notice.clone_from(&notice);
            tracing::warn!("{notice}");
            self.out
                .send(ToShim::Notice(NoticeLevel::Error, notice))
                .await
                .map_err(|_| Gone)?;
        }
        self.answer(minted, answer).await
    }
}
