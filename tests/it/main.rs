//! The behaviour of both programs, one file a promise. Everything is driven from
//! outside, through the real binaries; build them first:
//! `cargo build --workspace --bins`.

#![cfg(unix)]

mod bad_input;
mod batches;
mod bytes;
mod command_line;
mod completions;
mod daemon_loss;
mod dependencies;
mod doctor;
mod duplex;
mod event_streams;
mod handed_over;
mod handover;
mod headers;
mod hostile;
mod http_errors;
mod isolation;
mod kept_sessions;
mod kept_switches;
mod leaving;
mod log_stream;
mod logs;
mod management;
mod oauth_bounds;
mod oauth_hostile;
mod oauth_kill;
mod oauth_nowhere_else;
mod oauth_people;
mod oauth_sessions;
mod oauth_sign_in;
mod oauth_tokens;
mod oauth_waiting;
mod pool;
mod proxy;
mod recovery;
mod reflection;
mod relay;
mod repeats;
mod request_timeout;
mod resumption;
mod secrets;
mod server_requests;
mod session_loss;
mod session_state;
mod shared_state;
mod sharing;
mod sign_in_shim;
mod silence;
mod silent_clients;
mod start;
mod status_states;
mod status_watch;
mod stopping;
mod storage;
mod support;
mod tls;
mod transport;
mod versions;
mod warm;
