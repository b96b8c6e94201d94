//! The checks. Each has a simple decoder of its own to compare with, which takes
//! the whole input at once and as much memory as it likes.

pub mod framing;
pub mod jsonrpc;
pub mod members;
pub mod memory;
mod pairs;
pub mod sse;

/// Takes settings off the front of an input.
fn settings<const N: usize>(input: &[u8]) -> Option<([u8; N], &[u8])> {
    let (settings, rest) = input.split_first_chunk()?;
    Some((*settings, rest))
}

/// Cuts an input in a way that follows from the seed; 0: into single bytes.
fn cut(mut rest: &[u8], seed: u8) -> Vec<&[u8]> {
    let mut state = u32::from(seed);
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        state = state
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223 * u32::from(seed != 0));
        let length = 1 + (state >> 24) as usize % 32 * usize::from(seed != 0);
        let (chunk, after) = rest.split_at(length.min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}
