use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

struct Waiting {
    loopback: Loopback,
    listening: Listening,
    answers: Answers,
}

fn waiting() -> Waiting {
    let loopback = Loopback::new(TaskTracker::new());
    // Somebody else's test may use the first.
    let listening = loopback.listen(PortChoice::From(43_210)).expect("free");
    let state = Secret::new("right".to_owned());
    let answers = listening.expect(&state, "localhost", "/oauth/callback");
    Waiting {
        loopback,
        listening,
        answers,
    }
}

async fn send(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("listens");
    // The server may refuse before it has read everything.
    drop(stream.write_all(request.as_bytes()).await);
    let mut response = Vec::new();
    drop(stream.read_to_end(&mut response).await);
    String::from_utf8_lossy(&response).into_owned()
}

async fn get(port: u16, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    send(port, &request).await
}

fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or("none")
}

async fn accept(answers: &mut Answers) -> String {
    let answer = answers.next().await.expect("expected");
    let query = answer.query.reveal().clone();
    let signed_in = Verdict::SignedIn {
        server: "https://h/mcp".into(),
        next: None,
    };
    answer.verdict.send(signed_in).expect("the browser waits");
    query
}

#[tokio::test]
async fn the_right_answer_arrives_and_its_page_says_what_became_of_it() {
    let mut waiting = waiting();
    let port = waiting.listening.port();
    let (response, query) = tokio::join!(
        get(port, "/oauth/callback?code=c&state=right"),
        accept(&mut waiting.answers)
    );
    assert_eq!(query, "code=c&state=right");
    assert_eq!(status(&response), "200");
    assert!(response.contains("https://h/mcp"), "{response}");
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn everything_else_is_refused_and_the_sign_in_still_waits() {
    let mut waiting = waiting();
    let port = waiting.listening.port();
    let path = "/oauth/callback?code=c&state=right";
    for (target, expected) in [
        ("/oauth/callback", "400"),
        ("/oauth/callback?code=junk", "400"),
        ("/oauth/callback?error=access_denied", "400"),
        ("/oauth/callback?code=c&state=", "400"),
        ("/oauth/callback?code=c&state=wrong", "400"),
        ("/oauth/callback?code=c&state=..%2f..%2fright", "400"),
        ("/oauth/callback?code=c&state=right&state=right", "400"),
        ("/oauth/callback/?code=c&state=right", "404"),
        ("/favicon.ico", "404"),
        ("/", "404"),
    ] {
        assert_eq!(status(&get(port, target).await), expected, "{target}");
    }
    for (head, expected) in [
        (
            format!("POST {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 0"),
            "405",
        ),
        (
            format!("HEAD {path} HTTP/1.1\r\nHost: localhost:{port}"),
            "405",
        ),
        (
            format!("GET {path} HTTP/1.1\r\nHost: evil.example:{port}"),
            "403",
        ),
        (format!("GET {path} HTTP/1.1\r\nHost: localhost"), "403"),
        (format!("GET {path} HTTP/1.1\r\nHost: localhost:1"), "403"),
        (
            format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nHost: evil.example"),
            "403",
        ),
        (format!("GET {path} HTTP/1.0"), "403"),
        (
            format!(
                "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: https://evil.example"
            ),
            "403",
        ),
        (
            format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nSec-Fetch-Mode: no-cors"),
            "403",
        ),
        (
            format!(
                "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe"
            ),
            "403",
        ),
    ] {
        let response = send(port, &format!("{head}\r\n\r\n")).await;
        assert_eq!(status(&response), expected, "{head}");
    }
    let long = "x".repeat(1_000_000);
    let response = get(port, &format!("/oauth/callback?state=right&code={long}")).await;
    assert!(!response.starts_with("HTTP/1.1 2"), "{response}");
    let (response, _) = tokio::join!(get(port, path), accept(&mut waiting.answers));
    assert_eq!(status(&response), "200");
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out() {
    let mut waiting = waiting();
    let port = waiting.listening.port();
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(
            TcpStream::connect(("127.0.0.1", port))
                .await
                .expect("listens"),
        );
    }
    let answered = async {
        tokio::join!(
            get(port, "/oauth/callback?code=c&state=right"),
            accept(&mut waiting.answers)
        )
    };
    let (response, _) = tokio::time::timeout(std::time::Duration::from_secs(4), answered)
        .await
        .expect("before the silent ones are given up");
    assert_eq!(status(&response), "200");
}

#[tokio::test]
async fn a_thousand_wrong_answers_at_once_do_no_harm() {
    let mut waiting = waiting();
    let port = waiting.listening.port();
    let mut flood = tokio::task::JoinSet::new();
    for at in 0..1000 {
        flood.spawn(async move { get(port, &format!("/oauth/callback?code=c&state={at}")).await });
    }
    while flood.join_next().await.is_some() {}
    let (response, _) = tokio::join!(
        get(port, "/oauth/callback?code=c&state=right"),
        accept(&mut waiting.answers)
    );
    assert_eq!(status(&response), "200");
}

#[tokio::test]
async fn it_listens_only_while_something_is_expected_and_once_for_all() {
    let Waiting {
        loopback,
        listening,
        answers,
    } = waiting();
    let port = listening.port();
    let second = loopback.listen(PortChoice::Strict(port)).expect("shared");
    drop((listening, answers));
    assert_eq!(
        status(&get(port, "/oauth/callback?state=right").await),
        "404"
    );
    drop(second);
    let closed = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), closed)
        .await
        .expect("the listener goes");
    // Free again for whoever wants it.
    drop(loopback.listen(PortChoice::Strict(port)).expect("free"));
}

#[tokio::test]
async fn a_port_that_is_taken_is_passed_over_unless_it_has_to_be_that_one() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("free");
    let port = taken.local_addr().expect("bound").port();
    let loopback = Loopback::new(TaskTracker::new());
    let refused = loopback.listen(PortChoice::Strict(port));
    assert!(matches!(refused, Err(ListenError::Taken(..))));
    let next = loopback.listen(PortChoice::From(port)).expect("the next");
    assert_ne!(next.port(), port);
}

#[tokio::test]
async fn a_pasted_answer_is_as_good_as_a_redirect() {
    let mut waiting = waiting();
    let loopback = waiting.loopback.clone();
    for wrong in [
        "",
        "right",
        "http://localhost/?code=c",
        "http://x/?state=wrong",
    ] {
        assert_eq!(loopback.answer(wrong).await, None, "{wrong}");
    }
    let pasted = " http://localhost:1/oauth/callback?code=c&state=right#x\n";
    let (verdict, query) = tokio::join!(loopback.answer(pasted), accept(&mut waiting.answers));
    assert!(matches!(verdict, Some(Verdict::SignedIn { .. })));
    assert_eq!(query, "code=c&state=right");
}
