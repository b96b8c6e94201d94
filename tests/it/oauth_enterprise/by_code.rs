//! Sign-ins at the provider where there is no browser: by a code that is typed in
//! anywhere, or by nobody, where nobody may be asked.

use std::time::{Duration, Instant};

use super::*;

/// A home without a browser.
fn headless() -> Company {
    let mut company = Company::with_codes();
    company.home = TestHome::new();
    company
}

fn login<'a>(flag: &'a [&'a str], flags: &'a [String]) -> Vec<&'a str> {
    let flags = flags.iter().map(String::as_str);
    ["login"]
        .into_iter()
        .chain(flag.iter().copied())
        .chain(flags)
        .collect()
}

#[test]
fn a_code_signs_in_at_the_provider_for_every_server() {
    let company = headless();
    let flags = company.arguments(&[]);
    let shim = company.home.shim(&login(&["--device"], &flags));
    shim.wait_for_stderr("The code is CODE-0001.");
    let page = format!("{}/enter?code=CODE-0001", company.provider.issuer());
    assert!(shim.stderr().contains(&page), "{}", shim.stderr());
    company.provider.server.enter("CODE-0001");
    assert_eq!(shim.wait(), 0, "{}", shim.stderr());
    company.one_shot(&[]);
    let (_server, other, client) = trusting(&company.provider);
    run(&company.home, &company.flags(&other.url(), &client, &[]));
    let provider = &company.provider.server;
    assert_eq!(
        (provider.count("device"), provider.count("authorize")),
        (1, 0)
    );
    assert_eq!(company.provider.exchanges(), 2);
    let asked = provider.wait_for("device", 1);
    assert_eq!(field(&asked, "scope").as_deref(), Some("openid"));
    assert_eq!(field(&asked, "resource"), None);
}

#[test]
fn who_asks_for_a_code_gets_no_page_though_there_is_a_browser() {
    let company = Company::with_codes();
    let flags = company.arguments(&[]);
    let shim = company.home.shim(&login(&["--device-code"], &flags));
    shim.wait_for_stderr("CODE-0001");
    company.provider.server.enter("CODE-0001");
    assert_eq!(shim.wait(), 0, "{}", shim.stderr());
    assert_eq!(company.browser.visited(), [""; 0]);
    // Who asks for none gets a page.
    assert_eq!(company.home.run(&["logout", "--all"]).code, 0);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    attached(&company.home, &flags).echo("by a page");
    assert_eq!(company.browser.visited().len(), 1);
}

