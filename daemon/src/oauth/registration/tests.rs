use super::*;
use crate::oauth::fake::{Answer, Asked, Fake, authorization_server, endpoint, identity};
use crate::oauth::identity::ClientChoice;
use url::Url;

const REDIRECT: &str = "http://localhost:5598/oauth/callback";
const OTHER: &str = "http://127.0.0.1:5598/oauth/callback";

fn discovered(origin: &str) -> Discovered {
    Discovered {
        resource: None,
        scopes_supported: None,
        bound_tokens: crate::oauth::dpop::Wanted::Unsaid,
        server: AuthorizationServer {
            registration_endpoint: Some(endpoint(origin, "/register")),
            ..authorization_server(origin)
        },
    }
}

fn pre_registered_as(secret: Option<&str>, method: Option<&str>) -> Identity {
    Identity {
        client: ClientChoice::PreRegistered {
            client_id: "mine".into(),
            client_secret: secret.map(|secret| Secret::new(secret.to_owned())),
            auth_method: method.map(str::to_owned),
            redirect_uris: vec![OTHER.into()],
            issuer: None,
        },
        ..identity("https://h/mcp")
    }
}

async fn ask(
    fake: &Fake,
    identity: &Identity,
    discovered: &Discovered,
) -> Result<Client, RegistrationError> {
    let uris = [REDIRECT.to_owned(), OTHER.to_owned()];
    let scope = Scope::parse("a b");
    register(
        &fake.http().await,
        identity,
        discovered,
        &uris,
        scope.as_ref(),
    )
    .await
}

fn wished(asked: &Asked) -> Map<String, Value> {
    serde_json::from_str(&asked.body).expect("JSON")
}

#[tokio::test]
async fn a_client_registers_as_what_it_is() {
    let fake = Fake::start(|_, asked| {
        let mut document = wished(asked);
        document.insert("client_id".into(), "c1".into());
        document.insert("client_id_issued_at".into(), 1.into());
        Answer::json(201, &document.into())
    })
    .await;
    let mut identity = fake.identity("/mcp");
    let pinned =
        json!({"client_name": "Mine", "redirect_uris": ["https://evil/"], "contacts": ["x"]});
    identity.client_metadata = pinned.as_object().expect("an object").clone();
    let client = ask(&fake, &identity, &discovered(&fake.origin)).await;
    let client = client.expect("registered");
    assert_eq!(
        (client.client_id.as_str(), client.auth_method),
        ("c1", AuthMethod::None)
    );
    assert_eq!(client.issuer, fake.origin);
    assert_eq!(client.redirect_uris, [REDIRECT, OTHER]);
    assert_eq!(client.document["client_id_issued_at"], 1);
    assert_eq!(fake.targets(), ["/register"]);
    let wish = wished(&fake.asked()[0]);
    assert_eq!(wish["application_type"], "native");
    assert_eq!(
        wish["grant_types"],
        json!(["authorization_code", "refresh_token"])
    );
    assert_eq!(wish["token_endpoint_auth_method"], "none");
    assert_eq!(wish["redirect_uris"], json!([REDIRECT, OTHER]));
    assert_eq!(wish["scope"], "a b");
    assert_eq!(wish["client_name"], "Mine");
    assert_eq!(wish["contacts"], json!(["x"]));
}

#[tokio::test]
async fn what_the_server_offers_decides_how_a_client_says_who_it_is() {
    let check = async |methods: &[&str], grants: &[&str], wanted: &str, refresh: bool| {
        let fake = Fake::start(|_, _| {
            let mut document = json!({"client_id": "c", "client_secret": "s3cret"});
            document["client_secret_expires_at"] = 0.into();
            Answer::json(200, &document)
        })
        .await;
        let mut discovered = discovered(&fake.origin);
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        discovered.server.token_endpoint_auth_methods = owned(methods);
        discovered.server.grant_types = owned(grants);
        let client = ask(&fake, &fake.identity("/mcp"), &discovered).await;
        let client = client.expect("registered");
        let wish = wished(&fake.asked()[0]);
        assert_eq!(wish["token_endpoint_auth_method"], wanted, "{methods:?}");
        let grants = wish["grant_types"].as_array().expect("a list");
        assert_eq!(grants.len() == 2, refresh, "{grants:?}");
        // A secret that comes without a method is shown in the usual way.
        assert_eq!(client.auth_method, AuthMethod::Basic);
        assert_eq!(client.secret_expires_at, None);
        assert!(!format!("{client:?}").contains("s3cret"));
    };
    check(&[], &[], "none", true).await;
    check(
        &["client_secret_basic", "none"],
        &["refresh_token"],
        "none",
        true,
    )
    .await;
    check(
        &["client_secret_basic", "client_secret_post"],
        &["authorization_code"],
        "client_secret_post",
        false,
    )
    .await;
    check(&["private_key_jwt"], &[], "none", true).await;
}

