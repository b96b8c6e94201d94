//! The fake itself: what it gives, and what it complains about.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::*;

const VERIFIER: &str = "a-verifier-that-is-long-enough-for-rfc-7636-x";
const CHALLENGE: &str = "code_challenge_method=S256&code_challenge=";
const REDIRECT: &str = "http://localhost:1/cb";

fn ask(origin: &str, head: &str, body: &str) -> (u16, String) {
    let authority = origin.strip_prefix("http://").expect("plain http");
    let mut socket = TcpStream::connect(authority).expect("it listens");
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).expect("it reads");
    socket
        .shutdown(std::net::Shutdown::Write)
        .expect("it is open");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("it answers");
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    (status.expect("a status"), text)
}

fn json(text: &str) -> Value {
    let (_, body) = text.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

fn post(origin: &str, path: &str, body: &str) -> (u16, Value) {
    let (status, text) = ask(origin, &format!("POST {path}"), body);
    (status, json(&text))
}

/// Signs in; returns the client id and the tokens.
fn sign_in(server: &FakeAuthorizationServer, resource: &str) -> (String, Value) {
    use base64::Engine as _;
    use sha2::Digest as _;
    let origin = server.origin();
    let registration = format!(
        r#"{{"redirect_uris":["{REDIRECT}"],"application_type":"native","token_endpoint_auth_method":"none"}}"#
    );
    let (status, client) = post(&origin, "/register", &registration);
    assert_eq!(status, 201);
    let client = client["client_id"].as_str().expect("an id").to_owned();
    let digest = sha2::Sha256::digest(VERIFIER);
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest);
    let target = format!(
        "GET /authorize?response_type=code&client_id={client}&redirect_uri={REDIRECT}&state=0123456789abcdef&{CHALLENGE}{challenge}&resource={resource}"
    );
    let (status, text) = ask(&origin, &target, "");
    assert_eq!(status, 302, "{text}");
    let code = text
        .split("code=")
        .nth(1)
        .and_then(|rest| rest.split('&').next());
    let code = code.expect("a code");
    let form = format!(
        "grant_type=authorization_code&code={code}&code_verifier={VERIFIER}&redirect_uri={REDIRECT}&client_id={client}&resource={resource}"
    );
    let (status, tokens) = post(&origin, "/token", &form);
    assert_eq!(status, 200, "{tokens}");
    (client, tokens)
}

#[test]
fn a_token_opens_the_guarded_server_and_nothing_else_does() {
    let server = FakeAuthorizationServer::start();
    let upstream = FakeUpstream::start();
    server.protect(&upstream);
    let (status, text) = ask(&upstream.origin(), "DELETE /mcp", "");
    assert_eq!(status, 401);
    assert!(text.contains("resource_metadata="), "{text}");
    let (status, text) = ask(&upstream.origin(), "GET /metadata-of-this-server", "");
    assert_eq!(status, 200);
    assert_eq!(json(&text)["authorization_servers"][0], server.origin());
    let (client, tokens) = sign_in(&server, &upstream.url());
    let with = |token: &str| {
        let head = "GET /mcp?";
        let authority = upstream.origin();
        let authority = authority.strip_prefix("http://").expect("plain");
        let mut socket = TcpStream::connect(authority).expect("it listens");
        let request = format!(
            "{head} HTTP/1.1\r\nHost: {authority}\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).expect("it reads");
        let mut start = [0; 12];
        socket.read_exact(&mut start).expect("it answers");
        String::from_utf8_lossy(&start[9..]).into_owned()
    };
    let access = tokens["access_token"].as_str().expect("a token");
    // 400: no session, which the MCP server itself says.
    assert_eq!(with(access), "400");
    assert_eq!(with("other"), "401");
    let refresh = tokens["refresh_token"].as_str().expect("a token");
    let form = format!(
        "grant_type=refresh_token&refresh_token={refresh}&client_id={client}&resource={}",
        upstream.url()
    );
    server.expire_access_tokens();
    assert_eq!(with(access), "401");
    let (status, renewed) = post(&server.origin(), "/token", &form);
    assert_eq!(status, 200, "{renewed}");
    assert_ne!(renewed["refresh_token"], refresh);
    server.want_scope("more");
    let access = renewed["access_token"].as_str().expect("a token");
    assert_eq!(with(access), "403");
    server.revoke_all();
    assert_eq!(with(access), "401");
    assert_eq!(server.count("token refresh"), 1);
}

#[test]
#[should_panic(expected = "a second time")]
fn a_refresh_token_that_comes_again_withdraws_the_grant() {
    let server = FakeAuthorizationServer::start();
    let (client, tokens) = sign_in(&server, "http://h/mcp");
    let refresh = tokens["refresh_token"].as_str().expect("a token");
    let form = format!(
        "grant_type=refresh_token&refresh_token={refresh}&client_id={client}&resource=http://h/mcp"
    );
    assert_eq!(post(&server.origin(), "/token", &form).0, 200);
    let (status, refused) = post(&server.origin(), "/token", &form);
    assert_eq!(
        (status, refused["error"].as_str()),
        (400, Some("invalid_grant"))
    );
    let newest = server
        .shared
        .state
        .look(|state| state.refresh.keys().next().cloned());
    let form = form.replace(refresh, &newest.expect("one"));
    assert_eq!(post(&server.origin(), "/token", &form).0, 400);
}
