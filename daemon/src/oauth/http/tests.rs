use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::oauth::fake::{Answer, Fake, http_of, identity};
use http::HeaderValue;
use serde_json::json;

fn url(text: &str) -> Url {
    Url::parse(text).expect("valid")
}

async fn check(server: &str, asked: &[&str], expected: bool) {
    let http = http_of(server).await;
    for text in asked {
        let outcome = http.check(&url(text));
        assert_eq!(outcome.is_ok(), expected, "{server} {text} {outcome:?}");
    }
}

#[tokio::test]
async fn a_public_server_leads_to_public_https_urls_only() {
    let public = "https://1.1.1.1/mcp";
    check(public, &["https://as.example/t", "https://8.8.8.8/"], true).await;
    let hostile = [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "a:$(touch PWN)?response_type=code",
        "calculator:/x",
        "http://as.example/token",
        "http://127.0.0.1/",
        "http://localhost/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://a.localhost/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:7f00:1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "https://192.168.0.1/",
        "https://[fd00::1]/",
        "https://100.64.0.1/",
        "https://user:pa$(id)ss@as.example/",
        "https://as$(id).example/",
    ];
    check(public, &hostile, false).await;
    let long = format!("https://h/{}", "a".repeat(2_000_000));
    check(public, &[&long], false).await;
}

#[tokio::test]
async fn a_servers_own_class_is_allowed_and_https_stays_https() {
    let here = [
        "http://127.0.0.1:9/t",
        "http://localhost/t",
        "https://[::1]/t",
    ];
    check("http://127.0.0.1:1/mcp", &here, true).await;
    check("http://localhost:1/mcp", &here, true).await;
    check("http://127.0.0.1:1/mcp", &["https://as.example/"], true).await;
    check("http://127.0.0.1:1/mcp", &["http://as.example/"], false).await;
    let private = ["https://10.1.1.1/t", "https://as.example/"];
    check("https://192.168.0.9/mcp", &private, true).await;
    let elsewhere = [
        "https://127.0.0.1/",
        "https://169.254.169.254/",
        "http://10.1.1.1/",
    ];
    check("https://192.168.0.9/mcp", &elsewhere, false).await;
    check(
        "http://192.168.0.9/mcp",
        &["http://192.168.0.9/token"],
        false,
    )
    .await;
}

#[tokio::test]
async fn refusals_show_no_query_and_no_credentials() {
    let http = http_of("https://1.1.1.1/").await;
    let hostile = url("https://user:s3cret@h/?state=s3cret");
    let error = http.check(&hostile).expect_err("credentials").to_string();
    assert!(
        error.contains("https://h/") && !error.contains("s3cret"),
        "{error}"
    );
}

#[test]
fn only_allowed_addresses_of_a_name_are_connected_to() {
    let check = |found: &[&str], expected: Result<&[&str], &str>| {
        let address = |text: &&str| SocketAddr::new(text.parse().expect("an address"), 0);
        let policy = AddressPolicy::around(["1.1.1.1".parse().expect("an address")]);
        let name = "name".parse().expect("a name");
        let found_addresses = found.iter().map(address).collect();
        let allowed = allowed(|address| policy.allows(address), &name, found_addresses);
        let allowed = allowed.map_err(|error| error.to_string());
        let expected = expected
            .map(|allowed| allowed.iter().map(address).collect::<Vec<_>>())
            .map_err(str::to_owned);
        assert_eq!(allowed, expected, "{found:?}");
    };
    check(&["8.8.8.8"], Ok(&["8.8.8.8"]));
    check(&["127.0.0.1", "8.8.8.8", "10.0.0.1"], Ok(&["8.8.8.8"]));
    check(&[], Ok(&[]));
    check(
        &["::ffff:127.0.0.1"],
        Err("name resolves to an address of this machine, which this server may not lead to"),
    );
}

/// The check before a request knows names only; this one has been passed.
#[tokio::test]
async fn a_name_is_checked_as_the_connection_is_made() {
    let fake = Fake::start(|_, _| Answer::json(200, &json!({}))).await;
    let target = url(&fake.origin.replace("127.0.0.1", "localhost"));
    let ask = async |http: OAuthHttp| {
        let client = http.client(&target).expect("a way");
        answered(&target, client.get(target.clone())).await
    };
    let error = ask(http_of("https://1.1.1.1/").await).await;
    let error = error.expect_err("it leads to this machine");
    assert!(matches!(error, OAuthHttpError::Refused(_)), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("resolves to an address of this machine")
    );
    assert!(fake.asked().is_empty());
    let answer = ask(http_of("http://127.0.0.1/").await).await;
    assert_eq!(answer.expect("it is here as well").status(), 200);
}

