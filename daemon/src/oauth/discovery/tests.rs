mod asked;

use super::*;
use crate::oauth::fake::{Answer, Fake, authorization_server, http_of, identity};
use crate::oauth::identity::ResourceChoice;
use serde_json::json;

const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const SERVER: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

/// Metadata of an authorization server, all that is needed.
const METADATA: &str = r#"{"issuer": "{origin}", "authorization_endpoint": "{origin}/a",
    "token_endpoint": "{origin}/t", "registration_endpoint": "{origin}/r",
    "code_challenge_methods_supported": ["S256"]}"#;

async fn found(fake: &Fake, known: &Known) -> Result<Discovered, DiscoveryError> {
    discover(&fake.http().await, &fake.identity("/mcp"), known).await
}

fn refusal(outcome: Result<Discovered, DiscoveryError>) -> String {
    match outcome.expect_err("it must not be used") {
        error @ (DiscoveryError::Refused(_) | DiscoveryError::NoPkce(_)) => error.to_string(),
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn the_newest_way_is_taken_with_few_questions() {
    let fake = Fake::with_documents(&[
        (
            "/.well-known/oauth-protected-resource/mcp",
            r#"{"resource": "{origin}/mcp/", "authorization_servers": ["{origin}/t1", "https://x"],
                "scopes_supported": ["a", "b"]}"#,
        ),
        (
            "/.well-known/oauth-authorization-server/t1",
            r#"{"issuer": "{origin}/t1", "authorization_endpoint": "{origin}/a",
                "token_endpoint": "{origin}/t", "code_challenge_methods_supported": ["plain", "S256"],
                "authorization_response_iss_parameter_supported": true,
                "client_id_metadata_document_supported": true,
                "scopes_supported": ["a", "offline_access"], "grant_types_supported": ["x"],
                "token_endpoint_auth_methods_supported": ["none"],
                "revocation_endpoint": "file:///x", "unknown": {}}"#,
        ),
    ])
    .await;
    let discovered = found(&fake, &Known::default()).await.expect("usable");
    let origin = &fake.origin;
    // Byte for byte, the slash at its end included.
    assert_eq!(discovered.resource, Some(format!("{origin}/mcp/")));
    assert_eq!(discovered.scopes_supported, Scope::parse("a b"));
    let server = discovered.server;
    assert_eq!(server.issuer, format!("{origin}/t1"));
    assert_eq!(server.token_endpoint.as_str(), format!("{origin}/t"));
    assert!(server.iss_parameter_supported && server.client_id_metadata_document_supported);
    assert_eq!(server.registration_endpoint, None);
    assert_eq!(server.revocation_endpoint, None);
    assert_eq!(fake.targets()[0], format!("{RESOURCE}/mcp"));
    assert!(!fake.targets().contains(&RESOURCE.to_owned()));
    assert!(fake.asked()[0].head.contains("mcp-protocol-version: "));
}

#[tokio::test]
async fn the_hint_of_the_challenge_comes_first() {
    let fake = Fake::with_documents(&[
        (
            "/hint",
            r#"{"resource": "{origin}/", "authorization_servers": ["{origin}"]}"#,
        ),
        (SERVER, METADATA),
    ])
    .await;
    let hint = |path: &str| Known {
        resource_metadata: Url::parse(&format!("{}{path}", fake.origin)).ok(),
        ..Known::default()
    };
    let discovered = found(&fake, &hint("/hint")).await.expect("usable");
    assert_eq!(discovered.resource, Some(format!("{}/", fake.origin)));
    assert_eq!(fake.targets()[0], "/hint");
    // A hint that leads nowhere is no reason to give up.
    let discovered = found(&fake, &hint("/gone")).await.expect("usable");
    assert_eq!(discovered.resource, None);
    let targets = fake.targets();
    let from = targets
        .iter()
        .position(|path| path == "/gone")
        .expect("asked");
    assert_eq!(
        targets[from + 1..from + 3],
        [format!("{RESOURCE}/mcp"), RESOURCE.into()]
    );
}

