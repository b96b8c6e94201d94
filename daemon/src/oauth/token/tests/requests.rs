//! Requests without a code and without a refresh token.

use super::*;

async fn requested(
    fake: &Fake,
    method: AuthMethod,
    assertion: Option<&Secret<String>>,
) -> Result<TokenResponse, TokenEndpointError> {
    let (server, client) = (server(&fake.origin), client(&fake.origin, method));
    let scope = Scope::parse("a b");
    let grant = secret("s3cret-grant");
    let asked = TokenRequest {
        server: &server,
        client: Some(&client),
        client_assertion: assertion,
        grant_type: "client_credentials",
        fields: &[("assertion", &grant)],
        resource: Some("https://H/mcp"),
        scope: scope.as_ref(),
        binding: None,
    };
    request(&fake.http().await, asked).await
}

#[tokio::test]
async fn a_client_shows_who_it_is_in_one_way_only() {
    let fake = Fake::start(|_, _| token()).await;
    let signed = secret("s3cret-jwt");
    for (method, assertion) in [
        (AuthMethod::Basic, None),
        (AuthMethod::Post, None),
        (AuthMethod::None, None),
        (AuthMethod::Basic, Some(&signed)),
    ] {
        let response = requested(&fake, method, assertion).await;
        assert_eq!(response.expect("a token").access_token.reveal(), "at");
        let asked = fake.asked().pop().expect("asked");
        let is_basic = method == AuthMethod::Basic && assertion.is_none();
        let basic = "authorization: basic awqrmtpzm2nyzxqlmjz4";
        assert_eq!(asked.head.contains(basic), is_basic, "{}", asked.head);
        let in_form = (!is_basic && assertion.is_none()).then_some("id 1");
        let posted = (method == AuthMethod::Post).then_some("s3cret&x");
        let jwt = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        check_fields(
            &asked,
            &[
                ("grant_type", Some("client_credentials")),
                ("assertion", Some("s3cret-grant")),
                ("scope", Some("a b")),
                ("resource", Some("https://H/mcp")),
                ("client_id", in_form),
                ("client_secret", posted),
                ("client_assertion", assertion.map(|_| "s3cret-jwt")),
                ("client_assertion_type", assertion.map(|_| jwt)),
            ],
        );
    }
}

#[tokio::test]
async fn refusals_repeat_no_secret_and_name_a_clock_that_is_wrong() {
    let fake = Fake::start(|_, _| {
        let said = "s3cret-jwt and s3cret-grant of s3cret&x are not it";
        let said = json!({"error": "invalid_client", "error_description": said});
        let Answer(status, head, body) = Answer::json(401, &said);
        let date = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        Answer(status, format!("{head}{date}"), body)
    })
    .await;
    let signed = secret("s3cret-jwt");
    let refused = requested(&fake, AuthMethod::Basic, Some(&signed)).await;
    let said = refused.expect_err("refused").to_string();
    assert!(said.contains("min ahead of its own"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    let refused = requested(&fake, AuthMethod::Basic, None).await;
    let said = refused.expect_err("refused").to_string();
    assert!(!said.contains("clock"), "a secret is as good at any time");
}

#[tokio::test]
async fn a_client_of_another_issuer_is_not_shown() {
    let fake = Fake::start(|_, _| token()).await;
    let (server, other) = (
        server(&fake.origin),
        client("https://other.example", AuthMethod::Basic),
    );
    let asked = TokenRequest {
        server: &server,
        client: Some(&other),
        client_assertion: None,
        grant_type: "client_credentials",
        fields: &[],
        resource: None,
        scope: None,
        binding: None,
    };
    let refused = request(&fake.http().await, asked).await;
    assert!(matches!(refused, Err(TokenEndpointError::Unusable(_))));
    assert!(fake.asked().is_empty());
}