#[tokio::test]
async fn what_may_not_be_asked_is_not_asked() {
    let fake = Fake::start(|_, _| Answer::json(200, &json!({}))).await;
    let target = url(&fake.origin);
    let http = http_of("https://1.1.1.1/").await;
    let posted = http.post_json(&target, &json!({})).await;
    let got = http.get(&target, &HeaderMap::new()).await;
    for outcome in [posted, got] {
        let error = outcome.expect_err("it is on this machine");
        assert!(matches!(error, OAuthHttpError::Refused(_)), "{error:?}");
    }
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn posts_are_never_redirected() {
    for status in [301, 302, 303, 307, 308] {
        let fake = Fake::start(move |_, _| Answer::redirect(status, "/elsewhere")).await;
        let target = url(&format!("{}/token", fake.origin));
        let http = fake.http().await;
        let error = http.post_json(&target, &json!({})).await;
        let error = error.expect_err("it redirects");
        assert!(matches!(error, OAuthHttpError::Redirected(_)), "{error:?}");
        assert_eq!(fake.targets(), ["/token"], "{status}");
    }
}

#[tokio::test]
async fn gets_are_redirected_within_the_origin_and_three_times_only() {
    let other = Fake::start(|_, _| Answer::json(200, &json!({}))).await;
    let elsewhere = format!("{}/x", other.origin);
    let fake = Fake::start(move |_, asked| match asked.target.as_str() {
        "/one" => Answer::redirect(302, "/two"),
        "/two" => Answer::redirect(307, "/three?x=1"),
        "/three?x=1" => Answer::json(200, &json!({"found": true})),
        "/away" => Answer::redirect(308, &elsewhere),
        "/down" => Answer::redirect(301, "file:///etc/passwd"),
        "/lost" => Answer(302, String::new(), Vec::new()),
        _ => Answer::redirect(302, "/again"),
    })
    .await;
    let http = fake.http().await;
    let mut headers = HeaderMap::new();
    headers.insert("x-secret", HeaderValue::from_static("1"));
    let get = async |path: &str| {
        http.get(&url(&format!("{}{path}", fake.origin)), &headers)
            .await
    };
    let reply = get("/one").await.expect("within the origin");
    assert!(reply.json().expect("an object").contains_key("found"));
    for path in ["/away", "/down", "/lost", "/again"] {
        let error = get(path).await.expect_err(path);
        assert!(
            matches!(error, OAuthHttpError::Redirected(_)),
            "{path} {error:?}"
        );
    }
    assert!(other.asked().is_empty());
    assert_eq!(
        fake.targets()
            .iter()
            .filter(|path| *path == "/again")
            .count(),
        4
    );
}

#[tokio::test]
async fn what_is_sent_is_small_and_what_is_read_is_bounded() {
    let fake = Fake::start(|_, asked| match asked.target.as_str() {
        "/big" => Answer(200, String::new(), vec![b'x'; MAX_BODY + 1]),
        "/full" => Answer(200, String::new(), vec![b'x'; MAX_BODY]),
        _ => Answer::html(503),
    })
    .await;
    let http = fake.http().await;
    let get = async |path: &str| {
        http.get(&url(&format!("{}{path}", fake.origin)), &HeaderMap::new())
            .await
    };
    assert!(matches!(get("/big").await, Err(OAuthHttpError::Refused(_))));
    assert_eq!(get("/full").await.expect("the limit").body.len(), MAX_BODY);
    let reply = get("/page").await.expect("any status");
    assert_eq!((reply.status.as_u16(), reply.json()), (503, None));
    let head = &fake.asked()[0].head;
    for absent in ["cookie", "authorization", "origin", "referer"] {
        assert!(!head.contains(absent), "{head}");
    }
    assert!(!format!("{reply:?}").contains("s3cret"));
}

#[tokio::test]
async fn the_users_proxy_may_be_anywhere_and_looks_the_names_up() {
    let proxy = Fake::start(|_, _| Answer::html(502)).await;
    let proxies = ProxySettings {
        https: proxy.origin.replace("127.0.0.1", "localhost"),
        ..ProxySettings::default()
    };
    let http = behind("https://mcp.invalid/", proxies, &Names::of_system()).await;
    let get = async |text: &str| http.get(&url(text), &HeaderMap::new()).await;
    assert!(get("https://as.invalid/x").await.is_err());
    assert_eq!(proxy.targets(), ["as.invalid:443"]);
    for text in [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://10.0.0.1/",
    ] {
        assert!(
            matches!(get(text).await, Err(OAuthHttpError::Refused(_))),
            "{text}"
        );
    }
    assert_eq!(proxy.asked().len(), 1);
}

/// Asks on behalf of a server in an environment with these proxies.
async fn behind(server: &str, proxies: ProxySettings, names: &Names) -> OAuthHttp {
    let mut identity = identity(server);
    identity.network.proxy = proxies.proxy_for(identity.server.url());
    identity.proxies = proxies;
    let http = OAuthHttp::new(&HttpClients::default(), names, &identity).await;
    http.expect("nothing is wrong with the proxies")
}

#[tokio::test]
async fn each_url_has_the_proxy_that_is_meant_for_it() {
    let proxy = Fake::start(|_, _| Answer::html(502)).await;
    let names = Names::looked_up_by(|name| {
        let here = name == "mcp.internal";
        let address = if here { [10, 0, 0, 1] } else { [1, 1, 1, 1] };
        Box::pin(async move { Ok(vec![SocketAddr::from((address, 0))]) })
    });
    let proxies = |no: &str| ProxySettings {
        https: proxy.origin.clone(),
        no: no.to_owned(),
        ..ProxySettings::default()
    };
    // The server is near, its authorization server behind the company's proxy.
    let http = behind("https://mcp.internal/mcp", proxies(".internal"), &names).await;
    let _refused = http
        .get(&url("https://as.invalid/"), &HeaderMap::new())
        .await;
    assert_eq!(proxy.targets(), ["as.invalid:443"]);
    // And the other way round.
    let near = Fake::start(|_, _| Answer::html(200)).await;
    let http = behind("https://mcp.invalid/mcp", proxies("127.0.0.1"), &names).await;
    let way = http.client(&url(&near.origin)).expect("a way");
    let reply = answered(&url(&near.origin), way.get(near.origin.clone())).await;
    assert_eq!(reply.expect("it is near").status(), 200);
    assert_eq!(proxy.targets(), ["as.invalid:443"]);
}

/// Leads here at first, and then elsewhere.
fn turning() -> Names {
    static ASKED: AtomicBool = AtomicBool::new(false);
    ASKED.store(false, Ordering::Relaxed);
    Names::looked_up_by(|_| {
        let again = ASKED.swap(true, Ordering::Relaxed);
        let address = if again { [1, 1, 1, 1] } else { [127, 0, 0, 1] };
        Box::pin(async move { Ok(vec![SocketAddr::from((address, 0))]) })
    })
}

#[tokio::test]
async fn a_name_that_turns_away_from_this_machine_may_not_lead_back_to_it() {
    let names = turning();
    let server = "https://turning.example/mcp";
    let http = behind(server, ProxySettings::default(), &names).await;
    // It seemed to be here; what answers elsewhere by its name is not believed.
    let error = http.get(&url(server), &HeaderMap::new()).await;
    let error = error.expect_err("that is another server").to_string();
    assert!(error.contains("resolves to a public address"), "{error}");
    // From now on it is known to be elsewhere.
    let http = behind(server, ProxySettings::default(), &names).await;
    for text in ["https://localhost/", "https://127.0.0.1/"] {
        let refused = http.check(&url(text));
        assert!(matches!(refused, Err(OAuthHttpError::Refused(_))), "{text}");
    }
}

#[tokio::test]
async fn a_server_without_encryption_is_signed_in_to_by_header_only() {
    let http = http_of("http://192.168.0.9/mcp").await;
    let error = http.check(&url("http://192.168.0.9/.well-known/x"));
    let error = error.expect_err("it is not encrypted").to_string();
    assert!(error.contains("--header 'Authorization:"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_waited_for_within_bounds() {
    let target = url("https://h/token?code=s3cret");
    let error = in_time(&target, std::future::pending()).await;
    assert_eq!(
        error.expect_err("nobody answers").to_string(),
        "https://h/token did not answer within 20 s"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_may_be_tried_again() {
    let fake = Fake::start(|_, _| Answer::html(200)).await;
    let target = url(&fake.origin);
    let http = fake.http().await;
    drop(fake);
    let error = http.get(&target, &HeaderMap::new()).await;
    let error = error.expect_err("it is gone");
    assert!(matches!(error, OAuthHttpError::Unanswered(_)), "{error:?}");
}

#[tokio::test]
async fn connections_are_not_kept_until_the_server_closes_them() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
    let listener = listener.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("it is bound"));
    let http = http_of(&origin).await;
    let (target, no_headers) = (url(&origin), HeaderMap::new());
    let serving = async {
        let (mut stream, _) = listener.accept().await.expect("it listens");
        let mut request = [0; 4096];
        let read = stream.read(&mut request).await.expect("a request");
        assert_ne!(read, 0);
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(answer).await.expect("it reads");
        stream
    };
    let (reply, mut stream) = tokio::join!(http.get(&target, &no_headers), serving);
    assert!(reply.expect("answered").status.is_success());
    // A server that keeps it for long sees it go.
    let mut rest = [0; 1];
    let gone = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut rest)).await;
    assert_eq!(gone.expect("it is closed in time").ok(), Some(0));
}
