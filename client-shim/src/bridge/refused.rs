//! What is left of a bridge that cannot work: every request is answered with the
//! reason. Many clients show nothing else, and wait for an answer for ever. Where
//! somebody has to sign in, a script is to notice: nobody waits for the input's end.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use mcp_remote_proto::MAX_MESSAGE_LEN;

use crate::exit::{Exit, ShimError};
use crate::json::{self, Fault};
use crate::stdio::Line;

use super::client::{Client, End};
use super::ledger;

/// How long requests are still read where somebody has to sign in: those that were
/// on their way.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Writes `to_print`, then answers with `error` until standard input ends, or is
/// read no more.
pub(super) async fn answer(
    error: &ShimError,
    server: &str,
    to_print: &mut VecDeque<Bytes>,
    client: &mut Client,
) -> End {
    let mut reads = true;
    let is_last = error.exit == Exit::NEEDS_LOGIN;
    let mut over = std::pin::pin!(tokio::time::sleep(LAST_WORDS));
    while (reads && !client.input.has_ended()) || !to_print.is_empty() {
        // A client that does not read its answers is not read either.
        let may_read = reads && !client.input.has_ended() && to_print.is_empty();
        tokio::select! {
            biased;
            reason = client.leave.reason() => return End::Left(reason),
            result = client.output.write(to_print) => {
                if let Err(error) = result {
                    return End::OutputFailed(error);
                }
            }
            lines = client.input.lines(), if may_read => {
                to_print.extend(lines.iter().flat_map(|line| answers(line, error, server)));
                if client.input.has_ended() {
                    client.begin_drain();
                }
            }
            () = &mut over, if is_last && reads => {
                reads = false;
                client.begin_drain();
            }
        }
    }
    End::Said
}

fn answers(line: &Line, error: &ShimError, server: &str) -> Vec<Bytes> {
    match line {
        Line::Oversized(id) => vec![json::oversized(id.as_deref(), MAX_MESSAGE_LEN)],
        Line::Message(message) => ledger::request_ids(message)
            .iter()
            .map(|id| json::fault(id, not_executed(error, server)))
            .collect(),
    }
}

/// Says of a request that it never reached the server.
pub(super) fn not_executed<'a>(error: &'a ShimError, server: &'a str) -> Fault<'a> {
    Fault {
        sentence: &error.sentence,
        cause: &error.sentence,
        maybe_executed: false,
        server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_and_nothing_else_is_answered() {
        let error = ShimError::general("it cannot work");
        let answered = |line: &'static str| {
            let answers = answers(&Line::Message(line.into()), &error, "https://h");
            answers.len()
        };
        assert_eq!(answered(r#"{"id":1,"method":"x"}"#), 1);
        assert_eq!(
            answered(r#"[{"id":1,"method":"x"},{"id":2,"method":"y"}]"#),
            2
        );
        assert_eq!(answered(r#"{"method":"notifications/initialized"}"#), 0);
        assert_eq!(answered(r#"{"id":1,"result":{}}"#), 0);
    }
}
