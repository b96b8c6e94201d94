//! When tokens are bound to a key: where the server asks for it and its authorization
//! server can, or as the user says. What is bound is never exchanged for less.

use mcp_remote_tests::authorization_server::{Config, Dpop};
use mcp_remote_tests::upstream::{FakeUpstream, Reply};
use serde_json::{Map, Value, json};

use crate::oauth_dpop::{
    authorized, demanding, scheme, tokens, tokens_path, why_nobody_is_signed_in,
};
use crate::support::{Guarded, agreeing, attached, one_shot, our_error, sign_in, signed_in};

/// Servers that take others as well.
fn offering() -> Config {
    Config {
        dpop: Some(Dpop {
            bearer: true,
            ..Dpop::default()
        }),
        ..Config::default()
    }
}

fn patch(members: &[(&str, Value)]) -> Map<String, Value> {
    let owned = |(name, value): &(&str, Value)| ((*name).to_owned(), value.clone());
    members.iter().map(owned).collect()
}

#[test]
fn where_both_kinds_are_taken_tokens_are_bound_if_both_servers_can() {
    let (_server, upstream, home, _browser) = signed_in(offering());
    assert!(
        authorized(&upstream)
            .iter()
            .all(|request| scheme(request) == "DPoP")
    );
    assert_eq!(tokens(&home)["token_type"], "DPoP");

    let (server, upstream, _home, _browser) = signed_in(Config {
        patch: patch(&[("dpop_signing_alg_values_supported", json!(["PS256"]))]),
        ..offering()
    });
    assert!(
        authorized(&upstream)
            .iter()
            .all(|request| scheme(request) == "Bearer")
    );
    assert!(!server.wait_for("authorize", 1).target.contains("dpop_jkt"));
}

#[test]
fn the_user_has_the_last_word() {
    let bearer_only = |upstream: &FakeUpstream| {
        let requests = authorized(upstream);
        assert!(!requests.is_empty());
        assert!(requests.iter().all(|request| scheme(request) == "Bearer"));
    };
    let (_server, upstream, home, _browser) = agreeing(offering());
    sign_in(&home, &[&upstream.url(), "--dpop", "never"]);
    bearer_only(&upstream);

    let (_server, upstream, home, _browser) = agreeing(offering());
    home.configure(&format!(
        "[servers.here]\nurl = \"{}\"\ndpop = \"never\"\n",
        upstream.url()
    ));
    sign_in(&home, &["here"]);
    bearer_only(&upstream);

    // It does not say that it can.
    let silent = Config {
        patch: patch(&[("dpop_signing_alg_values_supported", Value::Null)]),
        ..offering()
    };
    let (_server, upstream, home, _browser) = agreeing(silent.clone());
    sign_in(&home, &[&upstream.url()]);
    bearer_only(&upstream);
    for arguments in [
        ["--dpop", "always"],
        [
            "--static-oauth-client-metadata",
            r#"{"dpop_bound_access_tokens":true}"#,
        ],
    ] {
        let (_server, upstream, home, _browser) = agreeing(silent.clone());
        sign_in(&home, &[&[&*upstream.url()], &arguments[..]].concat());
        let requests = authorized(&upstream);
        assert!(requests.iter().all(|request| scheme(request) == "DPoP"));
    }

    let (_server, upstream, home, _browser) = agreeing(offering());
    let why = home.run(&[&upstream.url(), "--dpop", "s3cret", "--no-browser"]);
    assert!(why.stderr.contains("--dpop is not known"), "{why:?}");
    assert!(!why.stderr.contains("s3cret"), "{why:?}");
}

