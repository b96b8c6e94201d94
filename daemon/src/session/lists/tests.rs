use super::*;
use crate::upstream::UpstreamError;

const DECLARES: &[u8] =
    br#"{"id":0,"result":{"capabilities":{"tools":{"listChanged":true},"prompts":{}}}}"#;

fn envelope(text: &str) -> Envelope {
    Envelope::parse(Bytes::copy_from_slice(text.as_bytes())).expect("valid")
}

fn request(method: &str, params: &str) -> Envelope {
    envelope(&format!(r#"{{"id":1,"method":"{method}"{params}}}"#))
}

fn answer(text: &str) -> Envelope {
    envelope(&format!(r#"{{"id":7,"result":{{"n":"{text}"}}}}"#))
}

fn announced(method: &str) -> Inbound {
    Inbound::Message(envelope(&format!(r#"{{"method":"{method}"}}"#)))
}

fn ask(lists: &Lists) -> Option<Asked> {
    lists.ask(&request("tools/list", ""), CacheLists::Certain, || None)
}

fn is_kept(lists: &Lists) -> bool {
    ask(lists).is_some_and(|asked| lists.answer(&asked).is_some())
}

fn with_page() -> (Lists, Listening) {
    let lists = Lists::default();
    lists.opened(DECLARES);
    let listening = lists.listening();
    lists.keep(&ask(&lists).expect("certain"), &answer("a"));
    assert!(is_kept(&lists));
    (lists, listening)
}

#[test]
fn nothing_is_certain_without_a_stream_or_a_promise() {
    let lists = Lists::default();
    lists.opened(DECLARES);
    assert!(ask(&lists).is_none(), "no stream");
    let _listening = lists.listening();
    assert!(ask(&lists).is_some());
    for method in ["prompts/list", "resources/list", "tools/call"] {
        let asked = lists.ask(&request(method, ""), CacheLists::Certain, || None);
        assert!(asked.is_none(), "{method}");
    }
    let never = lists.ask(&request("tools/list", ""), CacheLists::Never, || None);
    assert!(never.is_none());
}

#[test]
fn what_may_have_changed_it_forgets_it() {
    let forget: [fn(&Lists); 4] = [
        |lists| lists.heard(&announced("notifications/tools/list_changed")),
        |lists| {
            let why = UpstreamError::Protocol("x".into());
            lists.heard(&Inbound::Skipped(None, why));
        },
        |lists| lists.opened(DECLARES),
        Lists::forget,
    ];
    for forget in forget {
        let (lists, _listening) = with_page();
        forget(&lists);
        assert!(!is_kept(&lists));
        assert_eq!(lists.lock().bytes, 0);
    }
    let (lists, listening) = with_page();
    drop(listening);
    let _again = lists.listening();
    assert!(!is_kept(&lists), "a gap");
    let (lists, _listening) = with_page();
    lists.heard(&announced("notifications/progress"));
    assert!(is_kept(&lists));
}

#[test]
fn a_list_under_way_while_something_happens_is_not_kept() {
    let happens: [fn(&Lists); 3] = [
        |lists| lists.heard(&announced("notifications/tools/list_changed")),
        |lists| lists.opened(DECLARES),
        |lists| std::mem::forget(lists.listening()),
    ];
    for happen in happens {
        let lists = Lists::default();
        lists.opened(DECLARES);
        let _listening = lists.listening();
        let asked = ask(&lists).expect("certain");
        happen(&lists);
        lists.keep(&asked, &answer("a"));
        assert!(!is_kept(&lists));
    }
}

#[test]
fn a_stream_that_was_replaced_ends_nothing() {
    let lists = Lists::default();
    lists.opened(DECLARES);
    let old = lists.listening();
    let _new = lists.listening();
    lists.keep(&ask(&lists).expect("certain"), &answer("a"));
    drop(old);
    assert!(is_kept(&lists));
}

#[test]
fn seconds_need_no_stream_and_end() {
    let lists = Lists::default();
    lists.opened(b"{}");
    let ask = |time| {
        let policy = CacheLists::For(time);
        lists
            .ask(&request("prompts/list", ""), policy, || None)
            .expect("always")
    };
    let long = Duration::from_secs(3600);
    lists.keep(&ask(long), &answer("a"));
    assert!(lists.answer(&ask(long)).is_some());
    assert!(lists.answer(&ask(Duration::from_nanos(1))).is_none());
    lists.heard(&announced("notifications/prompts/list_changed"));
    assert!(lists.answer(&ask(long)).is_none());
}

#[test]
fn pages_are_told_apart_by_their_params() {
    let keys = |params: &str| key("x/list", &request("x/list", params)).map(String::from);
    let bare = Some("x/list".to_owned());
    for params in [
        "",
        r#","params":{}"#,
        r#","params":{"_meta":{}}"#,
        r#","params":{"_meta":{"progressToken":3,"traceparent":"t"}}"#,
    ] {
        assert_eq!(keys(params), bare, "{params}");
    }
    let cursor = Some(r#"x/list "c""#.to_owned());
    assert_eq!(keys(r#","params":{"cursor":"c"}"#), cursor);
    assert_eq!(
        keys(r#","params":{"_meta":{"progressToken":1},"cursor":"c"}"#),
        cursor
    );
    assert_eq!(keys(r#","params":{"cursor":"\u0063"}"#), cursor);
    for params in [
        r#","params":{"cursor":"c","filter":1}"#,
        r#","params":{"_meta":{"who":"me"}}"#,
        r#","params":{"_meta":{},"filter":1}"#,
        r#","params":[1]"#,
    ] {
        assert_eq!(keys(params), None, "{params}");
    }
}

#[test]
fn a_page_needs_those_that_come_after_it() {
    let (lists, _listening) = with_page();
    let asked = |cursor: &str| {
        let params = match cursor {
            "" => String::new(),
            cursor => format!(r#","params":{{"cursor":"{cursor}"}}"#),
        };
        let asked = lists.ask(&request("tools/list", &params), CacheLists::Certain, || {
            None
        });
        asked.expect("certain")
    };
    let keep = |cursor: &str, next: &str| {
        let answer = format!(r#"{{"id":7,"result":{{"tools":[],"nextCursor":{next}}}}}"#);
        lists.keep(&asked(cursor), &envelope(&answer));
    };
    let is_kept = |cursor: &str| lists.answer(&asked(cursor)).is_some();
    keep("", r#""\u0061""#);
    assert!(!is_kept(""), "the second page is not here");
    keep("a", r#""b""#);
    assert!(!is_kept("") && !is_kept("a"), "the third page is not here");
    keep("b", "null");
    assert!(is_kept("") && is_kept("a") && is_kept("b"));
    keep("a", r#""b""#);
    assert!(is_kept(""), "the third page is still the third");
    // Another first page leads elsewhere; what the old one led to is not kept.
    keep("", r#""c""#);
    assert_eq!(lists.lock().pages.len(), 1);
    keep("c", r#""c""#);
    assert!(is_kept(""), "it has no end");
    lists.keep(&asked("z"), &envelope(r#"{"id":7,"error":{}}"#));
    assert!(lists.lock().pages.is_empty() && lists.lock().bytes == 0);
}

#[test]
fn memory_is_bounded() {
    let (lists, _listening) = with_page();
    for page in 0..1000 {
        let params = format!(r#","params":{{"cursor":{page}}}"#);
        let request = request("tools/list", &params);
        let asked = lists.ask(&request, CacheLists::Certain, || None);
        let asked = asked.expect("certain");
        lists.keep(&asked, &answer(&"x".repeat(100 * 1024)));
        lists.keep(&asked, &answer(&"x".repeat(MAX_PAGE)));
        let state = lists.lock();
        assert!(state.bytes <= MAX_BYTES && state.pages.len() <= MAX_PAGES);
    }
    lists.forget();
    let asked = ask(&lists).expect("certain");
    lists.keep(&asked, &answer(&"x".repeat(MAX_PAGE)));
    lists.keep(&asked, &envelope(r#"{"id":7,"error":{}}"#));
    assert!(!is_kept(&lists));
}

#[test]
fn the_flag_is_read() {
    for (text, policy) in [
        ("never", Some(CacheLists::Never)),
        ("0", Some(CacheLists::Never)),
        ("certain", Some(CacheLists::Certain)),
        ("90", Some(CacheLists::For(Duration::from_secs(90)))),
        ("-1", None),
        ("nan", None),
        ("always", None),
    ] {
        assert_eq!(CacheLists::parse(text), policy, "{text}");
    }
}
