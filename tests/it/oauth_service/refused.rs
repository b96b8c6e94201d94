//! What goes wrong for service accounts: one sentence in a bounded time, nothing leaked,
//! and other servers as before.

use super::*;

/// Runs a conversation that ends in an error; returns its sentence.
#[track_caller]
fn refused(home: &TestHome, line: &[&str]) -> String {
    let begun = Instant::now();
    let finished = home.run_with(line, &mcp_remote_tests::shim::conversation("x"));
    assert!(begun.elapsed() < Duration::from_secs(20), "{finished:?}");
    let answers = messages(&finished.stdout);
    let error = our_error(&answers[0], 0);
    let sentence = error["message"].as_str().expect("a sentence").to_owned();
    assert!(!sentence.contains(SECRET), "{sentence}");
    assert!(!sentence.contains("mcp-remote login"), "{sentence}");
    assert!(!finished.stderr.contains(SECRET), "{finished:?}");
    let login = [&["login"], line].concat();
    let login = home.run(&login);
    assert!([10, 11, 1].contains(&login.code), "{login:?}");
    one_sentence(&login.stderr);
    sentence
}

#[test]
fn a_key_that_cannot_be_used_is_one_sentence_and_the_server_is_not_asked() {
    let ((server, upstream, home), path) = with_key();
    let (url, file) = (upstream.url(), path.display().to_string());
    let line = key_line(&url, &file);
    let pem = std::fs::read_to_string(&path).expect("there is one");
    let other = FakeUpstream::start();
    type Spoil = fn(&std::path::Path, &str);
    let cases: [(&str, Spoil); 6] = [
        ("chmod", |path, _| mode(path, 0o644)),
        ("no private key", |path, _| {
            std::fs::write(path, format!("{SECRET}nonsense")).expect("ours");
        }),
        ("not supported", |path, _| {
            let p384 = include_str!("../../../daemon/src/oauth/jose/fixtures/p384.pkcs8.pem");
            std::fs::write(path, p384).expect("ours");
        }),
        ("64 KiB", |path, pem| {
            std::fs::write(path, pem.repeat(1000)).expect("ours");
        }),
        ("regular file", |path, _| {
            std::fs::remove_file(path).expect("ours");
            std::fs::create_dir(path).expect("ours");
        }),
        ("No such file", |path, _| {
            std::fs::remove_dir(path).expect("ours");
        }),
    ];
    for (said, spoil) in cases {
        spoil(&path, &pem);
        let sentence = refused(&home, &line);
        assert!(sentence.contains(said), "{sentence}");
        assert!(sentence.contains(&file), "{sentence}");
        let _missing = std::fs::metadata(&path).map(|_| mode(&path, 0o700));
        one_shot(&home, &[&other.url()]);
    }
    assert_eq!(server.count("token client"), 0);
    assert_eq!(upstream.count("POST initialize"), 0);
    // Mended, it works without anybody doing anything.
    let _path = key_file(&home, &pem);
    let deadline = Instant::now() + Duration::from_secs(10);
    while home
        .run(&[
            "login", line[0], line[1], line[2], line[3], line[4], line[5],
        ])
        .code
        != 0
    {
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn an_authorization_server_that_says_no_is_named_and_not_asked_for_ever() {
    let (server, upstream, home) = guarded(published());
    let mut flags = flags(&server, "ci-bot");
    flags[2] =
        json!({ "client_id": "ci-bot", "client_secret": format!("{SECRET}wrong") }).to_string();
    server.script(|label, _| {
        let said = json!({ "error": "invalid_client", "error_description": format!("{SECRET}wrong is not it") });
        (label == "token client").then(|| Reply::json(401, said.to_string()))
    });
    let url = upstream.url();
    let sentence = refused(&home, &line(&url, &flags));
    assert!(
        sentence.contains("does not accept the client"),
        "{sentence}"
    );
    for _ in 0..20 {
        drop(home.run_with(&line(&url, &flags), "{}\n"));
    }
    assert!(server.count("token client") < 12, "{:?}", server.labels());
    let status = home.run(&["status"]);
    assert!(status.stdout.contains("no-token"), "{status:?}");
    assert!(!status.stdout.contains("mcp-remote login"), "{status:?}");
    assert!(!status.stdout.contains(SECRET), "{status:?}");
    assert_eq!(status.code, 11, "somebody has to act: {status:?}");
    let document = home.run(&["status", "--json"]).stdout;
    let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["servers"][0]["action"], "mend", "{document}");
    assert_eq!(document["servers"][0]["state"], "backing-off", "{document}");
}

#[test]
fn an_outage_of_the_authorization_server_passes() {
    let (mut server, upstream, home) = guarded(published());
    let flags = flags(&server, "ci-bot");
    let url = upstream.url();
    server.go_down();
    let sentence = refused(&home, &line(&url, &flags));
    assert!(sentence.contains("could not be reached"), "{sentence}");
    let status = home.run(&["status"]);
    assert_eq!(status.code, 10, "nobody has to act: {status:?}");
    server.come_back();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut shim = home.shim(&line(&url, &flags));
    while shim.handshake()["error"].is_object() {
        assert!(Instant::now() < deadline, "{}", shim.stderr());
        shim = home.shim(&line(&url, &flags));
    }
    shim.echo("up again");
    assert_eq!(home.run(&["status"]).code, 0);
}

#[test]
fn a_token_that_is_refused_again_says_whose_it_is() {
    let (server, upstream, home) = guarded(published());
    let flags = flags(&server, "ci-bot");
    server.script(|label, _| {
        let token = json!({ "access_token": format!("{SECRET}useless"), "token_type": "Bearer" });
        (label == "token client").then(|| Reply::json(200, token.to_string()))
    });
    let url = upstream.url();
    let sentence = refused(&home, &line(&url, &flags));
    let said = "it refuses the token from service account ci-bot";
    assert!(sentence.contains(said), "{sentence}");
    assert!(server.count("token client") <= 3, "{:?}", server.labels());
}

#[test]
fn a_clock_that_is_wrong_is_said_to_be() {
    let ((server, upstream, home), path) = with_key();
    server.script(|label, _| {
        let date = std::time::SystemTime::now() - Duration::from_secs(754);
        let said = json!({ "error": "invalid_client" });
        (label == "token client").then(|| {
            Reply::json(401, said.to_string()).with("Date", &httpdate::fmt_http_date(date))
        })
    });
    let (url, file) = (upstream.url(), path.display().to_string());
    let sentence = refused(&home, &key_line(&url, &file));
    assert!(sentence.contains("12 min ahead"), "{sentence}");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let (server, upstream, home) = guarded(published());
    let flags = flags(&server, "ci-bot");
    let url = upstream.url();
    for (more, named) in [
        (
            &["--header", "Authorization: Bearer x"][..],
            "Authorization",
        ),
        (&["--bearer-token-file", "/t"][..], "--bearer-token-file"),
        (&["--client-key-id", "k"][..], "--client-key"),
        (
            &["--token-endpoint", "http://as.example/"][..],
            "--token-endpoint",
        ),
    ] {
        let line = [&line(&url, &flags)[..], more].concat();
        let finished = home.run(&[&["login"], &line[..]].concat());
        assert_ne!(finished.code, 0, "{finished:?}");
        assert!(finished.stderr.contains(named), "{finished:?}");
    }
    assert!(upstream.requests().is_empty() && server.labels().is_empty());
}

/// Lets the guarded server refuse without a word, as some gateways do.
fn refuses_barely(upstream: &FakeUpstream, challenge: Option<&'static str>) {
    upstream.script(move |request| {
        let has_token = request.header("Authorization").is_some();
        let refused = Reply::status(401);
        match (&*request.target, challenge) {
            ("/mcp", Some(challenge)) if !has_token => {
                Some(refused.with("WWW-Authenticate", challenge))
            }
            ("/mcp", None) if !has_token => Some(refused),
            ("/mcp", _) => None,
            _ => Some(Reply::status(404)),
        }
    });
}

#[test]
fn where_nothing_says_who_gives_tokens_nothing_is_shown_on_a_guess() {
    for challenge in [Some("Bearer"), None] {
        let (server, upstream, home) = (
            FakeAuthorizationServer::start(),
            FakeUpstream::start(),
            TestHome::new(),
        );
        refuses_barely(&upstream, challenge);
        let with_secret = flags(&server, "ci-bot");
        let url = upstream.url();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        server.service_key("by-key", "ES256", key.der_bytes());
        let path = key_file(&home, &key.serialize_pem()).display().to_string();
        for line in [line(&url, &with_secret), key_line(&url, &path)] {
            let sentence = refused(&home, &line);
            assert!(sentence.contains("--token-endpoint"), "{sentence}");
            assert!(!sentence.contains("--header"), "{sentence}");
            assert!(!sentence.contains("offers no sign-in"), "{sentence}");
            // Nor to whoever comes later.
            let sentence = refused(&home, &line);
            assert!(sentence.contains("--token-endpoint"), "{sentence}");
        }
        let asked = upstream.requests();
        assert!(
            asked
                .iter()
                .all(|it| it.method == "GET" || it.target == "/mcp"),
            "{asked:?}"
        );
        assert!(server.labels().is_empty());
        // The place that is named is asked.
        let endpoint = format!("{}/token", server.origin());
        let named = [
            &line(&url, &with_secret)[..],
            &["--token-endpoint", &endpoint],
        ]
        .concat();
        one_shot(&home, &named);
        assert_eq!(server.labels(), ["token client"]);
    }
}