#[tokio::test]
async fn a_hostile_hint_ends_the_sign_in() {
    let http = http_of("https://1.1.1.1/mcp").await;
    for hint in [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "http://127.0.0.1/x",
        "https://169.254.169.254/latest",
        "https://[::ffff:7f00:1]/",
        "http://example.com/x",
    ] {
        let known = Known {
            resource_metadata: Url::parse(hint).ok(),
            ..Known::default()
        };
        refusal(discover(&http, &identity("https://1.1.1.1/mcp"), &known).await);
    }
}

#[tokio::test]
async fn metadata_of_another_resource_are_not_used() {
    let fake = Fake::with_documents(&[
        (
            RESOURCE,
            r#"{"resource": "{origin}/other", "authorization_servers": ["{origin}"]}"#,
        ),
        (SERVER, METADATA),
    ])
    .await;
    let said = refusal(found(&fake, &Known::default()).await);
    assert!(said.contains("/other, not of"), "{said}");
    // The user may say that it is the one.
    let mut identity = fake.identity("/mcp");
    identity.resource = ResourceChoice::Given(format!("{}/other", fake.origin));
    let discovered = discover(&fake.http().await, &identity, &Known::default()).await;
    let resource = discovered.expect("the user's word").resource;
    assert_eq!(resource, Some(format!("{}/other", fake.origin)));
    identity = fake.identity("/other");
    identity.resource = ResourceChoice::Disabled;
    let discovered = discover(&fake.http().await, &identity, &Known::default()).await;
    assert_eq!(discovered.expect("its own").resource, None);
}

#[tokio::test]
async fn metadata_of_another_issuer_are_not_used() {
    let fake = Fake::with_documents(&[
        (RESOURCE, r#"{"resource": "{origin}", "authorization_servers": ["{origin}/t"]}"#),
        (
            "/.well-known/openid-configuration/t",
            r#"{"issuer": "https://good.example", "authorization_endpoint": "https://good.example/a",
                "token_endpoint": "{origin}/steal", "code_challenge_methods_supported": ["S256"]}"#,
        ),
    ])
    .await;
    let said = refusal(found(&fake, &Known::default()).await);
    assert!(said.contains("another one, https://good.example"), "{said}");
    assert!(!said.contains('\n'));
}

#[tokio::test]
async fn the_first_form_in_order_wins_though_it_is_slower() {
    let fake = Fake::with_documents(&[
        (
            RESOURCE,
            r#"{"resource": "{origin}", "authorization_servers": ["{origin}/t"]}"#,
        ),
        (
            "/.well-known/oauth-authorization-server/t",
            r#"{"error": "none here"}"#,
        ),
        (
            "/.well-known/openid-configuration/t",
            r#"{"issuer": "{origin}/t", "authorization_endpoint": "{origin}/second",
                "token_endpoint": "{origin}/t", "code_challenge_methods_supported": ["S256"]}"#,
        ),
        (
            "/t/.well-known/openid-configuration",
            r#"{"issuer": "{origin}/t", "authorization_endpoint": "{origin}/third",
                "token_endpoint": "{origin}/t", "code_challenge_methods_supported": ["S256"]}"#,
        ),
        (SERVER, METADATA),
    ])
    .await;
    let server = found(&fake, &Known::default())
        .await
        .expect("usable")
        .server;
    let page = server.authorization_endpoint.expect("there is a page");
    assert_eq!(page.path(), "/second");
    // An issuer with a path is not looked for at the root.
    assert!(
        !fake
            .targets()
            .iter()
            .any(|path| path == SERVER || path == OPENID)
    );
}

