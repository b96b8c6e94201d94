use super::*;
use crate::oauth::discovery::AuthorizationServer;
use crate::oauth::fake::{authorization_server, identity};
use crate::oauth::registration::AuthMethod;

const REDIRECT: &str = "http://localhost:5598/oauth/callback";

fn discovered(page: &str) -> Discovered {
    Discovered {
        resource: Some("https://H/mcp/".into()),
        scopes_supported: None,
        bound_tokens: crate::oauth::dpop::Wanted::Unsaid,
        server: AuthorizationServer {
            authorization_endpoint: Ok(Url::parse(page).expect("valid")),
            ..authorization_server("https://as")
        },
    }
}

fn client() -> Client {
    Client {
        issuer: "https://as".into(),
        client_id: "id 1".into(),
        client_secret: None,
        auth_method: AuthMethod::None,
        redirect_uris: Vec::new(),
        key: None,
        secret_expires_at: None,
        document: serde_json::Map::new(),
    }
}

fn begun(identity: &Identity, endpoint: &str, scope: Option<&str>) -> Pending {
    let scope = scope.and_then(Scope::parse);
    begin(
        identity,
        &discovered(endpoint),
        &client(),
        REDIRECT,
        scope.as_ref(),
        None,
    )
    .expect("usable")
}

fn values(url: &Url, name: &str) -> Vec<String> {
    let pairs = url.query_pairs().filter(|(found, _)| found == name);
    pairs.map(|(_, value)| value.into_owned()).collect()
}

#[test]
fn the_url_has_what_a_sign_in_needs() {
    let pending = begun(
        &identity("https://h/mcp"),
        "https://as/authorize?tenant=1",
        None,
    );
    let check = |name: &str, expected: &str| {
        assert_eq!(values(&pending.url, name), [expected], "{}", pending.url);
    };
    check("response_type", "code");
    check("client_id", "id 1");
    check("redirect_uri", REDIRECT);
    check("state", pending.state.reveal());
    check("code_challenge_method", "S256");
    check("resource", "https://H/mcp/");
    check("tenant", "1");
    let challenge = PkceCodeChallenge::from_code_verifier_sha256(&oauth2::PkceCodeVerifier::new(
        pending.verifier.reveal().clone(),
    ));
    check("code_challenge", challenge.as_str());
    assert!(values(&pending.url, "scope").is_empty() && values(&pending.url, "prompt").is_empty());
    assert!(pending.state.reveal().len() >= 43 && pending.verifier.reveal().len() >= 43);
    let other = begun(&identity("https://h/mcp"), "https://as/authorize", None);
    assert_ne!(pending.state, other.state);
    assert_ne!(pending.verifier, other.verifier);
    let shown = format!("{pending:?}");
    assert!(!shown.contains(pending.state.reveal().as_str()), "{shown}");
}

#[test]
fn parameters_of_the_user_take_the_place_of_ours_but_not_of_the_reserved() {
    let mut identity = identity("https://h/mcp");
    let scope = Some("a offline_access");
    let pending = begun(&identity, "https://as/authorize", scope);
    assert_eq!(values(&pending.url, "scope"), ["a offline_access"]);
    assert_eq!(values(&pending.url, "prompt"), ["consent"]);
    let given = [("prompt", "login"), ("audience", "x y"), ("state", "mine")];
    identity.authorize_params = given.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec();
    let pending = begun(&identity, "https://as/authorize", scope);
    assert_eq!(values(&pending.url, "prompt"), ["login"]);
    assert_eq!(values(&pending.url, "audience"), ["x y"]);
    assert_eq!(
        values(&pending.url, "state"),
        [pending.state.reveal().clone()]
    );
}

#[test]
fn a_code_is_bound_to_the_key_of_its_tokens() {
    let binding = Binding {
        key: crate::oauth::dpop::ProofKey::generate(),
        demanded: false,
    };
    let expected = binding.key.thumbprint();
    let begun = begin(
        &identity("https://h/mcp"),
        &discovered("https://as/authorize"),
        &client(),
        REDIRECT,
        None,
        Some(binding.clone()),
    );
    let begun = begun.expect("usable");
    assert_eq!(values(&begun.url, "dpop_jkt"), [expected]);
    assert_eq!(begun.binding, Some(binding));
}

