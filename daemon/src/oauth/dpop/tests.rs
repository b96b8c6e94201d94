use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};

use super::*;
use crate::oauth::discovery::{AuthorizationServer, Discovered};
use crate::oauth::endpoints::RefreshRequest;
use crate::oauth::fake::{Answer, Fake, authorization_server, endpoint, identity};
use crate::oauth::identity::Identity;
use crate::oauth::kept_sign_in::tests::client;
use crate::oauth::registration::Client;
use crate::oauth::token::{TokenEndpointError, TokenResponse, refresh};

fn decoded(part: &str) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Checks a proof's form and signature; returns its claims.
fn claims(proof: &str) -> Value {
    let parts: Vec<&str> = proof.split('.').collect();
    let [first, second, signature] = parts[..] else {
        panic!("three parts: {proof}");
    };
    let header = decoded(first);
    assert_eq!(
        (&header["typ"], &header["alg"]),
        (&json!("dpop+jwt"), &json!("ES256"))
    );
    assert!(header["jwk"].get("d").is_none());
    let coordinate = |name: &str| {
        let text = header["jwk"][name].as_str().expect("text");
        URL_SAFE_NO_PAD.decode(text).expect("base64url")
    };
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(format!("{first}.{second}").as_bytes(), &signature)
        .expect("signed with the key in it");
    decoded(second)
}

fn proof_of(headers: &HeaderMap) -> Value {
    let value = headers.get("dpop").expect("a proof");
    assert!(value.is_sensitive());
    claims(value.to_str().expect("text"))
}

fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

#[test]
fn a_proof_is_for_one_request_and_one_token() {
    let proofs = Proofs::new(ProofKey::generate(), "token");
    let url = Url::parse("https://H:443/a%20b/mcp?x=1#f").expect("a URL");
    let mut headers = HeaderMap::new();
    proofs.add(&Method::DELETE, &url, None, &mut headers);
    let one = proof_of(&headers);
    assert_eq!(one["htm"], "DELETE");
    assert_eq!(one["htu"], "https://h/a%20b/mcp");
    // SHA-256 of "token".
    assert_eq!(one["ath"], "PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A");
    assert!(one.get("nonce").is_none());
    let age = seconds().abs_diff(one["iat"].as_u64().expect("a time"));
    assert!(age <= 2, "{age}");
    proofs.add(&Method::DELETE, &url, None, &mut headers);
    let other = proof_of(&headers);
    assert_ne!(one["jti"], other["jti"]);
    assert!(one["jti"].as_str().is_some_and(|id| id.len() >= 22));
}

#[test]
fn a_key_is_read_as_it_was_kept() {
    let key = ProofKey::generate();
    let again = ProofKey::of_kept(&key.to_keep()).expect("ours");
    assert_eq!((&again, again.thumbprint()), (&key, key.thumbprint()));
    assert_ne!(key, ProofKey::generate());
    assert!(!format!("{key:?}").contains(&*key.to_keep()));
    for garbage in ["", "x", "AAAA", "Zm9v", &key.to_keep()[..40]] {
        assert_eq!(ProofKey::of_kept(garbage), None, "{garbage}");
    }
}