#[test]
fn a_client_that_gets_bound_tokens_only_is_registered_anew_for_others() {
    let (server, upstream, home, browser) = signed_in(demanding());
    assert_eq!(home.run(&["stop"]).code, 0);
    std::fs::remove_file(tokens_path(&home)).expect("there");
    let mut shim = attached(&home, &[&upstream.url(), "--dpop", "never"]);
    let id = shim.begin_call("echo", r#"{"message":"x"}"#);
    let why = our_error(&shim.message(), id);
    assert!(
        why["message"].to_string().contains("--dpop always"),
        "{why}"
    );
    assert_eq!(server.count("register"), 2);
    let second = server.wait_for("register", 2).text();
    assert!(!second.contains("dpop_bound_access_tokens"), "{second}");
    assert_eq!(browser.visited().len(), 2);
}

#[test]
fn a_challenge_alone_is_reason_enough() {
    let (_server, upstream, _home, browser) = signed_in(Config {
        resource_patch: patch(&[
            ("dpop_bound_access_tokens_required", Value::Null),
            ("dpop_signing_alg_values_supported", Value::Null),
        ]),
        patch: patch(&[("dpop_signing_alg_values_supported", Value::Null)]),
        ..demanding()
    });
    assert!(
        authorized(&upstream)
            .iter()
            .all(|request| scheme(request) == "DPoP")
    );
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn more_access_is_bound_as_well() {
    let (server, upstream, home, browser) = signed_in(Config {
        scopes: Some("read".to_owned()),
        resource_patch: patch(&[
            ("dpop_bound_access_tokens_required", Value::Null),
            ("dpop_signing_alg_values_supported", Value::Null),
        ]),
        ..demanding()
    });
    // The refusal names Bearer, as some do.
    server.want_scope("write");
    let mut shim = attached(&home, &[&upstream.url()]);
    shim.echo("more");
    assert_eq!(browser.visited().len(), 2);
    let requests = authorized(&upstream);
    assert!(requests.iter().all(|request| scheme(request) == "DPoP"));
}

#[test]
fn a_server_that_begins_to_demand_it_costs_nobody_a_sign_in() {
    let (server, upstream, home, browser) = agreeing(offering());
    sign_in(&home, &[&upstream.url(), "--dpop", "never"]);
    server.protect_scripted(&upstream, |request| {
        (scheme(request) == "Bearer").then(|| {
            Reply::status(401).with(
                "WWW-Authenticate",
                r#"DPoP algs="ES256", error="invalid_token""#,
            )
        })
    });
    sign_in(&home, &[&upstream.url()]);
    one_shot(&home, &[&upstream.url()]);
    assert_eq!(browser.visited().len(), 1);
    assert_eq!(server.count("token refresh"), 1);
    assert_eq!(tokens(&home)["token_type"], "DPoP");
}

#[test]
fn an_authorization_server_that_could_is_no_reason() {
    // The fakes complain of every proof.
    let (_server, upstream, _home, _browser) = signed_in(Config {
        patch: patch(&[("dpop_signing_alg_values_supported", json!(["ES256"]))]),
        ..Config::default()
    });
    assert!(
        authorized(&upstream)
            .iter()
            .all(|request| scheme(request) == "Bearer")
    );
}

#[test]
fn an_authorization_server_that_cannot_what_is_demanded_is_named() {
    let (server, upstream, home, browser) = agreeing(Config {
        patch: patch(&[("dpop_signing_alg_values_supported", json!(["RS256"]))]),
        ..demanding()
    });
    let why = why_nobody_is_signed_in(&home, &[&upstream.url()]);
    assert!(
        why.contains(&server.origin()) && why.contains("DPoP"),
        "{why}"
    );
    assert_eq!(browser.visited(), [""; 0]);
}

#[test]
fn a_token_that_is_not_bound_is_not_sent_where_that_is_demanded() {
    let (server, upstream, home, _browser) = agreeing(demanding());
    server.give_bearer_tokens();
    let why = why_nobody_is_signed_in(&home, &[&upstream.url()]);
    assert!(why.contains("not bound to a key"), "{why}");
    assert_eq!(authorized(&upstream).len(), 0);

    // Where it is not, it is good enough, and the refresh token is bound all the same.
    let (server, upstream, home, browser) = agreeing(offering());
    server.give_bearer_tokens();
    sign_in(&home, &[&upstream.url()]);
    home.kill_daemon();
    server.expire_access_tokens();
    one_shot(&home, &[&upstream.url()]);
    assert!(
        authorized(&upstream)
            .iter()
            .all(|request| scheme(request) == "Bearer")
    );
    assert_eq!(server.count("token refresh"), 1);
    assert_eq!(browser.visited().len(), 1);
}

#[test]
fn a_refresh_that_unbinds_what_has_to_be_bound_costs_no_refresh_token() {
    let (server, upstream, home, browser): Guarded = signed_in(demanding());
    server.give_bearer_tokens();
    server.expire_access_tokens();
    let mut shim = attached(&home, &[&upstream.url()]);
    let id = shim.begin_call("echo", r#"{"message":"x"}"#);
    let error = our_error(&shim.message(), id);
    let why = error["message"].as_str().expect("a message");
    assert!(why.contains("not bound to a key"), "{why}");
    assert_eq!(tokens(&home)["token_type"], "DPoP");
    assert_eq!(
        browser.visited().len(),
        1,
        "nobody could do anything about it"
    );
}
