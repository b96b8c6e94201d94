mod requests;

use std::time::Duration;

use super::*;
use crate::oauth::fake::{Answer, Asked, Fake, authorization_server, endpoint};
use serde_json::{Map, json};
use url::Url;

pub(super) fn server(origin: &str) -> AuthorizationServer {
    AuthorizationServer {
        token_endpoint: endpoint(origin, "/token?tenant=1"),
        revocation_endpoint: Some(endpoint(origin, "/revoke")),
        ..authorization_server(origin)
    }
}

pub(super) fn client(origin: &str, method: AuthMethod) -> Client {
    let secret = (method != AuthMethod::None).then(|| secret("s3cret&x"));
    Client {
        issuer: origin.to_owned(),
        client_id: "id 1".into(),
        client_secret: secret,
        auth_method: method,
        redirect_uris: Vec::new(),
        key: None,
        secret_expires_at: None,
        document: Map::new(),
    }
}

pub(super) fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

fn pending(origin: &str) -> Pending {
    Pending {
        state: secret("s3cret-state"),
        verifier: secret("s3cret-verifier"),
        url: Url::parse(origin).expect("valid"),
        redirect_uri: "http://localhost:5598/oauth/callback".into(),
        issuer: origin.to_owned(),
        iss_expected: false,
        scope: None,
        resource: Some("https://H/mcp".into()),
        binding: None,
    }
}

async fn exchanged(fake: &Fake, method: AuthMethod) -> Result<TokenResponse, TokenEndpointError> {
    let (server, client) = (server(&fake.origin), client(&fake.origin, method));
    let code = Code(secret("s3cret-code"));
    exchange(
        &fake.http().await,
        &server,
        &client,
        &pending(&fake.origin),
        &code,
    )
    .await
}

async fn refreshed(fake: &Fake, scope: Option<&str>) -> Result<TokenResponse, TokenEndpointError> {
    let (server, client) = (server(&fake.origin), client(&fake.origin, AuthMethod::None));
    let scope = scope.and_then(Scope::parse);
    let token = secret("s3cret-refresh");
    let request = RefreshRequest {
        resource: Some("https://H/mcp"),
        scope: scope.as_ref(),
        ..asking(&server, &client, &fake.origin, &token)
    };
    refresh(&fake.http().await, request).await
}

fn asking<'a>(
    server: &'a AuthorizationServer,
    client: &'a Client,
    issuer: &'a str,
    refresh_token: &'a Secret<String>,
) -> RefreshRequest<'a> {
    RefreshRequest {
        server,
        client,
        issuer,
        refresh_token,
        resource: None,
        scope: None,
        binding: None,
    }
}

fn check_fields(asked: &Asked, expected: &[(&str, Option<&str>)]) {
    for (name, value) in expected {
        assert_eq!(
            asked.field(name).as_deref(),
            *value,
            "{name} in {}",
            asked.body
        );
    }
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("POST", "/token?tenant=1")
    );
}

pub(super) fn token() -> Answer {
    Answer::json(
        200,
        &json!({"access_token": "at", "token_type": "Bearer", "expires_in": 60}),
    )
}

#[tokio::test]
async fn a_code_is_exchanged_with_all_that_belongs_to_it() {
    let fake = Fake::start(|_, _| token()).await;
    let response = exchanged(&fake, AuthMethod::None).await.expect("a token");
    assert_eq!(response.access_token.reveal(), "at");
    assert_eq!(response.expires_in, Some(Duration::from_secs(60)));
    assert_eq!(response.refresh_token, None);
    let fields = [
        ("grant_type", Some("authorization_code")),
        ("code", Some("s3cret-code")),
        ("code_verifier", Some("s3cret-verifier")),
        ("redirect_uri", Some("http://localhost:5598/oauth/callback")),
        ("resource", Some("https://H/mcp")),
        ("client_id", Some("id 1")),
        ("client_secret", None),
        ("scope", None),
    ];
    check_fields(&fake.asked()[0], &fields);
    assert!(!fake.asked()[0].head.contains("authorization:"));
}

#[tokio::test]
async fn a_client_says_who_it_is_as_registered() {
    let fake = Fake::start(|_, _| token()).await;
    exchanged(&fake, AuthMethod::Post).await.expect("a token");
    let fields = [
        ("client_id", Some("id 1")),
        ("client_secret", Some("s3cret&x")),
    ];
    check_fields(&fake.asked()[0], &fields);
    exchanged(&fake, AuthMethod::Basic).await.expect("a token");
    check_fields(
        &fake.asked()[1],
        &[("client_id", None), ("client_secret", None)],
    );
    // base64 of id+1:s3cret%26x, in the lower case that heads are kept in.
    assert!(
        fake.asked()[1]
            .head
            .contains(&"authorization: Basic aWQrMTpzM2NyZXQlMjZ4".to_lowercase())
    );
}

