//! What discovery finds, told document by document, and what is kept of an identity:
//! for people who want to know why a sign-in does or does not work. Signs nobody in,
//! registers nothing, keeps nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use url::Url;

use super::discovery::{self, Discovered, DiscoveryError, Known};
use super::http::{OAuthHttp, OAuthHttpError, Reply};
use super::identity::Identity;
use super::names::Names;
use super::store::{OnDisk, Place, Store, StoreError, Stored};
use crate::http::{HttpClients, HttpError};

/// A document that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// Where.
    pub(crate) url: Url,
    /// What came of it; `None`: nobody waited for the answer.
    pub(crate) found: Option<Found>,
    /// How long that took.
    pub(crate) took: Duration,
}

/// What came of asking for a document.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// An answer: its status, and the document if it is a JSON object.
    Answer(u16, Option<Map<String, Value>>),
    /// Why there is none.
    Nothing(OAuthHttpError),
}

/// What a survey found.
#[derive(Debug)]
pub(crate) struct Survey {
    /// The documents in the order in which they were asked for.
    pub(crate) documents: Vec<Document>,
    /// What they come to.
    pub(crate) outcome: Result<Discovered, DiscoveryError>,
}

/// What is kept of an identity, and where.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Where the tokens are.
    pub(crate) place: Place,
    /// They themselves, and the client of the next sign-in.
    pub(crate) stored: Stored,
    /// There is a file that nobody can read.
    pub(crate) is_damaged: bool,
}

/// Notes documents as they are asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace(Arc<Mutex<Vec<Document>>>);

/// A document that is being asked for.
pub(super) struct Noted<'a> {
    trace: &'a Trace,
    at: usize,
    begun: Instant,
}

impl Trace {
    /// Notes that a document is asked for.
    pub(super) fn begin(&self, url: &Url) -> Noted<'_> {
        let mut documents = self.lock();
        documents.push(Document {
            url: url.clone(),
            found: None,
            took: Duration::ZERO,
        });
        Noted {
            trace: self,
            at: documents.len() - 1,
            begun: Instant::now(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Document>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted<'_> {
    /// Notes what came of it.
    pub(super) fn end(self, answer: &Result<Reply, OAuthHttpError>) {
        let mut documents = self.trace.lock();
        let document = &mut documents[self.at];
        document.took = self.begun.elapsed();
        document.found = Some(match answer {
            Ok(reply) => Found::Answer(reply.status.as_u16(), reply.json()),
            Err(error) => Found::Nothing(error.clone()),
        });
    }
}

/// Finds the authorization server as a sign-in does, asking everybody anew.
///
/// # Errors
/// Nobody can be asked.
pub(super) async fn discover(
    clients: &HttpClients,
    names: &Names,
    identity: &Identity,
    known: &Known,
) -> Result<Survey, HttpError> {
    let trace = Trace::default();
    let http = OAuthHttp::new(clients, names, identity).await?;
    let http = http.traced(trace.clone());
    let outcome = discovery::discover(&http, identity, known).await;
    let documents = std::mem::take(&mut *trace.lock());
    Ok(Survey { documents, outcome })
}

/// Reads what is kept of an identity, without taking anything over.
///
/// # Errors
/// The store cannot be used.
pub(super) async fn kept(store: &Store, identity: &Identity) -> Result<Kept, StoreError> {
    let hash = identity.hash();
    // First: reading closes a file that is open to others.
    let place = store.place(&hash).await?;
    let is_damaged = matches!(store.tokens(&hash).await?, OnDisk::Damaged);
    Ok(Kept {
        stored: store.read(&hash).await?,
        is_damaged,
        place,
    })
}
