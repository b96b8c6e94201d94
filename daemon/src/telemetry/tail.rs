//! The newest lines of the log, kept in memory, and those who follow it.
//!
//! Bounded everywhere: in lines and bytes kept, in the length of a line, and in
//! what a slow follower may be behind; one that is further behind loses lines and
//! learns how many. Takes what the filter of the log lets through, no more.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Lines kept.
const MAX_LINES: usize = 2000;

/// Bytes of text kept.
const MAX_BYTES: usize = 512 * 1024;

/// Longest text of a line in bytes; what is longer is cut.
const MAX_TEXT: usize = 4096;

/// Lines that a follower may be behind.
const MAX_BEHIND: usize = 512;

/// One line of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// When.
    pub(crate) at: SystemTime,
    /// How bad.
    pub(crate) level: Level,
    /// The module.
    pub(crate) target: &'static str,
    /// The server that it is about, as people see it.
    pub(crate) server: Option<Arc<str>>,
    /// What happened, and its fields.
    pub(crate) text: String,
}

/// Where the lines are. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Tail(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Mutex<Kept>,
    followers: broadcast::Sender<Arc<Line>>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
}

impl Default for Tail {
    fn default() -> Self {
        Self(Arc::new(Inner {
            kept: Mutex::default(),
            followers: broadcast::Sender::new(MAX_BEHIND),
        }))
    }
}

impl Tail {
    /// Returns the lines kept and what brings those that follow, without a gap.
    pub(crate) fn follow(&self) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        let kept = self.lock();
        let followed = self.0.followers.subscribe();
        (kept.lines.iter().cloned().collect(), followed)
    }

    fn add(&self, line: Line) {
        let line = Arc::new(line);
        let mut kept = self.lock();
        kept.bytes += line.text.len();
        kept.lines.push_back(line.clone());
        while kept.lines.len() > MAX_LINES || kept.bytes > MAX_BYTES {
            let Some(oldest) = kept.lines.pop_front() else {
                break;
            };
            kept.bytes -= oldest.text.len();
        }
        // Nobody may be there; that is no loss.
        drop(self.0.followers.send(line));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0
            .kept
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// What a span says of the events in it.
struct About(Arc<str>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Tail {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(server), Some(span)) = (fields.server, context.span(id)) {
            span.extensions_mut().insert(About(server.into()));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let of_span = || {
            let mut spans = context.event_scope(event)?;
            spans.find_map(|span| Some(span.extensions().get::<About>()?.0.clone()))
        };
        let metadata = event.metadata();
        self.add(Line {
            at: SystemTime::now(),
            level: *metadata.level(),
            target: metadata.target(),
            server: fields.server.take().map(Into::into).or_else(of_span),
            text: fields.text(),
        });
    }
}

/// The fields of an event, as text.
#[derive(Default)]
struct Fields {
    message: String,
    others: String,
    server: Option<String>,
}

impl Fields {
    fn text(mut self) -> String {
        self.message.push_str(&self.others);
        if self.message.len() > MAX_TEXT {
            let boundary = |end: &usize| self.message.is_char_boundary(*end);
            let end = (0..=MAX_TEXT).rev().find(boundary).unwrap_or_default();
            self.message.truncate(end);
            self.message.push('…');
        }
        self.message
    }

    fn add(&mut self, field: &Field, value: std::fmt::Arguments<'_>) {
        let written = match field.name() {
            "message" => self.message.write_fmt(value),
            "server" => {
                self.server = Some(value.to_string());
                Ok(())
            }
            name => write!(self.others, " {name}={value}"),
        };
        written.expect("writing to a string cannot fail");
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            // Text without quotes is easier to read where it is all there is.
            "message" | "server" => self.add(field, format_args!("{value}")),
            _ => self.add(field, format_args!("{value:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn logged(work: impl FnOnce()) -> Tail {
        let tail = Tail::default();
        let subscriber = tracing_subscriber::registry().with(tail.clone());
        tracing::subscriber::with_default(subscriber, work);
        tail
    }

    #[test]
    fn a_line_has_its_fields_and_the_server_of_its_span() {
        let tail = logged(|| {
            let span = tracing::info_span!("session", server = %"https://h/mcp", pid = 7);
            span.in_scope(|| tracing::info!(name = "x", count = 2, "opened"));
            tracing::warn!(server = %"https://other", "gone");
            tracing::error!("alone");
        });
        let (lines, _) = tail.follow();
        let seen: Vec<_> = lines
            .iter()
            .map(|line| (line.level, line.server.as_deref(), line.text.as_str()))
            .collect();
        let expected = [
            (
                Level::INFO,
                Some("https://h/mcp"),
                "opened name=\"x\" count=2",
            ),
            (Level::WARN, Some("https://other"), "gone"),
            (Level::ERROR, None, "alone"),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_oldest_lines_make_place_and_long_ones_are_cut() {
        let tail = logged(|| {
            for number in 0..MAX_LINES + 5 {
                tracing::info!(number);
            }
        });
        let (lines, _) = tail.follow();
        assert_eq!(lines.len(), MAX_LINES);
        assert_eq!(lines[0].text, " number=5");
        let tail = logged(|| {
            for _ in 0..200 {
                tracing::info!("{}", "é".repeat(MAX_TEXT));
            }
        });
        let (lines, _) = tail.follow();
        assert!(lines.len() < 150, "{}", lines.len());
        assert!(lines.iter().all(|line| line.text.len() <= MAX_TEXT + 3));
        assert!(lines[0].text.ends_with('…'));
    }

    #[test]
    fn who_follows_too_slowly_learns_how_much_is_lost() {
        let tail = Tail::default();
        let (_, mut followed) = tail.follow();
        let subscriber = tracing_subscriber::registry().with(tail);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..MAX_BEHIND + 3 {
                tracing::info!(number);
            }
        });
        let lost = followed.try_recv();
        assert_eq!(lost, Err(broadcast::error::TryRecvError::Lagged(3)));
        let next = followed.try_recv().map(|line| line.text.clone());
        assert_eq!(next.as_deref(), Ok(" number=3"));
    }
}