#[test]
fn a_refusal_at_the_server_says_with_what_another_proof_may_do() {
    let check = |status: u16, challenge: &str, nonce: Option<&str>, expected: bool| {
        let proofs = Proofs::new(ProofKey::generate(), "token");
        let url = Url::parse("https://h/mcp").expect("a URL");
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(challenge).expect("a value");
        headers.insert("www-authenticate", value);
        if let Some(nonce) = nonce {
            headers.insert("dpop-nonce", HeaderValue::from_str(nonce).expect("a value"));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        let better = proofs.hear(&url, status, &headers, None);
        assert_eq!(better.is_some(), expected, "{status} {challenge} {nonce:?}");
        let mut next = HeaderMap::new();
        proofs.add(&Method::POST, &url, None, &mut next);
        // What came with a refusal of the proof is for its second attempt alone.
        let kept = proof_of(&next)["nonce"].as_str().map(str::to_owned);
        let is_about_proof = status == StatusCode::UNAUTHORIZED && !challenge.contains("token");
        assert_eq!(kept.as_deref(), nonce.filter(|_| !is_about_proof));
        if better.is_some() {
            proofs.hear(&url, StatusCode::OK, &HeaderMap::new(), better.as_ref());
            proofs.add(&Method::POST, &url, None, &mut next);
            assert_eq!(proof_of(&next)["nonce"], "n", "it has worked");
        }
    };
    check(401, "DPoP error=\"use_dpop_nonce\"", Some("n"), true);
    check(
        401,
        "Bearer, DPoP error=\"use_dpop_nonce\"",
        Some("n"),
        true,
    );
    check(401, "DPoP error=\"invalid_dpop_proof\"", Some("n"), true);
    check(401, "DPoP error=\"use_dpop_nonce\"", None, false);
    check(401, "DPoP error=\"use_dpop_nonce\"", Some("\"n\""), false);
    check(401, "DPoP error=\"invalid_dpop_proof\"", None, false);
    check(401, "DPoP error=\"invalid_token\"", Some("n"), false);
    check(403, "DPoP error=\"use_dpop_nonce\"", Some("n"), false);
    check(200, "DPoP error=\"use_dpop_nonce\"", Some("n"), false);
}

fn server(origin: &str) -> AuthorizationServer {
    AuthorizationServer {
        issuer: "https://as.example".into(),
        token_endpoint: endpoint(origin, "/token?tenant=1"),
        ..authorization_server(origin)
    }
}

async fn refreshed(
    fake: &Fake,
    binding: Option<&Binding>,
) -> Result<TokenResponse, TokenEndpointError> {
    let (server, client): (_, Client) = (server(&fake.origin), client("c"));
    let request = RefreshRequest {
        server: &server,
        client: &client,
        issuer: "https://as.example",
        refresh_token: &Secret::new("s3cret".into()),
        resource: None,
        scope: None,
        binding,
    };
    refresh(&fake.http().await, request).await
}

fn binding(demanded: bool) -> Binding {
    let key = ProofKey::generate();
    Binding { key, demanded }
}

fn tokens(token_type: &str) -> Answer {
    let document = json!({"access_token": "at", "token_type": token_type, "refresh_token": "rt"});
    Answer::json(200, &document)
}

fn refusal(error: &str, head: &str) -> Answer {
    let Answer(status, own, body) = Answer::json(400, &json!({ "error": error }));
    Answer(status, own + head, body)
}

/// Answers with these in turn, the last one for ever.
async fn in_turn(answers: Vec<fn() -> Answer>) -> Fake {
    let next = AtomicUsize::new(0);
    Fake::start(move |_, _| {
        let at = next.fetch_add(1, Ordering::Relaxed);
        answers[at.min(answers.len() - 1)]()
    })
    .await
}

/// The claims of the proofs that came. The fake has made them lower case: they can be
/// told apart, not read.
fn proofs(fake: &Fake) -> Vec<Option<String>> {
    let proof = |head: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix("dpop: "));
        line.map(str::to_owned)
    };
    fake.asked()
        .iter()
        .map(|asked| proof(&asked.head))
        .collect()
}

#[tokio::test]
async fn a_nonce_that_the_token_endpoint_asks_for_is_sent_at_once() {
    let ask: fn() -> Answer = || refusal("use_dpop_nonce", "DPoP-Nonce: n1\r\n");
    let fake = in_turn(vec![ask, || tokens("DPoP")]).await;
    let binding = binding(true);
    let response = refreshed(&fake, Some(&binding)).await.expect("tokens");
    assert_eq!(response.is_bound, Some(true));
    let sent = proofs(&fake);
    assert!(sent.len() == 2 && sent[0].is_some() && sent[0] != sent[1]);
    // It is known from now on.
    refreshed(&fake, Some(&binding)).await.expect("tokens");
    assert_eq!(fake.asked().len(), 3);
    let fake = in_turn(vec![ask]).await;
    let error = refreshed(&fake, Some(&binding))
        .await
        .expect_err("no token");
    assert!(matches!(&error, TokenEndpointError::Unusable(why) if why.contains("clock")));
    assert_eq!(fake.asked().len(), 2, "not for ever");
    let fake = in_turn(vec![|| refusal("use_dpop_nonce", "")]).await;
    refreshed(&fake, Some(&binding))
        .await
        .expect_err("no token");
    assert_eq!(fake.asked().len(), 1, "there is none to send");
}