#[test]
fn an_endpoint_cannot_answer_our_questions_itself() {
    let endpoint = "https://as/a?state=x&x=%26y&code_challenge=z&response_type=token&redirect_uri=http://evil&dpop_jkt=t";
    let pending = begun(&identity("https://h/mcp"), endpoint, None);
    for name in RESERVED {
        let expected = usize::from(name != "dpop_jkt");
        assert_eq!(values(&pending.url, name).len(), expected, "{name}");
    }
    assert_eq!(values(&pending.url, "x"), ["&y"]);
    assert_eq!(values(&pending.url, "response_type"), ["code"]);
}

#[test]
fn a_sign_in_page_that_must_not_be_opened_is_refused() {
    let check = |endpoint: &str| {
        let begun = begin(
            &identity("https://h/mcp"),
            &discovered(endpoint),
            &client(),
            REDIRECT,
            None,
            None,
        );
        let error = begun.expect_err(endpoint).to_string();
        assert!(
            error.starts_with("the sign-in page of https://as "),
            "{error}"
        );
    };
    for endpoint in [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "a:$(touch PWN)?response_type=code",
        "http://as/authorize",
        "https://user:pa$(id)ss@as/",
        "calculator:/x",
    ] {
        check(endpoint);
    }
    check(&format!("https://as/{}", "a".repeat(2_000_000)));
}

fn pending(iss_expected: bool) -> Pending {
    Pending {
        state: Secret::new("right".into()),
        verifier: Secret::new("verifier".into()),
        url: Url::parse("https://as/").expect("valid"),
        redirect_uri: REDIRECT.into(),
        issuer: "https://as/t".into(),
        iss_expected,
        scope: None,
        resource: None,
        binding: None,
    }
}

#[test]
fn only_a_redirect_with_the_right_state_is_ours() {
    let check = |query: &str| {
        let outcome = check_callback(&pending(false), query);
        assert_eq!(outcome, Err(CallbackError::NotOurs), "{query}");
    };
    for query in [
        "",
        "code=c",
        "error=access_denied",
        "state=&code=c",
        "state=wrong&code=c",
        "state=Right&code=c",
        "state=right%20&code=c",
        "state=right&state=wrong&code=c",
        "state=right&state=right&code=c",
        "state=../../etc/passwd&error=x",
        "&&&===%%%",
    ] {
        check(query);
    }
    check(&format!("state=right&code=c&x={}", "a".repeat(1_000_000)));
}

#[test]
fn the_issuer_of_a_redirect_follows_the_table() {
    let check = |expected: bool, query: &str, passes: bool| {
        let outcome = check_callback(&pending(expected), &format!("state=right&{query}"));
        let code = Ok(Code(Secret::new("c".into())));
        let refused = Err(CallbackError::Issuer("https://as/t".into()));
        assert_eq!(outcome, if passes { code } else { refused }, "{query}");
    };
    for expected in [true, false] {
        check(expected, "code=c&iss=https%3A%2F%2Fas%2Ft", true);
        for iss in [
            "https://as",
            "https://as/t/",
            "HTTPS://as/t",
            "https://as:443/t",
            "https://as/%74%2F",
            "https%253A%252F%252Fas%252Ft",
            "",
            "https://as/t&iss=https://as/t",
        ] {
            check(expected, &format!("code=c&iss={iss}"), false);
            check(expected, &format!("error=access_denied&iss={iss}"), false);
        }
    }
    check(false, "code=c", true);
    check(true, "code=c", false);
    check(true, "error=access_denied", false);
}

#[test]
fn refusals_and_nonsense_are_told_as_one_harmless_line() {
    let check = |query: &str, expected: &str| {
        let outcome = check_callback(&pending(false), &format!("state=right&{query}"));
        assert_eq!(outcome.expect_err(query).to_string(), expected);
    };
    check(
        "error=access_denied&error_description=No%0d%0a%1b[31m%3Cb%3E",
        "the authorization server refused: access_denied: No [31m<b>",
    );
    check(
        "error=access_denied&code=c",
        "the authorization server refused: access_denied",
    );
    for query in ["", "code=", "code=a&code=b", "error=a&error=b"] {
        check(
            query,
            "the redirect of the authorization server has no code in it",
        );
    }
}