#[tokio::test]
async fn pkce_has_to_be_announced_or_allowed_to_be_missing() {
    let check = async |methods: &'static str, allowed: bool, passes: bool| {
        let fake = Fake::start(move |origin, asked| {
            if asked.target != SERVER {
                return Answer::html(404);
            }
            let mut metadata = json!({"issuer": origin, "authorization_endpoint": format!("{origin}/a"),
                "token_endpoint": format!("{origin}/t")});
            if !methods.is_empty() {
                let methods = serde_json::from_str(methods).expect("JSON");
                metadata["code_challenge_methods_supported"] = methods;
            }
            Answer::json(200, &metadata)
        })
        .await;
        let mut identity = fake.identity("/mcp");
        identity.allow_missing_pkce = allowed;
        let found = discover(&fake.http().await, &identity, &Known::default()).await;
        // Only the page needs it.
        let page = found.expect("usable").server.authorization_endpoint;
        assert_eq!(page.is_ok(), passes, "{methods} {page:?}");
        if let Err(why) = page {
            assert!(why.to_string().contains("--allow-missing-pkce"), "{why}");
        }
    };
    check("", false, false).await;
    check("", true, true).await;
    check("null", true, true).await;
    check("[]", false, false).await;
    check("[\"plain\"]", true, false).await;
    check("[\"S256\"]", false, true).await;
    check("\"S256\"", false, false).await;
}

#[tokio::test]
async fn hostile_endpoints_are_refused() {
    let long = format!("https://h/{}", "a".repeat(2_000));
    let hostile = [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "a:$(touch PWN)?response_type=code",
        "http://127.0.0.1:1$(touch PWN)/a",
        "-h",
        "--version",
        "http://user:pa$(id)ss@127.0.0.1/a",
        "calculator:/x",
        "\\\\host\\share\\x",
        "https://169.254.169.254/",
        "https://10.0.0.1/",
        "http://as.example/",
        "https://as.example/#fragment",
        "",
        &long.repeat(5),
    ];
    for name in [
        "authorization_endpoint",
        "token_endpoint",
        "registration_endpoint",
    ] {
        for value in hostile {
            let value = value.to_owned();
            let fake = Fake::start(move |origin, asked| {
                if asked.target != SERVER {
                    return Answer::html(404);
                }
                let text = METADATA.replace("{origin}", origin);
                let mut metadata: Value = serde_json::from_str(&text).expect("JSON");
                metadata[name] = value.clone().into();
                Answer::json(200, &metadata)
            })
            .await;
            let found = found(&fake, &Known::default()).await;
            let said = refusal(found.and_then(|found| {
                found.server.authorization_endpoint.clone()?;
                Ok(found)
            }));
            assert!(said.contains(name) && said.len() < 1000, "{said}");
            assert!(!said.contains("pa$(id)ss"), "{said}");
        }
    }
}

#[tokio::test]
async fn hostile_issuers_are_refused() {
    for issuer in [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "--version",
        "https://10.0.0.1",
        "http://as.example",
        "https://as.example?x=1",
        "http://127.0.0.1:1/#x",
    ] {
        let fake = Fake::start(move |origin, asked| match asked.target.as_str() {
            RESOURCE => Answer::json(
                200,
                &json!({"resource": origin, "authorization_servers": [issuer]}),
            ),
            _ => Answer::html(404),
        })
        .await;
        refusal(found(&fake, &Known::default()).await);
    }
}

#[tokio::test]
async fn the_oldest_way_comes_behind_all_others() {
    let fake = Fake::with_documents(&[(OPENID, METADATA)]).await;
    let discovered = found(&fake, &Known::default()).await.expect("usable");
    assert_eq!(
        (discovered.resource, discovered.scopes_supported),
        (None, None)
    );
    assert_eq!(
        discovered
            .server
            .registration_endpoint
            .expect("it has one")
            .path(),
        "/r"
    );
    let targets = fake.targets();
    assert_eq!(
        targets[..2],
        [format!("{RESOURCE}/mcp"), RESOURCE.to_owned()]
    );

    let fake = Fake::with_documents(&[]).await;
    let server = found(&fake, &Known::default())
        .await
        .expect("defaults")
        .server;
    let origin = &fake.origin;
    assert_eq!(&server.issuer, origin);
    assert_eq!(
        server
            .authorization_endpoint
            .expect("by the revision")
            .as_str(),
        format!("{origin}/authorize")
    );
    assert_eq!(server.token_endpoint.as_str(), format!("{origin}/token"));
    assert_eq!(
        server
            .registration_endpoint
            .expect("by the revision")
            .as_str(),
        format!("{origin}/register")
    );
}