#[tokio::test]
async fn a_clock_that_refuses_our_proofs_is_followed() {
    let fake = in_turn(vec![
        || {
            let there = SystemTime::now() + Duration::from_secs(3600);
            let head = format!("Date: {}\r\n", httpdate::fmt_http_date(there));
            refusal("invalid_dpop_proof", &head)
        },
        || tokens("DPoP"),
    ])
    .await;
    let binding = binding(true);
    refreshed(&fake, Some(&binding)).await.expect("tokens");
    assert_eq!(fake.asked().len(), 2);
    let url = Url::parse(&fake.origin).expect("a URL");
    let proof = binding.key.prove(&Method::POST, &url, None, None);
    let claims = claims(proof.to_str().expect("text"));
    let ahead = claims["iat"].as_u64().expect("a time") - seconds();
    assert!((3595..=3605).contains(&ahead), "{ahead}");
}

#[tokio::test]
async fn tokens_are_of_the_type_that_was_asked_for() {
    let fake = in_turn(vec![|| tokens("DPoP")]).await;
    let error = refreshed(&fake, None)
        .await
        .expect_err("nobody asked for it");
    let spoiled = |error: &TokenEndpointError, part: &str| match error {
        TokenEndpointError::Spoiled { why, refresh_token } => {
            why.contains(part) && refresh_token.reveal() == "rt"
        }
        _ => false,
    };
    assert!(spoiled(&error, "type that was not asked for"), "{error:?}");
    assert_eq!(proofs(&fake), [None]);
    let fake = in_turn(vec![|| tokens("Bearer")]).await;
    let error = refreshed(&fake, Some(&binding(true))).await;
    let error = error.expect_err("it is demanded");
    assert!(spoiled(&error, "not bound"), "{error:?}");
    let response = refreshed(&fake, Some(&binding(false))).await;
    assert_eq!(response.expect("good enough").is_bound, Some(false));
}

#[test]
fn tokens_are_bound_where_the_mcp_server_asks_for_it() {
    use Wanted::{Demanded, Taken, Unsaid};
    let check = |choice: Choice,
                 (challenge, metadata): (Wanted, Wanted),
                 takes_proofs: Option<bool>,
                 expected: Result<Option<bool>, ()>| {
        let identity = Identity {
            dpop: choice,
            ..identity("https://h/mcp")
        };
        let challenge = Challenge {
            bound_tokens: challenge,
            ..Challenge::default()
        };
        let discovered = Discovered {
            resource: None,
            scopes_supported: None,
            bound_tokens: metadata,
            server: AuthorizationServer {
                takes_proofs,
                ..server("https://as.example")
            },
        };
        let decided = decide(&identity, &challenge, &discovered);
        let decided = decided.map(|binding| binding.map(|binding| binding.demanded));
        assert_eq!(
            decided.map_err(|_| ()),
            expected,
            "{choice:?} {challenge:?} {metadata:?} {takes_proofs:?}"
        );
    };
    for takes in [None, Some(false), Some(true)] {
        check(Choice::Asked, (Unsaid, Unsaid), takes, Ok(None));
        check(Choice::Never, (Demanded, Demanded), takes, Ok(None));
        let expected = if takes == Some(false) {
            Err(())
        } else {
            Ok(Some(true))
        };
        check(Choice::Asked, (Unsaid, Demanded), takes, expected);
        check(Choice::Asked, (Demanded, Unsaid), takes, expected);
        check(Choice::Always, (Unsaid, Unsaid), takes, expected);
        let expected = (takes == Some(true)).then_some(false);
        check(Choice::Asked, (Taken, Unsaid), takes, Ok(expected));
        check(Choice::Asked, (Unsaid, Taken), takes, Ok(expected));
    }
    let by_id_token = Identity {
        use_id_token: true,
        dpop: Choice::Always,
        ..identity("https://h/mcp")
    };
    assert_eq!(wanted_by(&by_id_token), Unsaid);
}

fn wanted_by(identity: &Identity) -> Wanted {
    let discovered = Discovered {
        resource: None,
        scopes_supported: None,
        bound_tokens: Wanted::Demanded,
        server: server("https://as.example"),
    };
    match binds_always(identity, &discovered) {
        true => Wanted::Demanded,
        false => Wanted::Unsaid,
    }
}
