//! The progress tokens of tasks: one stays in use after the answer that made the
//! task, until the task has ended (2025-11-25, Tasks > Task Progress Notifications).
//! Pure.

use std::collections::VecDeque;

use super::Relay;
use super::in_flight::Finished;
use crate::jsonrpc::Envelope;
use crate::session::names;

/// Tasks of one client whose progress is passed on. Past it that of the oldest is
/// not.
const MAX_TASKS: usize = 1024;

/// The tokens of one client's tasks, oldest first.
#[derive(Debug, Default)]
pub(super) struct TaskTokens(VecDeque<TaskToken>);

#[derive(Debug)]
struct TaskToken {
    /// The token upstream: the id of the request that made the task.
    minted: u64,
    /// The client's token.
    token: Box<str>,
    task: Box<str>,
}

impl TaskTokens {
    /// Keeps a task's token. Returns the one upstream that has to go for it.
    fn keep(&mut self, minted: u64, token: Box<str>, task: Box<str>) -> Option<u64> {
        self.0.push_back(TaskToken {
            minted,
            token,
            task,
        });
        let oldest = (self.0.len() > MAX_TASKS).then(|| self.0.pop_front())??;
        Some(oldest.minted)
    }

    /// Returns a progress notification with the client's token.
    pub(super) fn progress(&self, notification: &Envelope) -> Option<bytes::Bytes> {
        if self.0.is_empty() {
            return None;
        }
        let place = notification.progress_token()?;
        let minted: u64 = notification.text(place.clone()).parse().ok()?;
        let known = self.0.iter().find(|known| known.minted == minted)?;
        Some(notification.spliced(&[(place, &known.token)]))
    }

    /// Forgets the token of a task that has ended. Returns the one upstream.
    fn ended(&mut self, status: &Envelope) -> Option<u64> {
        if self.0.is_empty() {
            return None;
        }
        let is_over = names::text(status, "status")
            .is_some_and(|status| ["completed", "failed", "cancelled"].contains(&status.as_str()));
        let task = names::text(status, "taskId").filter(|_| is_over)?;
        let place = self.0.iter().position(|known| *known.task == *task)?;
        self.0.remove(place).map(|known| known.minted)
    }

    /// Forgets all: the session is not this client's any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Relay {
    /// Keeps the progress token of a request whose answer is a task.
    pub(super) fn keep_task_token(&mut self, answer: &Envelope, finished: &mut Finished) {
        let Some(token) = finished.progress_token.take() else {
            return;
        };
        let may_be_one = memchr::memmem::find(answer.bytes(), b"\"taskId\"").is_some();
        let Some(task) = may_be_one.then(|| names::task_of(answer)).flatten() else {
            return;
        };
        let minted = finished.minted;
        if let Some(lease) = &self.lease {
            lease.membership().own(minted);
        }
        if let Some(oldest) = self.task_tokens.keep(minted, token, task.into()) {
            self.disown(oldest);
        }
    }

    /// Notes what the server says about a task.
    pub(super) fn note_task_status(&mut self, status: &Envelope) {
        if let Some(minted) = self.task_tokens.ended(status) {
            self.disown(minted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(text: &str) -> Envelope {
        Envelope::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).expect("valid")
    }

    #[test]
    fn a_token_is_in_use_until_its_task_has_ended() {
        let mut tokens = TaskTokens::default();
        assert_eq!(tokens.keep(7, "\"p\"".into(), "t".into()), None);
        let progress = envelope(r#"{"method":"x","params":{"progressToken":7,"progress":1e2}}"#);
        let restored = r#"{"method":"x","params":{"progressToken":"p","progress":1e2}}"#;
        let status = |task: &str, status: &str| {
            envelope(&format!(
                r#"{{"method":"x","params":{{"taskId":"{task}","status":"{status}"}}}}"#
            ))
        };
        for (task, said) in [
            ("t", "working"),
            ("u", "completed"),
            ("t", "input_required"),
        ] {
            assert_eq!(tokens.ended(&status(task, said)), None);
            assert_eq!(
                tokens.progress(&progress).as_deref(),
                Some(restored.as_bytes())
            );
        }
        assert_eq!(tokens.ended(&status("t", "failed")), Some(7));
        assert_eq!(tokens.progress(&progress), None);
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut tokens = TaskTokens::default();
        for minted in 0..MAX_TASKS as u64 {
            assert_eq!(tokens.keep(minted, "1".into(), "t".into()), None);
        }
        assert_eq!(tokens.keep(5000, "1".into(), "t".into()), Some(0));
        assert_eq!(tokens.0.len(), MAX_TASKS);
    }
}
