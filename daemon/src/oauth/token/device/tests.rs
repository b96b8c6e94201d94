use serde_json::json;

use super::*;
use crate::oauth::fake::{Answer, Fake};
use crate::oauth::registration::AuthMethod;
use crate::oauth::token::tests::{client, secret, server, token};

fn offering(origin: &str) -> AuthorizationServer {
    let endpoint = url::Url::parse(&format!("{origin}/device"));
    AuthorizationServer {
        device_authorization_endpoint: Some(endpoint.expect("valid")),
        ..server(origin)
    }
}

async fn begun(fake: &Fake, method: AuthMethod) -> Result<DeviceAuthorization, TokenEndpointError> {
    let (server, client) = (offering(&fake.origin), client(&fake.origin, method));
    let parameters = [("scope", "a b"), ("resource", "https://H/mcp")];
    begin(&fake.http().await, &server, &client, &parameters).await
}

async fn polled(fake: &Fake) -> Result<TokenResponse, PollError> {
    let (server, client) = (
        offering(&fake.origin),
        client(&fake.origin, AuthMethod::Post),
    );
    let code = secret("s3cret-device");
    let resource = Some("https://H/mcp");
    poll(
        &fake.http().await,
        &server,
        &client,
        &fake.origin,
        &code,
        resource,
        None,
    )
    .await
}

fn honest() -> Answer {
    let document = json!({
        "device_code": "s3cret-device", "user_code": "A-B", "expires_in": 60,
        "verification_uri": "https://as.example/device",
    });
    Answer::json(200, &document)
}

#[tokio::test]
async fn a_code_is_asked_for_as_the_client_that_it_is_for() {
    for method in [AuthMethod::None, AuthMethod::Post, AuthMethod::Basic] {
        let fake = Fake::start(|_, _| honest()).await;
        let begun = begun(&fake, method).await.expect("begun");
        assert_eq!(begun.user_code, "A-B");
        let asked = &fake.asked()[0];
        assert_eq!(
            (asked.method.as_str(), asked.target.as_str()),
            ("POST", "/device")
        );
        assert_eq!(asked.field("scope").as_deref(), Some("a b"));
        assert_eq!(asked.field("resource").as_deref(), Some("https://H/mcp"));
        let basic = asked.head.contains("authorization: basic ");
        assert_eq!(basic, method == AuthMethod::Basic);
        let id = asked.field("client_id");
        assert_eq!(id.as_deref(), (!basic).then_some("id 1"));
        let secret = asked.field("client_secret");
        let expected = (method == AuthMethod::Post).then_some("s3cret&x");
        assert_eq!(secret.as_deref(), expected);
    }
}

#[tokio::test]
async fn an_answer_without_a_code_says_why() {
    let check = async |answer: fn() -> Answer, expected: &str| {
        let fake = Fake::start(move |_, _| answer()).await;
        let error = begun(&fake, AuthMethod::Post).await.expect_err(expected);
        let sentence = error.to_string();
        assert!(sentence.contains(expected), "{sentence}");
        assert!(!sentence.contains("s3cret"), "{sentence}");
        error
    };
    let refused = || {
        let said = json!({ "error": "invalid_client", "error_description": "s3cret&x is wrong" });
        Answer::json(401, &said)
    };
    let error = check(refused, "[redacted] is wrong").await;
    assert!(matches!(error, TokenEndpointError::InvalidClient(_)));
    let error = check(|| Answer::html(503), "try again later").await;
    assert!(matches!(error, TokenEndpointError::Transient(_)));
    check(|| Answer::html(200), "not a JSON object").await;
    check(
        || Answer::redirect(307, "https://evil.example/"),
        "is not followed",
    )
    .await;
    let elsewhere = || {
        let document = json!({
            "device_code": "s3cret", "user_code": "A-B",
            "verification_uri": "https://169.254.169.254/device",
        });
        Answer::json(200, &document)
    };
    check(elsewhere, "may not lead to").await;
}

#[tokio::test]
async fn tokens_are_asked_for_with_all_that_belongs_to_the_code() {
    let fake = Fake::start(|_, _| token()).await;
    let tokens = polled(&fake).await.expect("tokens");
    assert_eq!(tokens.access_token.reveal(), "at");
    let asked = &fake.asked()[0];
    for (name, value) in [
        ("grant_type", GRANT_TYPE),
        ("device_code", "s3cret-device"),
        ("client_id", "id 1"),
        ("client_secret", "s3cret&x"),
        ("resource", "https://H/mcp"),
    ] {
        assert_eq!(asked.field(name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test]
async fn each_answer_is_told_from_the_others_whatever_its_status() {
    let check = async |status: u16, error: &'static str, expected: PollError| {
        let answer = move || Answer::json(status, &json!({ "error": error }));
        let fake = Fake::start(move |_, _| answer()).await;
        assert_eq!(polled(&fake).await, Err(expected), "{status} {error}");
    };
    for status in [200, 400, 428, 429, 503] {
        check(status, "authorization_pending", PollError::Pending).await;
        check(status, "slow_down", PollError::SlowDown).await;
        check(status, "expired_token", PollError::Expired).await;
    }
    check(400, "access_denied", PollError::Denied(String::new())).await;
    let gone = TokenEndpointError::InvalidGrant(String::new());
    check(400, "invalid_grant", PollError::Ended(gone)).await;
    let unknown = TokenEndpointError::InvalidClient(String::new());
    check(401, "invalid_client", PollError::Ended(unknown)).await;
}

#[tokio::test]
async fn what_cannot_be_used_ends_it_and_what_may_pass_does_not() {
    let check = async |answer: fn() -> Answer| {
        let fake = Fake::start(move |_, _| answer()).await;
        let error = polled(&fake).await.expect_err("no tokens");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        error
    };
    assert!(matches!(
        check(|| Answer::html(502)).await,
        PollError::Unanswered(_, None)
    ));
    let busy = || Answer(429, "retry-after: 7\r\n".into(), Vec::new());
    let seven = Some(Duration::from_secs(7));
    assert!(matches!(check(busy).await, PollError::Unanswered(_, after) if after == seven));
    for answer in [
        || Answer::html(200),
        || Answer::json(200, &json!({ "access_token": "s3cret" })),
        || {
            Answer::json(
                200,
                &json!({ "access_token": "a b", "token_type": "Bearer" }),
            )
        },
        || {
            Answer::json(
                200,
                &json!({ "access_token": "s3cret", "token_type": "DPoP" }),
            )
        },
        || Answer::json(400, &json!({ "error": "s3cret-device" })),
        || Answer::redirect(302, "https://evil.example/"),
    ] {
        let error = check(answer).await;
        assert!(matches!(error, PollError::Ended(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_code_goes_only_to_the_issuer_that_gave_it() {
    let fake = Fake::start(|_, _| token()).await;
    let (server, client) = (
        offering(&fake.origin),
        client(&fake.origin, AuthMethod::None),
    );
    let code = secret("s3cret");
    let http = fake.http().await;
    let polled = poll(&http, &server, &client, "https://other", &code, None, None).await;
    assert!(matches!(polled, Err(PollError::Ended(_))), "{polled:?}");
    assert!(fake.asked().is_empty());
}
