//! Who is asked while tokens are there, and while metadata cannot be had.

use super::*;
use crate::oauth::identity::ClientChoice;

fn asked(issuer: &str, resource: &str) -> Known {
    Known {
        asked: Some(Asked {
            issuer: issuer.to_owned(),
            resource: Some(resource.to_owned()),
        }),
        ..Known::default()
    }
}

#[tokio::test]
async fn who_gave_tokens_is_asked_as_long_as_nobody_says_that_it_is_another() {
    let issuer = Fake::with_documents(&[(SERVER, METADATA)]).await;
    for status in [408, 429, 500, 502, 503, 521, 530] {
        let fake = Fake::start(move |origin, asked| {
            if asked.target != SERVER {
                return Answer::html(status);
            }
            let text = METADATA.replace("{origin}", origin);
            Answer::json(200, &serde_json::from_str(&text).expect("JSON"))
        })
        .await;
        let discovered = found(&fake, &asked(&issuer.origin, "https://r")).await;
        let discovered = discovered.unwrap_or_else(|error| panic!("{status} {error}"));
        assert_eq!(discovered.server.issuer, issuer.origin, "{status}");
        assert_eq!(discovered.resource.as_deref(), Some("https://r"));
        // Nobody who has no tokens is sent elsewhere.
        let hint = Known {
            resource_metadata: Url::parse(&format!("{}/hint", fake.origin)).ok(),
            ..Known::default()
        };
        let error = found(&fake, &hint).await.expect_err("trouble");
        assert!(matches!(error, DiscoveryError::Unanswered(_)), "{error:?}");
        let outcome = found(&fake, &Known::default()).await;
        // Some servers fail so where nothing is.
        assert_eq!(outcome.is_ok(), status == 500, "{status} {outcome:?}");
    }
    // It is another.
    let fake = Fake::with_documents(&[
        (
            RESOURCE,
            r#"{"resource": "{origin}", "authorization_servers": ["{origin}"]}"#,
        ),
        (SERVER, METADATA),
    ])
    .await;
    let discovered = found(&fake, &asked(&issuer.origin, "https://r")).await;
    assert_eq!(discovered.expect("named").server.issuer, fake.origin);
}

#[tokio::test]
async fn tokens_of_a_server_without_metadata_outlive_its_troubles() {
    let fake = Fake::start(|_, asked| match asked.target.as_str() {
        SERVER | OPENID => Answer::html(404),
        _ => Answer::html(503),
    })
    .await;
    let mut known = asked(&fake.origin, "");
    known.asked.as_mut().expect("it is").resource = None;
    let server = found(&fake, &known).await.expect("as before").server;
    assert!(server.is_assumed && server.token_endpoint.path() == "/token");
}

#[tokio::test]
async fn an_authorization_server_in_trouble_is_not_one_without_metadata() {
    for status in [408, 429, 500, 503, 522] {
        let fake = Fake::start(move |origin, asked| match asked.target.as_str() {
            RESOURCE => Answer::json(
                200,
                &json!({"resource": origin, "authorization_servers": [origin]}),
            ),
            SERVER | OPENID => Answer::html(status),
            _ => Answer::html(404),
        })
        .await;
        let error = found(&fake, &Known::default()).await.expect_err("trouble");
        assert!(matches!(error, DiscoveryError::Unanswered(_)), "{error:?}");
    }
}

#[tokio::test]
async fn of_several_authorization_servers_the_one_that_gave_tokens_stays() {
    let fake = Fake::with_documents(&[
        (
            RESOURCE,
            r#"{"resource": "{origin}", "authorization_servers": ["{origin}/t1", "{origin}"]}"#,
        ),
        (SERVER, METADATA),
        (
            "/.well-known/oauth-authorization-server/t1",
            r#"{"issuer": "{origin}/t1", "authorization_endpoint": "{origin}/a",
                "token_endpoint": "{origin}/t", "code_challenge_methods_supported": ["S256"]}"#,
        ),
    ])
    .await;
    let first = format!("{}/t1", fake.origin);
    for (known, expected) in [
        (Known::default(), &first),
        (asked(&fake.origin, ""), &fake.origin),
        (asked(&format!("{}/", fake.origin), ""), &fake.origin),
        (asked("https://other", ""), &first),
    ] {
        let server = found(&fake, &known).await.expect("usable").server;
        assert_eq!(&server.issuer, expected);
    }
}

#[tokio::test]
async fn of_several_the_one_is_asked_that_knows_the_users_client() {
    let (one, other) = (
        Fake::with_documents(&[(SERVER, METADATA)]).await,
        Fake::with_documents(&[(SERVER, METADATA)]).await,
    );
    let servers = [one.origin.clone(), other.origin.clone()];
    let fake = Fake::start(move |origin, asked| match asked.target.as_str() {
        RESOURCE => Answer::json(
            200,
            &json!({"resource": origin, "authorization_servers": servers}),
        ),
        _ => Answer::html(404),
    })
    .await;
    for (named, expected) in [
        (None, &one.origin),
        (Some(&other.origin), &other.origin),
        // It will be refused that client.
        (Some(&fake.origin), &one.origin),
    ] {
        let mut identity = fake.identity("/mcp");
        identity.client = ClientChoice::PreRegistered {
            client_id: "c".into(),
            client_secret: None,
            auth_method: None,
            redirect_uris: Vec::new(),
            issuer: named.cloned(),
        };
        let http = fake.http().await;
        let discovered = discover(&http, &identity, &Known::default()).await;
        assert_eq!(&discovered.expect("named").server.issuer, expected);
    }
}