#[tokio::test]
async fn an_origin_that_names_another_issuer_is_believed_only_if_that_one_says_the_same() {
    let issuer = Fake::with_documents(&[(SERVER, METADATA)]).await;
    let named = issuer.origin.clone();
    let origin_of = |issuer: String| {
        Fake::start(move |origin, asked| match asked.target.as_str() {
            SERVER => Answer::json(
                200,
                &json!({"issuer": issuer, "authorization_endpoint": format!("{issuer}/a"),
                    "token_endpoint": format!("{origin}/steal"),
                    "code_challenge_methods_supported": ["S256"]}),
            ),
            _ => Answer::html(404),
        })
    };
    let fake = origin_of(named.clone()).await;
    let server = found(&fake, &Known::default())
        .await
        .expect("confirmed")
        .server;
    assert_eq!(server.issuer, named);
    assert_eq!(server.token_endpoint.as_str(), format!("{named}/t"));
    let silent = Fake::with_documents(&[]).await;
    let fake = origin_of(silent.origin.clone()).await;
    refusal(found(&fake, &Known::default()).await);
}

#[tokio::test]
async fn a_server_in_trouble_is_not_taken_for_one_without_metadata() {
    let fake = Fake::start(|_, asked| match asked.target.as_str() {
        SERVER | OPENID => Answer::html(404),
        _ => Answer::html(503),
    })
    .await;
    let error = found(&fake, &Known::default()).await.expect_err("trouble");
    assert!(matches!(error, DiscoveryError::Unanswered(_)), "{error:?}");
    // A web site that answers everything, or leads everywhere to its start page.
    for answer in [
        || Answer::html(200),
        || Answer::redirect(302, "https://login.example/"),
    ] {
        let fake = Fake::start(move |_, _| answer()).await;
        let server = found(&fake, &Known::default())
            .await
            .expect("defaults")
            .server;
        assert_eq!(server.token_endpoint.path(), "/token");
    }
}

#[test]
fn scopes_follow_the_selection_rule() {
    let scope = |text: &str| Scope::parse(text);
    let check = |challenged, listed, offline: &str, already, pinned, expected: &str| {
        let challenge = Challenge {
            scope: scope(challenged),
            ..Challenge::default()
        };
        let mut identity = identity("https://h/mcp");
        identity.scope = scope(pinned);
        let discovered = Discovered {
            resource: None,
            scopes_supported: scope(listed),
            bound_tokens: crate::oauth::dpop::Wanted::Unsaid,
            server: AuthorizationServer {
                scopes_supported: scope(offline),
                ..authorization_server("https://as")
            },
        };
        let already = scope(already);
        let asked = scopes_to_ask(&identity, &challenge, &discovered, already.as_ref());
        assert_eq!(asked, scope(expected), "{challenged} {listed} {already:?}");
    };
    check("a", "b c", "", "", "", "a");
    check("", "b c", "", "", "", "b c");
    check("", "", "x openid", "", "", "");
    check("", "", "x offline_access", "", "", "");
    check("a", "b", "x offline_access", "", "", "a offline_access");
    check(
        "",
        "b offline_access",
        "offline_access",
        "",
        "",
        "b offline_access",
    );
    check("w", "b", "", "r", "", "r w");
    // What was asked for before is not lost, and not all there is.
    check("", "b", "", "r", "", "r b");
    check("", "", "", "r", "", "r");
    check("", "b", "b r", "r w", "", "r b");
    check("w", "b", "b w", "r", "", "r w");
    check("w", "b", "offline_access", "r", "pinned", "pinned");
}
