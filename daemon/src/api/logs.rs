//! The log as callers read it: what there is, then what comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use futures_util::stream::{self, Stream};
use mcp_remote_proto::v1::logs_response::Frame;
use mcp_remote_proto::v1::{LogLevel, LogLine, LogsRequest, LogsResponse};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tracing::Level;
use tracing::level_filters::LevelFilter;

use super::status::Wanted;
use crate::telemetry::Log;
use crate::telemetry::tail::Line;

struct Reading {
    level: LogLevel,
    wanted: Wanted,
    kept: VecDeque<Arc<Line>>,
    following: Option<Receiver<Arc<Line>>>,
}

/// Returns the frames of a reading.
pub(super) fn frames(log: &Log, request: &LogsRequest) -> impl Stream<Item = LogsResponse> + use<> {
    let (kept, following) = log.tail.follow();
    let reading = Reading {
        level: request.level(),
        wanted: Wanted::new(&request.server),
        kept: kept.into(),
        following: request.follow.then_some(following),
    };
    let first = response(Frame::Level(number(log.level()).into()));
    let rest = stream::unfold(reading, |mut reading| async move {
        let frame = reading.next().await?;
        Some((response(frame), reading))
    });
    stream::StreamExt::chain(stream::iter([first]), rest)
}

impl Reading {
    async fn next(&mut self) -> Option<Frame> {
        while let Some(line) = self.kept.pop_front() {
            if self.wants(&line) {
                return Some(Frame::Line(written(&line)));
            }
        }
        loop {
            match self.following.as_mut()?.recv().await {
                Ok(line) if self.wants(&line) => return Some(Frame::Line(written(&line))),
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => return Some(Frame::Lost(lost)),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn wants(&self, line: &Line) -> bool {
        let bad_enough = self.level == LogLevel::Unspecified || of(line.level) <= self.level;
        bad_enough && self.wanted.is(line.server.as_deref().unwrap_or_default())
    }
}

/// Changes how much is logged; returns how much it was.
///
/// # Errors
/// No level was named.
pub(super) fn set_level(log: &Log, level: LogLevel) -> Result<LogLevel, &'static str> {
    let wanted = match level {
        LogLevel::Unspecified => return Err("there is no such log level"),
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let before = number(log.level());
    log.set_level(wanted);
    tracing::info!(level = %wanted, "the level of the log was changed");
    Ok(before)
}

fn response(frame: Frame) -> LogsResponse {
    LogsResponse { frame: Some(frame) }
}

fn written(line: &Line) -> LogLine {
    let at = line.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    LogLine {
        time_unix_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        level: of(line.level).into(),
        target: line.target.to_owned(),
        server: line.server.as_deref().unwrap_or_default().to_owned(),
        text: line.text.clone(),
    }
}

fn number(level: LevelFilter) -> LogLevel {
    level.into_level().map_or(LogLevel::Unspecified, of)
}

fn of(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::telemetry::Tail;

    /// Reads everything there is without waiting.
    async fn read(reading: &mut Reading) -> Vec<String> {
        let mut read = Vec::new();
        loop {
            let next = tokio::time::timeout(std::time::Duration::ZERO, reading.next());
            match next.await {
                Ok(Some(Frame::Line(line))) => read.push(line.text),
                Ok(Some(Frame::Lost(lines))) => read.push(format!("{lines} lost")),
                Ok(Some(Frame::Level(_)) | None) | Err(_) => return read,
            }
        }
    }

    #[tokio::test]
    async fn who_reads_too_slowly_is_told_how_many_lines_are_missing() {
        let tail = Tail::default();
        let subscriber = tracing_subscriber::registry().with(tail.clone());
        let (kept, following) = tail.follow();
        let mut reading = Reading {
            level: LogLevel::Warn,
            wanted: Wanted::new("https://h/mcp/"),
            kept: kept.into(),
            following: Some(following),
        };
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..600 {
                tracing::warn!(server = "https://h/mcp", "number {number}");
                tracing::info!(server = "https://h/mcp", "not bad enough");
                tracing::error!(server = "https://other/mcp", "of another");
            }
        });
        let read = read(&mut reading).await;
        assert_eq!(read[0], "1288 lost");
        assert_eq!(read.last().map(String::as_str), Some("number 599"));
        assert!(read[1..].iter().all(|text| text.starts_with("number ")));
    }
}
