//! Who the provider's client says it is while somebody signs in there: by its id alone,
//! by a secret or by a key, in every request that it makes.

use mcp_remote_tests::shim::TestShim;

use super::*;

/// The flags for this company, as another client of the provider.
fn flags_as(company: &Company, client: &str, more: &[&str]) -> Vec<String> {
    let mut flags = company.arguments(more);
    let at = flags
        .iter()
        .position(|word| word == "--identity-provider-client");
    flags[at.expect("it is there") + 1] = client.to_owned();
    flags
}

fn words(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// Signs in, has the ID token renewed, and a token of the server; then signs out.
fn use_it(company: &Company, flags: &[String]) -> TestShim {
    let mut shim = attached(&company.home, &words(flags));
    shim.echo("signed in");
    company.provider.end_id_tokens();
    company.server.expire_access_tokens();
    shim.echo("renewed");
    assert_eq!(company.browser.visited().len(), 1);
    let everything = company.home.run(&["logout", "--all"]);
    assert_eq!(everything.code, 0, "{everything:?}");
    shim
}

/// What the client showed of itself in each of its requests.
fn shown(company: &Company, name: &str) -> Vec<Option<String>> {
    let of = |label: &str, nth: usize| field(&company.provider.server.wait_for(label, nth), name);
    vec![
        of("token code", 1),
        of("token refresh", 1),
        of("token exchange", 1),
        of("token exchange", 2),
        of("revoke", 1),
    ]
}

fn key(company: &Company) -> (PathBuf, String) {
    let path = company.home.folder().join("provider.pem");
    let pair = rcgen::KeyPair::generate().expect("a key");
    private(&path, &pair.serialize_pem());
    let client = company.provider.client_with_key(pair.public_key_raw());
    (path, client)
}

#[test]
fn a_client_without_a_secret_signs_in_by_its_id_alone() {
    let company = Company::new();
    let client = company.provider.public_client();
    use_it(&company, &flags_as(&company, &client, &[]));
    let own = Some(CLIENT.to_owned());
    assert_eq!(shown(&company, "client_id"), vec![own; 5]);
    assert_eq!(shown(&company, "client_secret"), vec![None; 5]);
    let asked = company.provider.server.wait_for("authorize", 1).target;
    assert!(asked.contains("code_challenge_method=S256"), "{asked}");
}

#[test]
fn a_secret_is_shown_as_the_client_was_registered_to() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let company = Company::new();
        let client: serde_json::Value =
            serde_json::from_str(&company.provider.client()).expect("JSON");
        let mut said = client.clone();
        said["token_endpoint_auth_method"] = method.into();
        use_it(&company, &flags_as(&company, &said.to_string(), &[]));
        let secret = client["client_secret"].as_str().map(str::to_owned);
        let expected = secret.filter(|_| method.ends_with("post"));
        assert_eq!(shown(&company, "client_secret"), vec![expected; 5]);
    }
}

#[test]
fn a_key_shows_who_asks_in_every_request_anew() {
    let company = Company::new();
    let (path, client) = key(&company);
    let path = path.to_str().expect("UTF-8");
    use_it(
        &company,
        &flags_as(&company, &client, &["--identity-provider-key", path]),
    );
    let assertions = shown(&company, "client_assertion");
    let mut different: Vec<_> = assertions.iter().flatten().collect();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 5, "{assertions:?}");
    assert_eq!(shown(&company, "client_secret"), vec![None; 5]);
}

#[test]
fn a_sign_in_whose_key_is_of_no_use_opens_no_page() {
    use std::os::unix::fs::PermissionsExt as _;
    let company = Company::new();
    let (path, client) = key(&company);
    let flags = flags_as(
        &company,
        &client,
        &["--identity-provider-key", path.to_str().expect("UTF-8")],
    );
    let mode = |mode: u32| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    mode(0o644);
    let mut login = words(&flags);
    login.insert(0, "login");
    let finished = company.home.run(&login);
    assert_eq!(finished.code, 11, "{finished:?}");
    assert!(
        finished.stderr.contains("is open to other users")
            && finished.stderr.contains(path.to_str().expect("UTF-8")),
        "{finished:?}"
    );
    assert_eq!(company.browser.visited(), [""; 0]);
    mode(0o600);
    let finished = company.home.run(&login);
    assert_eq!(finished.code, 0, "{finished:?}");
    // Nor is anybody sent there when it is spoiled later.
    let mut shim = attached(&company.home, &login[1..]);
    shim.echo("good");
    mode(0o644);
    company.provider.end_id_tokens();
    company.server.expire_access_tokens();
    let error = our_error(&shim.call("echo", r#"{"message":"x"}"#), 2);
    let message = error["message"].as_str().expect("a sentence");
    assert!(message.contains("is open to other users"), "{message}");
    mode(0o600);
    shim.echo("mended");
    assert_eq!(company.browser.visited().len(), 1);
}

#[test]
fn a_clock_that_is_wrong_is_said_to_be_after_a_sign_in_with_a_key() {
    let company = Company::new();
    let (path, client) = key(&company);
    company.provider.server.script(|label, _| {
        let date = std::time::SystemTime::now() - std::time::Duration::from_secs(754);
        let said = json!({ "error": "invalid_client" }).to_string();
        let date = httpdate::fmt_http_date(date);
        (label == "token code").then(|| Reply::json(401, said).with("Date", &date))
    });
    let flags = flags_as(
        &company,
        &client,
        &["--identity-provider-key", path.to_str().expect("UTF-8")],
    );
    let mut login = words(&flags);
    login.insert(0, "login");
    let finished = company.home.run(&login);
    assert_eq!(finished.code, 11, "{finished:?}");
    let last = finished.stderr.lines().last().expect("a sentence");
    let provider = format!("the identity provider {}", company.provider.issuer());
    assert!(
        last.contains("12 min ahead") && last.contains(&provider),
        "{finished:?}"
    );
    // Its redirect URIs are known, and those of the other client do not matter.
    assert!(
        !finished.stderr.contains("has to be registered"),
        "{finished:?}"
    );
}
