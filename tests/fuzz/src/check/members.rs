//! The scan for members.

use super::pairs::Pairs;
use super::{cut, memory, settings};
use crate::members::{Members, Scanner};

/// The longest id and method that are kept.
const MAX_ID_LEN: usize = 1024;
const MAX_METHOD_LEN: usize = 128;

/// The cuts follow from the first byte.
pub fn check(input: &[u8]) {
    let Some(([seed], message)) = settings(input) else {
        return;
    };
    let found = Members::of(message);
    for chunks in [cut(message, 0), cut(message, seed)] {
        let mut scanner = Scanner::default();
        chunks.iter().for_each(|chunk| scanner.push(chunk));
        assert_eq!(scanner.finish(), found);
    }
    if seed % 64 == 1 {
        let mut scanner = Scanner::default();
        memory::stays_below(8192, message, |message| scanner.push(message));
    }
    let Some(pairs) = std::str::from_utf8(message).ok().and_then(Pairs::of) else {
        return;
    };
    // Names with escapes are not decoded.
    if !message.contains(&b'\\') {
        assert_eq!(found, simple(&pairs));
    }
}

fn simple(pairs: &Pairs<'_>) -> Members {
    let last_fitting = |name, fits: fn(&str) -> bool| pairs.last_that(name, fits);
    Members {
        id: last_fitting("id", |id| {
            id.starts_with(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
                && id.len() <= MAX_ID_LEN
        })
        .map(|id| id.as_bytes().to_vec()),
        method: last_fitting("method", |method| method.starts_with('"')).map(|method| {
            let mut method = method.as_bytes()[1..method.len() - 1].to_vec();
            method.truncate(MAX_METHOD_LEN);
            method
        }),
        answers: ["result", "error"]
            .iter()
            .any(|name| pairs.last_that(name, |_| true).is_some()),
        fails: pairs.last_that("error", |_| true).is_some(),
    }
}