#[tokio::test]
async fn a_client_that_is_known_is_not_registered() {
    let fake = Fake::with_documents(&[]).await;
    let mut discovered = discovered(&fake.origin);
    let mut check = async |identity: &Identity, methods: &[&str], expected: AuthMethod| {
        let methods = methods.iter().map(|method| (*method).to_owned());
        discovered.server.token_endpoint_auth_methods = methods.collect();
        let client = ask(&fake, identity, &discovered).await.expect("known");
        assert_eq!(
            client.auth_method,
            expected,
            "{methods:?}",
            methods = identity.client
        );
        assert_eq!(client.client_secret.is_some(), expected != AuthMethod::None);
        assert_eq!(
            (client.client_id.as_str(), &client.issuer),
            ("mine", &fake.origin)
        );
        assert_eq!(client.redirect_uris, [OTHER]);
    };
    check(&pre_registered_as(None, None), &[], AuthMethod::None).await;
    check(&pre_registered_as(Some("s"), None), &[], AuthMethod::Basic).await;
    let post = ["none", "client_secret_post"];
    check(&pre_registered_as(Some("s"), None), &post, AuthMethod::Post).await;
    let given = pre_registered_as(Some("s"), Some("client_secret_post"));
    check(&given, &[], AuthMethod::Post).await;
    check(
        &pre_registered_as(Some("s"), Some("none")),
        &[],
        AuthMethod::None,
    )
    .await;
    let odd = pre_registered_as(Some("s"), Some("private_key_jwt"));
    let error = ask(&fake, &odd, &discovered).await.expect_err("not ours");
    assert!(error.to_string().contains("private_key_jwt"), "{error}");
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_client_with_a_document_is_used_where_documents_are_read() {
    let fake = Fake::start(|_, _| Answer::json(201, &json!({"client_id": "c"}))).await;
    let identity = Identity {
        client: ClientChoice::MetadataUrl(Url::parse("https://me/client.json").expect("valid")),
        ..fake.identity("/mcp")
    };
    let mut discovered = discovered(&fake.origin);
    let client = ask(&fake, &identity, &discovered)
        .await
        .expect("registered");
    assert_eq!((client.client_id.as_str(), fake.asked().len()), ("c", 1));
    discovered.server.client_id_metadata_document_supported = true;
    let client = ask(&fake, &identity, &discovered).await.expect("known");
    assert_eq!(client.client_id, "https://me/client.json");
    assert_eq!(
        (client.auth_method, fake.asked().len()),
        (AuthMethod::None, 1)
    );
}

#[tokio::test]
async fn a_server_that_is_particular_is_asked_for_less() {
    let fake = Fake::start(|_, asked| {
        let wish = wished(asked);
        if wish["redirect_uris"].as_array().expect("a list").len() > 1 || wish.contains_key("scope")
        {
            return Answer::json(400, &json!({"error": "invalid_redirect_uri"}));
        }
        Answer::json(
            201,
            &json!({"client_id": "c", "redirect_uris": wish["redirect_uris"]}),
        )
    })
    .await;
    let client = ask(&fake, &fake.identity("/mcp"), &discovered(&fake.origin)).await;
    assert_eq!(client.expect("at second go").redirect_uris, [REDIRECT]);
    assert_eq!(fake.asked().len(), 2);
    assert_eq!(wished(&fake.asked()[1])["application_type"], "native");
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    type Is = fn(&RegistrationError) -> bool;
    let check = async |answer: fn() -> Answer, is: Is, said: &str| {
        let fake = Fake::start(move |_, _| answer()).await;
        let outcome = ask(&fake, &fake.identity("/mcp"), &discovered(&fake.origin)).await;
        let error = outcome.expect_err("refused");
        assert!(is(&error), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(said) && !text.contains("s3cret"), "{text}");
        assert!(
            text.len() < 500 && !text.contains(['\n', '\u{1b}']),
            "{text:?}"
        );
    };
    let closed: Is = |error| matches!(error, RegistrationError::Closed(_));
    check(|| Answer::html(404), closed, "--static-oauth-client-info").await;
    check(|| Answer::html(403), closed, "register a client there").await;
    let rejected: Is = |error| matches!(error, RegistrationError::Rejected { .. });
    let hostile = || {
        let long = format!("no\r\n\u{1b}[31m{}", "x".repeat(100_000));
        Answer::json(
            400,
            &json!({"error": "invalid_client_metadata", "error_description": long}),
        )
    };
    check(hostile, rejected, "(400): invalid_client_metadata, no").await;
    check(|| Answer::html(400), rejected, "(400)").await;
    let unanswered: Is = |error| matches!(error, RegistrationError::Unanswered(_));
    check(|| Answer::html(500), unanswered, "try again").await;
    check(|| Answer::html(429), unanswered, "try again").await;
    let unusable: Is = |error| matches!(error, RegistrationError::Unusable(_));
    check(|| Answer::html(200), unusable, "no usable client").await;
    check(
        || Answer::json(201, &json!({"client_id": ""})),
        unusable,
        "no usable client",
    )
    .await;
    check(
        || Answer::json(201, &json!({"client_id": 7})),
        unusable,
        "no usable client",
    )
    .await;
    let key = || {
        let method = "private_key_jwt";
        Answer::json(
            201,
            &json!({"client_id": "c", "token_endpoint_auth_method": method}),
        )
    };
    check(key, unusable, "no usable client").await;
    check(
        || Answer::redirect(307, "https://evil/"),
        unusable,
        "is not followed",
    )
    .await;
}

#[tokio::test]
async fn without_an_endpoint_the_user_has_to_register() {
    let fake = Fake::with_documents(&[]).await;
    let mut discovered = discovered(&fake.origin);
    discovered.server.registration_endpoint = None;
    let outcome = ask(&fake, &fake.identity("/mcp"), &discovered).await;
    assert_eq!(outcome, Err(RegistrationError::Closed(fake.origin.clone())));
    assert!(fake.asked().is_empty());
}

#[test]
fn a_kept_registration_reads_back() {
    let document = json!({"client_id": "c", "client_secret": "s", "redirect_uris": [REDIRECT, 1],
        "token_endpoint_auth_method": "client_secret_post", "client_secret_expires_at": 99});
    let document = document.as_object().expect("an object").clone();
    let client = Client::from_document("https://as", document).expect("usable");
    assert_eq!(client.auth_method, AuthMethod::Post);
    assert_eq!(client.secret_expires_at, Some(99));
    assert_eq!(client.redirect_uris, [REDIRECT]);
    let none = json!({"client_id": "c", "token_endpoint_auth_method": "client_secret_basic"});
    let none = none.as_object().expect("an object").clone();
    assert_eq!(Client::from_document("https://as", none), None);
}

#[tokio::test]
async fn a_registration_that_does_not_say_how_shows_its_secret_as_the_server_takes_it() {
    let secret = json!({"client_id": "c", "client_secret": "s"});
    for (methods, expected) in [
        (vec![], AuthMethod::Basic),
        (vec!["client_secret_post"], AuthMethod::Post),
        (
            vec!["client_secret_post", "client_secret_basic"],
            AuthMethod::Basic,
        ),
    ] {
        let document = secret.clone();
        let fake = Fake::start(move |_, _| Answer::json(201, &document)).await;
        let mut discovered = discovered(&fake.origin);
        let methods = methods.into_iter().map(str::to_owned).collect();
        discovered.server.token_endpoint_auth_methods = methods;
        let client = ask(&fake, &fake.identity("/mcp"), &discovered).await;
        let client = client.expect("registered");
        assert_eq!(client.auth_method, expected);
        // Also when it is read again.
        let kept = Client::of_kept(client.to_keep()).expect("usable");
        let kept = kept.known_to(&discovered.server);
        assert_eq!(kept.auth_method, expected);
    }
}
