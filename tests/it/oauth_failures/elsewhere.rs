//! What is wrong elsewhere: authorization servers and identity providers that refuse,
//! are gone or are silent, and codes that nobody enters.

use mcp_remote_tests::authorization_server::Device;
use mcp_remote_tests::identity_provider::FakeIdentityProvider;

use super::*;

/// What begins as signed JWTs do.
const SIGNED: &str = "eyJ";

/// A service account with a key of its own.
fn with_key(scene: &Scene) -> Vec<String> {
    let (pem, public) = key();
    let path = scene.keep("key.pem", &pem);
    scene.server.service_key("ci-bot", "ES256", &public);
    service_account(scene, &path)
}

/// How an identity provider is told who the user is.
#[derive(Clone, Copy, PartialEq)]
enum By {
    File,
    Code,
}

/// A provider that vouches at the server, and the command line that says so.
fn with_provider(scene: &Scene, by: By) -> (FakeIdentityProvider, Vec<String>) {
    let provider = FakeIdentityProvider::offering(Some(Device::default()));
    provider.vouch_at(&scene.server);
    let secret = scene.server.register("service", "http://localhost:1/");
    let client = json!({ "client_id": "service", "client_secret": secret }).to_string();
    let subject = scene.keep("subject", &provider.id_token());
    let mut line = words(&[
        &scene.upstream.url(),
        "--static-oauth-client-info",
        &client,
        "--identity-provider",
        &provider.issuer(),
        "--identity-provider-client",
        &provider.client(),
    ]);
    line.extend(match by {
        By::File => words(&["--subject-token-file", subject.to_str().expect("UTF-8")]),
        By::Code => words(&["--device-code", "--auth-timeout", "60"]),
    });
    (provider, line)
}

fn named(provider: &FakeIdentityProvider) -> String {
    format!("the identity provider {}", provider.issuer())
}

#[test]
fn a_clock_that_differs_from_the_servers() {
    let mut scene = Scene::new();
    let line = with_key(&scene);
    scene.server.script(|label, _| {
        let date = std::time::SystemTime::now() - Duration::from_secs(754);
        let said = json!({ "error": "invalid_client" }).to_string();
        let date = httpdate::fmt_http_date(date);
        (label == "token client").then(|| Reply::json(401, said).with("Date", &date))
    });
    let failure = Failure {
        line,
        says: &[
            "the clock of this machine is 12 min ahead",
            "does not accept the client",
        ],
        secrets: words(&[SIGNED]),
        limit: SOON,
    };
    scene.fails(&failure, |_, _| ());
}

#[test]
fn a_service_accounts_assertion_that_is_refused() {
    let mut scene = Scene::new();
    let line = with_key(&scene);
    scene
        .server
        .script(refusing("token client", "invalid_client"));
    let failure = Failure {
        line,
        says: &["does not accept the client"],
        secrets: words(&[SIGNED]),
        limit: SOON,
    };
    scene.fails(&failure, |_, _| ());
    // Somebody has to do something about it.
    assert_eq!(scene.home.run(&["status"]).code, 11);
}

#[test]
fn a_platforms_token_that_is_refused() {
    fails_with_platform_token(99_999_999_999, "does not accept");
}

#[test]
fn a_provider_or_a_server_that_does_not_believe_it() {
    for (at_provider, said) in [
        (true, "does not accept the ID token of"),
        (false, "who runs it has to trust that provider"),
    ] {
        let mut scene = Scene::new();
        let (provider, line) = with_provider(&scene, By::File);
        match at_provider {
            true => provider
                .server
                .script(refusing("token exchange", "invalid_grant")),
            false => scene
                .server
                .script(refusing("token assertion", "invalid_grant")),
        }
        let failure = Failure {
            line,
            says: &[&named(&provider), said],
            secrets: Vec::new(),
            limit: SOON,
        };
        scene.fails(&failure, |_, _| ());
        assert_eq!(at_provider, scene.server.count("token assertion") == 0);
    }
}

#[test]
fn an_authorization_server_that_is_gone() {
    let mut scene = Scene::new();
    let line = with_key(&scene);
    scene.server.go_down();
    let failure = Failure {
        line,
        says: &["could not be reached"],
        secrets: words(&[SIGNED]),
        limit: SOON,
    };
    scene.fails(&failure, |_, _| ());
}

#[test]
fn an_identity_provider_that_is_gone() {
    for by in [By::File, By::Code] {
        let mut scene = Scene::new();
        let (provider, line) = with_provider(&scene, by);
        let named = named(&provider);
        drop(provider);
        let failure = Failure {
            line,
            says: &[&named, "could not be reached"],
            secrets: Vec::new(),
            limit: SOON,
        };
        scene.fails(&failure, |_, _| ());
    }
}

#[test]
fn an_authorization_server_that_is_silent() {
    let mut scene = Scene::new();
    let line = with_key(&scene);
    let hangs = |label: &str, _: &Request| (label == "token client").then_some(Reply::Hang);
    scene.server.script(hangs);
    let failure = Failure {
        line,
        says: &["did not answer within 20 s"],
        secrets: words(&[SIGNED]),
        limit: LATE,
    };
    scene.fails(&failure, |_, _| ());
}

#[test]
fn an_identity_provider_that_is_silent() {
    let mut scene = Scene::new();
    let (provider, line) = with_provider(&scene, By::File);
    let hangs = |label: &str, _: &Request| (label == "token exchange").then_some(Reply::Hang);
    provider.server.script(hangs);
    let failure = Failure {
        line,
        says: &[&named(&provider), "did not answer within 20 s"],
        secrets: Vec::new(),
        limit: LATE,
    };
    scene.fails(&failure, |_, _| ());
}

#[test]
fn a_code_that_ends_before_anybody_enters_it() {
    let mut scene = Scene::with(Config {
        device: Some(Device::default()),
        ..Config::default()
    });
    let login = format!("run: mcp-remote login {}", scene.upstream.url());
    let line = words(&[
        &scene.upstream.url(),
        "--device-code",
        "--auth-timeout",
        "60",
    ]);
    let failure = Failure {
        line,
        says: &["ended", &login, "--device"],
        secrets: Vec::new(),
        limit: SOON,
    };
    scene.fails(&failure, |server, shim| {
        shim.wait_for_stderr("CODE-0001");
        server.end_code("CODE-0001");
    });
    assert!(!scene.home.log().contains("CODE-"));
}

#[test]
fn a_code_of_an_identity_provider_that_ends_before_anybody_enters_it() {
    let mut scene = Scene::new();
    let (provider, line) = with_provider(&scene, By::Code);
    let login = format!("run: mcp-remote login {}", scene.upstream.url());
    let failure = Failure {
        line,
        says: &[&named(&provider), "ended", &login, "--device"],
        secrets: Vec::new(),
        limit: SOON,
    };
    scene.fails(&failure, |_, shim| {
        shim.wait_for_stderr("CODE-0001");
        provider.server.end_code("CODE-0001");
    });
    assert!(!scene.home.log().contains("CODE-"));
}
