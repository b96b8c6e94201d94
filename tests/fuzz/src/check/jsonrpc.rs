//! Envelopes.

use std::ops::Range;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::pairs::Pairs;
use crate::jsonrpc::{Envelope, Kind, RequestId, on_one_line};

/// The whole input is a message.
pub fn check(input: &[u8]) {
    let text = std::str::from_utf8(input).ok();
    let bytes = Bytes::copy_from_slice(input);
    let envelope = Envelope::parse(bytes.clone()).ok();
    let expected = text.and_then(Pairs::of).and_then(|pairs| simple(&pairs));
    assert_eq!(envelope.as_ref().map(seen), expected);
    if let Some(envelope) = &envelope {
        let pairs = text.and_then(Pairs::of).expect("it is an object");
        places(envelope, &pairs);
        splicing(envelope);
        lines(&bytes);
    }
    batch(bytes);
}

/// What an envelope says of a message.
type Seen<'a> = (Kind, Option<String>, Option<&'a str>, bool);

fn seen(envelope: &Envelope) -> Seen<'_> {
    let id = envelope.id_place().map(|place| envelope.text(place));
    assert_eq!(envelope.id().as_ref().map(RequestId::as_json), id);
    let method = envelope.method().map(str::to_owned);
    (envelope.kind(), method, id, envelope.is_error())
}

fn simple<'a>(pairs: &Pairs<'a>) -> Option<Seen<'a>> {
    let id = pairs.one("id").ok()?;
    let method: Option<String> = match pairs.one("method").ok()? {
        Some(method) => serde_json::from_str(method).ok()?,
        None => None,
    };
    pairs.one("params").ok()?;
    let result = pairs.one("result").ok()?.is_some();
    let error = pairs.one("error").ok()?.is_some();
    let usable = id.filter(|id| !id.starts_with(['n', 't', 'f', '[', '{']));
    let kind = match (&method, id, usable) {
        (Some(_), Some(_), Some(_)) => Kind::Request,
        (Some(_), Some(_), None) => return None,
        (Some(_), None, _) => Kind::Notification,
        (None, ..) if result || error => Kind::Response,
        (None, ..) => return None,
    };
    Some((kind, method, usable, error))
}

/// Compares the places of the values that a relay replaces.
fn places(envelope: &Envelope, pairs: &Pairs<'_>) {
    let text = |place: Option<Range<usize>>| place.map(|place| envelope.text(place).to_owned());
    let member = |object: Option<&str>, name: &str| -> Option<String> {
        Pairs::of(object?)?.one(name).ok()?.map(str::to_owned)
    };
    let params = pairs.one("params").unwrap_or_default();
    let meta = member(params, "_meta");
    let token = member(meta.as_deref(), "progressToken").filter(|token| token != "null");
    assert_eq!(text(envelope.request_progress_token()), token);
    let token = member(params, "progressToken");
    assert_eq!(text(envelope.progress_token()), token);
    let cancelled = member(params, "requestId");
    assert_eq!(text(envelope.cancelled_request()), cancelled);
}

/// Replaces an id and a token and puts them back.
fn splicing(envelope: &Envelope) {
    let mut places = Vec::from_iter(envelope.id_place());
    places.extend(envelope.request_progress_token());
    places.sort_by_key(|place| place.start);
    let ours: Vec<_> = places.iter().cloned().map(|place| (place, "77")).collect();
    let replaced = Envelope::parse(envelope.spliced(&ours)).expect("it is still a message");
    assert_eq!(replaced.kind(), envelope.kind());
    assert_eq!(replaced.method(), envelope.method());
    let mut back = Vec::from_iter(replaced.id_place());
    back.extend(replaced.request_progress_token());
    back.sort_by_key(|place| place.start);
    assert_eq!(back.len(), places.len());
    let theirs: Vec<_> = back
        .iter()
        .zip(&places)
        .map(|(place, was)| {
            assert_eq!(replaced.text(place.clone()), "77");
            (place.clone(), envelope.text(was.clone()))
        })
        .collect();
    assert_eq!(replaced.spliced(&theirs), envelope.bytes());
}

/// A message on one line says the same.
fn lines(bytes: &Bytes) {
    let line = on_one_line(bytes.clone());
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    assert_eq!(value(&line), value(bytes));
}

/// Of an array, each element stands for itself.
fn batch(bytes: Bytes) {
    let all = Envelope::parse_all(bytes.clone());
    assert!(!all.is_empty());
    let Ok(elements) = serde_json::from_slice::<Vec<&RawValue>>(&bytes) else {
        assert_eq!(all.len(), 1);
        return;
    };
    assert_eq!(all.len(), elements.len().max(1));
    for (one, element) in all.iter().zip(elements) {
        let alone = Pairs::of(element.get());
        let expected = alone.and_then(|pairs| simple(&pairs).is_some().then_some(element.get()));
        let found = one.as_ref().ok().map(|envelope| envelope.bytes().as_ref());
        assert_eq!(found, expected.map(str::as_bytes));
        if let Err(unusable) = one {
            drop((unusable.request_id(), unusable.response_id()));
        }
    }
}
