//! Standard input and output: newline-framed messages, one reader, one writer.
//!
//! Either side may block for ever, and signals have to be served meanwhile. So
//! nothing here waits on a descriptor that was not found ready first; what cannot
//! be asked (a plain file) or would not fit has a thread of its own. The blocking
//! mode of the descriptors is left alone: it is shared with whoever gave them.

use std::io;

mod framing;
mod input;
mod output;
#[cfg(unix)]
mod ready;

pub(crate) use framing::Line;
pub(crate) use input::Input;
pub(crate) use output::{Output, standard_output};

/// More than enough for a thread that only copies; the default would be 2 MiB.
const STACK: usize = 128 * 1024;

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.stack_size(STACK).spawn(work).map(drop)
}