#[tokio::test]
async fn a_refresh_asks_for_no_scope_unless_told() {
    let fake = Fake::start(|_, _| token()).await;
    refreshed(&fake, None).await.expect("a token");
    let mut fields = [
        ("grant_type", Some("refresh_token")),
        ("refresh_token", Some("s3cret-refresh")),
        ("resource", Some("https://H/mcp")),
        ("client_id", Some("id 1")),
        ("scope", None),
    ];
    check_fields(&fake.asked()[0], &fields);
    refreshed(&fake, Some("a b")).await.expect("a token");
    fields[4] = ("scope", Some("a b"));
    check_fields(&fake.asked()[1], &fields);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn only_invalid_grant_says_that_the_grant_is_gone() {
    type Is = fn(&TokenEndpointError) -> bool;
    let check = async |answer: fn() -> Answer, is: Is, said: &str| {
        let fake = Fake::start(move |_, _| answer()).await;
        let error = refreshed(&fake, None).await.expect_err("no token");
        assert!(is(&error), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(said), "{text}");
        assert!(
            !text.contains("s3cret") && !text.contains(['\n', '\u{1b}']),
            "{text:?}"
        );
        assert_eq!(fake.asked().len(), 1, "{error:?}");
    };
    fn error(status: u16, error: &str) -> Answer {
        let description = "why\r\n\u{1b}[31m s3cret-refresh";
        let document = json!({"error": error, "error_description": description});
        Answer::json(status, &document)
    }
    let gone: Is = |error| matches!(error, TokenEndpointError::InvalidGrant(_));
    check(
        || error(400, "invalid_grant"),
        gone,
        "grant: why [31m [redacted]",
    )
    .await;
    check(|| error(401, "invalid_grant"), gone, "why").await;
    check(|| error(200, "invalid_grant"), gone, "why").await;
    let client: Is = |error| matches!(error, TokenEndpointError::InvalidClient(_));
    check(
        || error(401, "invalid_client"),
        client,
        "does not accept the client",
    )
    .await;
    let refused: Is = |error| matches!(error, TokenEndpointError::Refused { .. });
    check(
        || error(400, "invalid_target"),
        refused,
        "400 invalid_target: why",
    )
    .await;
    check(|| error(403, "temporarily_blocked"), refused, "403").await;
    check(|| Answer::html(400), refused, "400 without saying why").await;
    check(|| Answer::html(401), refused, "401").await;
    check(|| Answer::html(404), refused, "404").await;
    check(|| Answer::json(400, &json!({"error": 7})), refused, "400").await;
    check(
        || Answer::json(400, &json!(["invalid_grant"])),
        refused,
        "400",
    )
    .await;
    let transient: Is = |error| matches!(error, TokenEndpointError::Transient(_));
    check(|| error(500, "invalid_grant"), transient, "answered 500").await;
    check(|| error(503, "invalid_grant"), transient, "answered 503").await;
    check(|| Answer::html(429), transient, "answered 429").await;
    check(|| Answer::html(408), transient, "answered 408").await;
    let unusable: Is = |error| matches!(error, TokenEndpointError::Unusable(_));
    check(|| Answer::html(200), unusable, "not a JSON object").await;
    check(
        || Answer(200, String::new(), Vec::new()),
        unusable,
        "not a JSON object",
    )
    .await;
    check(
        || Answer::json(200, &json!("s3cret")),
        unusable,
        "not a JSON object",
    )
    .await;
    check(
        || Answer::json(200, &json!({"access_token": "a", "token_type": "DPoP"})),
        unusable,
        "type that was not asked for",
    )
    .await;
    check(
        || Answer::json(200, &json!({"token_type": "Bearer"})),
        unusable,
        "access token",
    )
    .await;
    check(
        || Answer(200, String::new(), vec![b' '; 2 << 20]),
        unusable,
        "more than",
    )
    .await;
    for status in [301, 302, 303, 307, 308] {
        let fake = Fake::start(move |_, _| Answer::redirect(status, "/elsewhere")).await;
        let error = refreshed(&fake, None).await.expect_err("no token");
        assert!(unusable(&error), "{error:?}");
        assert_eq!(fake.asked().len(), 1);
    }
    let fake = Fake::start(|_, _| token()).await;
    let http = fake.http().await;
    let (server, me) = (
        server(&fake.origin),
        super::tests::client(&fake.origin, AuthMethod::None),
    );
    let origin = fake.origin.clone();
    drop(fake);
    let token = secret("r");
    let error = refresh(&http, asking(&server, &me, &origin, &token)).await;
    assert!(transient(&error.expect_err("nobody is there")));
}

#[tokio::test]
async fn tokens_are_taken_whatever_the_media_type_and_the_success_is_called() {
    for (status, head) in [(201, ""), (200, "content-type: text/plain\r\n")] {
        let fake = Fake::start(move |_, _| {
            let Answer(_, _, body) = token();
            Answer(status, head.into(), body)
        })
        .await;
        refreshed(&fake, None).await.expect("a token");
    }
}

#[tokio::test]
async fn a_grant_goes_to_nobody_but_its_issuer() {
    let fake = Fake::start(|_, _| token()).await;
    let http = fake.http().await;
    let (server, mine) = (server(&fake.origin), client(&fake.origin, AuthMethod::None));
    let other = client("https://other", AuthMethod::None);
    let token = secret("s3cret-refresh");
    let unusable = |outcome: Result<TokenResponse, _>| {
        let error = outcome.expect_err("it must not be sent");
        assert!(
            matches!(error, TokenEndpointError::Unusable(_)),
            "{error:?}"
        );
    };
    unusable(refresh(&http, asking(&server, &mine, "https://other", &token)).await);
    unusable(refresh(&http, asking(&server, &other, &fake.origin, &token)).await);
    let code = Code(secret("c"));
    let begun = pending("https://other");
    unusable(exchange(&http, &server, &mine, &begun, &code).await);
    let revoked = revoke(&http, &server, &other, &token, TokenKind::Refresh).await;
    assert!(revoked.is_err() && fake.asked().is_empty());
}

#[tokio::test]
async fn tokens_are_revoked_where_that_is_offered() {
    let fake = Fake::start(|_, asked| match asked.field("client_id") {
        Some(_) => Answer(200, String::new(), Vec::new()),
        None if asked.head.contains("authorization: basic ") => {
            Answer(200, String::new(), Vec::new())
        }
        None => Answer::html(401),
    })
    .await;
    let http = fake.http().await;
    let mut server = server(&fake.origin);
    let token = secret("s3cret-refresh");
    for method in [AuthMethod::None, AuthMethod::Basic, AuthMethod::Post] {
        let me = client(&fake.origin, method);
        let revoked = revoke(&http, &server, &me, &token, TokenKind::Refresh).await;
        assert_eq!(revoked, Ok(true), "{method:?}");
    }
    for asked in fake.asked() {
        assert_eq!(asked.target, "/revoke");
        assert_eq!(asked.field("token").as_deref(), Some("s3cret-refresh"));
        assert_eq!(
            asked.field("token_type_hint").as_deref(),
            Some("refresh_token")
        );
    }
    server.revocation_endpoint = None;
    let me = client(&fake.origin, AuthMethod::None);
    let revoked = revoke(&http, &server, &me, &token, TokenKind::Access).await;
    assert_eq!((revoked, fake.asked().len()), (Ok(false), 3));
}

#[tokio::test]
async fn tokens_that_cannot_be_revoked_are_no_failure() {
    let fake = Fake::start(|_, asked| match asked.field("token").as_deref() {
        Some("a.jwt") => Answer::json(400, &json!({"error": "unsupported_token_type"})),
        _ => Answer::json(400, &json!({"error": "invalid_request"})),
    })
    .await;
    let (http, server) = (fake.http().await, server(&fake.origin));
    let me = client(&fake.origin, AuthMethod::None);
    let revoke = async |token| {
        let token = secret(token);
        revoke(&http, &server, &me, &token, TokenKind::Access).await
    };
    assert_eq!(revoke("a.jwt").await, Ok(false));
    assert!(revoke("other").await.is_err());
}

#[tokio::test]
async fn a_refresh_that_does_not_say_the_type_gives_what_there_was() {
    let fake = Fake::start(|_, _| Answer::json(200, &json!({"access_token": "a"}))).await;
    let refreshed = refreshed(&fake, None).await.expect("a bearer token");
    assert_eq!(refreshed.access_token.reveal(), "a");
    let error = exchanged(&fake, AuthMethod::None).await;
    let error = error.expect_err("it may be anything").to_string();
    assert!(error.contains("of which type"), "{error}");
}

#[tokio::test]
async fn a_refresh_token_in_an_answer_that_cannot_be_used_is_not_lost() {
    for document in [
        json!({"refresh_token": "new"}),
        json!({"refresh_token": "new", "access_token": "a b", "token_type": "Bearer"}),
        json!({"refresh_token": "new", "access_token": "a", "token_type": "DPoP"}),
    ] {
        let fake = Fake::start(move |_, _| Answer::json(200, &document)).await;
        match refreshed(&fake, None).await {
            Err(TokenEndpointError::Spoiled { why, refresh_token }) => {
                assert_eq!(refresh_token.reveal(), "new");
                assert!(!why.contains("new"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_says_when_to_come_back_is_believed() {
    let busy = |head: &str| {
        let head = head.to_owned();
        Fake::start(move |_, _| Answer(503, head.clone(), Vec::new()))
    };
    let later = refreshed(&busy("retry-after: 120\r\n").await, None).await;
    let expected = Duration::from_secs(120);
    assert!(
        matches!(later, Err(TokenEndpointError::Later(_, after)) if after == expected),
        "{later:?}"
    );
    let later = refreshed(&busy("retry-after: soon\r\n").await, None).await;
    assert!(
        matches!(later, Err(TokenEndpointError::Transient(_))),
        "{later:?}"
    );
}
