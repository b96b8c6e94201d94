//! The same client on the HTTP stack that most Rust clients use, and the daemon
//! too: reads a message a line, posts it, prints the answer. What a call costs
//! here is what it costs without a daemon in between.

use std::io::BufRead;
use std::sync::Arc;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};

use crate::connection::{Failure, data_of};
use crate::print_line;

/// Posts each line of standard input in one session until its end.
pub(crate) async fn relay(url: &str) -> Result<(), Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .use_preconfigured_tls(tls)
        .no_proxy()
        .tcp_nodelay(true)
        .build()?;
    let mut session: Option<HeaderValue> = None;
    for line in std::io::stdin().lock().lines() {
        let mut request = client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream");
        if let Some(session) = &session {
            request = request
                .header("mcp-session-id", session)
                .header("mcp-protocol-version", "2025-11-25");
        }
        let response = request.body(line?).send().await?.error_for_status()?;
        if let Some(given) = response.headers().get("mcp-session-id") {
            session = Some(given.clone());
        }
        let answer = data_of(&response.bytes().await?);
        if !answer.is_empty() {
            print_line(&answer)?;
        }
    }
    Ok(())
}
