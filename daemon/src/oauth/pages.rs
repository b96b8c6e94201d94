//! The pages that a browser sees at the end of a sign-in. Pure.
//!
//! Whatever a server or an attacker says is shown as text: it cannot become
//! markup, and the pages may load, run and submit nothing.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use url::Url;

/// Longest foreign text on a page, in characters.
const MAX_TEXT: usize = 500;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;min-height:100vh;display:grid;place-items:center;\
font:16px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif;\
background:#f4f5f7;color:#1c1e21}\
main{box-sizing:border-box;width:min(30rem,calc(100vw - 2rem));padding:2.5rem;\
background:#fff;border-radius:.75rem;box-shadow:0 1px 3px #0002,0 8px 24px #0001}\
.mark{width:3rem;height:3rem;border-radius:50%;display:grid;place-items:center;\
font-size:1.5rem;color:#fff;background:#1a7f37}\
.mark.no{background:#b42318}\
.mark.note{background:#5c6370}\
h1{margin:1.25rem 0 .5rem;font-size:1.375rem;line-height:1.3}\
p{margin:.5rem 0 0}\
.name{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.9375rem;overflow-wrap:anywhere;unicode-bidi:isolate}\
.said{margin:1rem 0;padding:.75rem 1rem;border-left:3px solid #b42318;background:#b4231812;overflow-wrap:anywhere;unicode-bidi:isolate}\
.rest{color:#5c6370}\
@media(prefers-color-scheme:dark){body{background:#16181c;color:#e6e8eb}\
main{background:#202329;box-shadow:none}.rest{color:#9aa1ac}}";

/// What became of an answer to a sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The tokens are kept.
    SignedIn {
        /// The server, for people.
        server: String,
        /// Where the browser goes instead of to our page.
        next: Option<Url>,
    },
    /// The sign-in has ended without tokens.
    Failed {
        /// The server, for people.
        server: String,
        /// The command that begins another one.
        login: String,
        /// Why, in one sentence; may quote the server.
        why: String,
    },
    /// This was not the answer; the sign-in goes on.
    StillWaiting {
        /// Why not.
        why: String,
    },
}

/// Why a request to the redirect listener is not an answer to a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another method than GET.
    Method,
    /// Another host than the listener's, or sent by a page and not by a person.
    Foreign,
    /// Another path.
    Path,
    /// No `state`, or none that is waited for.
    State,
    /// Too many answers at once.
    Busy,
}

/// What a page is about at a glance.
#[derive(Debug, Clone, Copy)]
enum Mark {
    Good,
    Bad,
    /// Nothing happened.
    Note,
}

/// A page as it goes to the browser.
pub(crate) type Page = Response<Full<Bytes>>;

/// Returns the page that says what became of an answer.
pub(crate) fn verdict(verdict: &Verdict) -> Page {
    match verdict {
        Verdict::SignedIn {
            next: Some(next), ..
        } => redirect(next),
        Verdict::SignedIn { server, next: None } => {
            let body = format!(
                "{}<p class=\"rest\">mcp-remote can use this server now.</p>\
<p class=\"rest\">You can close this tab.</p>",
                name(server)
            );
            page(StatusCode::OK, Mark::Good, "You are signed in", &body)
        }
        Verdict::Failed { server, login, why } => {
            let body = format!(
                "{}{}<p class=\"rest\">You can close this tab. To try again, run:</p>\
<p class=\"name\">{}</p>",
                name(server),
                said(why),
                escaped(login)
            );
            page(
                StatusCode::BAD_REQUEST,
                Mark::Bad,
                "The sign-in failed",
                &body,
            )
        }
        Verdict::StillWaiting { why } => {
            let body = format!(
                "{}<p class=\"rest\">The sign-in is still waiting for its answer.</p>",
                said(why)
            );
            page(
                StatusCode::BAD_REQUEST,
                Mark::Bad,
                "This was not accepted",
                &body,
            )
        }
    }
}

/// Returns the page for a request that is no answer.
pub(crate) fn refusal(refusal: Refusal) -> Page {
    let (status, text) = match refusal {
        Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "Only GET is answered here."),
        Refusal::Foreign => (
            StatusCode::FORBIDDEN,
            "This address only takes a browser back from a sign-in.",
        ),
        Refusal::Path => (StatusCode::NOT_FOUND, "There is nothing at this address."),
        Refusal::State => (
            StatusCode::BAD_REQUEST,
            "No sign-in is waiting for this answer. It may be done already: you can close this tab.",
        ),
        Refusal::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many answers at once. Reload this page.",
        ),
    };
    let mut page = page(
        status,
        Mark::Note,
        "Nothing to do here",
        &format!("<p>{text}</p>"),
    );
    if refusal == Refusal::Method {
        page.headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
    }
    page
}

fn name(server: &str) -> String {
    format!("<p class=\"name\">{}</p>", escaped(server))
}

/// A sentence; inside of others it began in lower case.
fn said(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    let sentence: String = first.into_iter().chain(rest.take(MAX_TEXT)).collect();
    format!("<p class=\"said\">{}</p>", escaped(&sentence))
}

fn page(status: StatusCode, mark: Mark, title: &str, body: &str) -> Page {
    let mark = match mark {
        Mark::Good => "<div class=\"mark\" aria-hidden=\"true\">&#10003;</div>",
        Mark::Bad => "<div class=\"mark no\" aria-hidden=\"true\">!</div>",
        Mark::Note => "<div class=\"mark note\" aria-hidden=\"true\">i</div>",
    };
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
<title>{title} - mcp-remote</title><style>{STYLE}</style></head>\
<body><main>{mark}<h1>{title}</h1>{body}</main></body></html>"
    );
    respond(status, html)
}

/// 303: whatever method brought the browser here, it goes on with GET.
fn redirect(next: &Url) -> Page {
    let mut page = respond(StatusCode::SEE_OTHER, String::new());
    if let Ok(location) = HeaderValue::from_str(next.as_str()) {
        page.headers_mut().insert(LOCATION, location);
    }
    page
}

fn respond(status: StatusCode, html: String) -> Page {
    let mut response = Response::new(Full::new(Bytes::from(html)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // The address holds the code, which the next page need not know.
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Foreign text as HTML text.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars().take(MAX_TEXT) {
        match character {
            control if control.is_control() => escaped.push(' '),
            '&' | '<' | '>' | '"' | '\'' | '`' => {
                write!(escaped, "&#{};", u32::from(character)).expect("a String takes everything");
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn html(page: Page) -> String {
        let body = futures_util::FutureExt::now_or_never(page.into_body().collect());
        let body = body.expect("a full body is ready").expect("infallible");
        String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8")
    }

    #[test]
    fn what_a_server_says_is_text() {
        for hostile in [
            "<script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>",
            "</main><h1>You are signed in</h1>",
            "'`&lt;",
            "\u{1b}[31mred\r\nSet-Cookie: a=b",
        ] {
            let failed = Verdict::Failed {
                server: hostile.into(),
                login: hostile.into(),
                why: hostile.into(),
            };
            let html = html(verdict(&failed));
            let tail = html.split("<body>").nth(1).expect("a body");
            for forbidden in ["<script", "<img", "\u{1b}", "\r", "`"] {
                assert!(!tail.contains(forbidden), "{tail}");
            }
            assert_eq!(tail.matches("<h1>").count(), 1, "{tail}");
        }
        let long = Verdict::StillWaiting {
            why: "x".repeat(1_000_000),
        };
        assert!(html(verdict(&long)).len() < 10_000);
    }

    #[test]
    fn pages_may_do_nothing_and_are_not_kept() {
        for page in [
            refusal(Refusal::State),
            verdict(&Verdict::SignedIn {
                server: "s".into(),
                next: None,
            }),
        ] {
            let header = |name| page.headers()[&name].to_str().expect("ASCII").to_owned();
            assert!(header(CONTENT_SECURITY_POLICY).starts_with("default-src 'none'"));
            assert_eq!(header(CACHE_CONTROL), "no-store");
            assert_eq!(header(REFERRER_POLICY), "no-referrer");
            assert_eq!(header(X_CONTENT_TYPE_OPTIONS), "nosniff");
        }
    }

    #[test]
    fn a_success_names_the_server_or_leads_on() {
        let page = verdict(&Verdict::SignedIn {
            server: "https://h/mcp".into(),
            next: None,
        });
        assert_eq!(page.status(), StatusCode::OK);
        let text = html(page);
        assert!(text.contains("https://h/mcp") && text.contains("close this tab"));
        let page = verdict(&Verdict::SignedIn {
            server: "s".into(),
            next: Url::parse("https://app.example/done").ok(),
        });
        assert_eq!(page.status(), StatusCode::SEE_OTHER);
        assert_eq!(page.headers()[LOCATION], "https://app.example/done");
    }
}