#[test]
fn without_a_browser_the_code_comes_by_itself_and_outlives_the_daemon() {
    let company = headless();
    let flags = company.arguments(&["--auth-timeout", "60"]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut shim = company.home.shim(&flags);
    let conversation = mcp_remote_tests::shim::conversation("by code");
    let (initialize, rest) = conversation.split_once('\n').expect("more than a line");
    shim.send(initialize);
    shim.wait_for_stderr("The code is CODE-0001.");
    let status = company.home.run(&["status", "--json"]).stdout;
    assert!(status.contains(r#""user_code":"CODE-0001""#), "{status}");
    company.provider.server.wait_for("token device", 1);
    company.home.kill_daemon();
    company.provider.server.enter("CODE-0001");
    assert!(shim.message()["result"].is_object());
    shim.send_raw(rest.as_bytes());
    assert_eq!(mcp_remote_tests::shim::text_of(&shim.message()), "by code");
    assert_eq!(shim.finish(), 0);
    assert_eq!(company.provider.server.count("device"), 1);
    let log = company.home.log();
    assert!(!log.contains("CODE-") && !log.contains(SECRET), "{log}");
}

#[test]
fn a_client_without_a_secret_and_one_with_a_key_get_codes_too() {
    for by_key in [false, true] {
        let company = headless();
        let path = company.home.folder().join("provider.pem");
        let mut flags = company.arguments(&[]);
        let client = match by_key {
            true => {
                let pair = rcgen::KeyPair::generate().expect("a key");
                private(&path, &pair.serialize_pem());
                let path = path.to_str().expect("UTF-8").to_owned();
                flags.extend(["--identity-provider-key".to_owned(), path]);
                company.provider.client_with_key(pair.public_key_raw())
            }
            false => company.provider.public_client(),
        };
        let at = flags
            .iter()
            .position(|word| word == "--identity-provider-client");
        flags[at.expect("it is there") + 1] = client;
        let shim = company.home.shim(&login(&["--device"], &flags));
        shim.wait_for_stderr("CODE-0001");
        company.provider.server.wait_for("token device", 2);
        company.provider.server.enter("CODE-0001");
        assert_eq!(shim.wait(), 0, "{}", shim.stderr());
        for label in ["device", "token device", "token exchange"] {
            let asked = company.provider.server.wait_for(label, 1);
            assert_eq!(
                field(&asked, "client_assertion").is_some(),
                by_key,
                "{label}"
            );
            assert_eq!(field(&asked, "client_secret"), None, "{label}");
        }
    }
}

#[test]
fn each_end_of_a_code_is_one_sentence_that_names_the_provider() {
    for (end, said) in [(true, "refused"), (false, "ended")] {
        let company = headless();
        let flags = company.arguments(&[]);
        let shim = company.home.shim(&login(&["--device"], &flags));
        shim.wait_for_stderr("CODE-0001");
        match end {
            true => company.provider.server.deny("CODE-0001"),
            false => company.provider.server.end_code("CODE-0001"),
        }
        assert_eq!(shim.wait(), 11, "{}", shim.stderr());
        let stderr = shim.stderr();
        let last = stderr.lines().last().expect("a sentence");
        let provider = format!("the identity provider {}", company.provider.issuer());
        assert!(last.contains(said) && last.contains(&provider), "{stderr}");
        let command = format!("run: mcp-remote login {}", company.upstream.url());
        assert!(last.contains(&command), "{stderr}");
        assert!(last.contains("--device"), "{stderr}");
        assert_eq!(company.provider.exchanges(), 0);
    }
}

#[test]
fn a_provider_that_gives_no_codes_says_so() {
    let company = Company::new();
    let flags = company.arguments(&[]);
    let finished = company.home.run(&login(&["--device"], &flags));
    assert_eq!(finished.code, 11, "{finished:?}");
    let said = "offers no sign-in by code: leave --device-code out";
    assert!(finished.stderr.contains(said), "{finished:?}");
    assert_eq!(company.browser.visited(), [""; 0]);
}

#[test]
fn whoever_asks_nobody_is_told_the_command_at_once_and_the_provider_is_not_bothered() {
    let company = headless();
    let flags = company.arguments(&["--non-interactive"]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let url = company.upstream.url();
    let says = |text: &str, words: &[&str]| {
        let login = text.split_once("asks nobody; run: ").expect("a command").1;
        let flags = ["mcp-remote login", &url, "--identity-provider"];
        flags.iter().chain(words).all(|flag| login.contains(flag))
    };
    for words in [&["login"][..], &["login", "--device"], &["tools"]] {
        let begun = Instant::now();
        let finished = company.home.run(&[words, &flags].concat());
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?}");
        assert_eq!((finished.code, &*finished.stdout), (11, ""), "{finished:?}");
        assert!(says(&finished.stderr, &words[1..]), "{finished:?}");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished:?}");
    }
    let mut shim = company.home.shim(&flags);
    let error = our_error(&shim.handshake(), 0);
    let message = error["message"].as_str().expect("a message");
    assert!(says(message, &[]), "{message}");
    assert!(error["data"].get("authorizationUrl").is_none(), "{error}");
    let provider = &company.provider.server;
    assert_eq!(
        (provider.count("device"), provider.count("authorize")),
        (0, 0)
    );
    assert_eq!(company.provider.exchanges(), 0);
}
