//! Many shims attached to one daemon at once, each with a few calls; all of
//! them call at the same time.

use std::time::{Duration, Instant};

use super::server::Server;
use super::vitals::Vitals;
use crate::Failure;
use crate::home::Home;
use crate::programs::Programs;
use crate::stdio::Conversation;

/// Calls that each shim makes.
pub(crate) const CALLS: usize = 10;

/// What became of a crowd.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// Whether the server keeps sessions.
    pub(crate) keeps_sessions: bool,
    /// Shims that were started.
    pub(crate) shims: usize,
    /// Shims that met an error; each counts once.
    pub(crate) failed: usize,
    /// The first error.
    pub(crate) first_error: Option<String>,
    /// From the first start to the last answer.
    pub(crate) duration: Duration,
    /// How often the server was asked to initialize.
    pub(crate) initialized: u64,
    /// The daemon when all were attached, and after each round of calls: the largest.
    pub(crate) peak: Vitals,
}

struct Attached {
    conversations: Vec<Conversation>,
    first_error: Option<String>,
}

impl Attached {
    /// Does something with each; those that fail are let go.
    fn each(&mut self, mut act: impl FnMut(&mut Conversation) -> Result<(), Failure>) {
        let first_error = &mut self.first_error;
        self.conversations.retain_mut(|conversation| {
            let done = act(conversation);
            if let Err(error) = &done {
                first_error.get_or_insert_with(|| error.to_string());
            }
            done.is_ok()
        });
    }
}

/// Starts and runs one.
pub(crate) fn measure(
    programs: &Programs,
    server: &Server,
    shims: usize,
) -> Result<Crowd, Failure> {
    let home = Home::new()?;
    let initialized = server.initialized();
    let start = Instant::now();
    let conversations: Result<Vec<Conversation>, Failure> = (0..shims)
        .map(|_| Conversation::start(&mut programs.shim(&home, &server.url())))
        .collect();
    let mut attached = Attached {
        conversations: conversations?,
        first_error: None,
    };
    attached.each(Conversation::send_initialize);
    attached.each(Conversation::take_initialize);
    let mut peak = Vitals::take("attached", programs, &home)?;
    for _ in 0..CALLS {
        let mut ids = Vec::new();
        attached.each(|conversation| {
            ids.push(conversation.send_echo()?);
            Ok(())
        });
        let mut ids = ids.into_iter();
        attached.each(|conversation| conversation.take_echoes(&[ids.next().ok_or("no id")?]));
        let look = Vitals::take("calling", programs, &home)?;
        if look.pss > peak.pss {
            peak = look;
        }
    }
    let duration = start.elapsed();
    let failed = shims - attached.conversations.len();
    for conversation in attached.conversations.drain(..) {
        conversation.end()?;
    }
    home.stop(programs)?;
    Ok(Crowd {
        keeps_sessions: server.keeps_sessions,
        shims,
        failed,
        first_error: attached.first_error,
        duration,
        initialized: server.initialized() - initialized,
        peak,
    })
}
