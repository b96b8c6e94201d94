//! What a server, a person who is away or an outage can make us do, and for how long
//! anybody waits for it.

use std::sync::Mutex;
use std::time::Duration;

use mcp_remote_proto::v1::Display;
use tokio::time::Instant;

use self::setup::Daemon;
use super::*;
use crate::oauth::browsers::{Attending, OpenBrowser};

const MINUTE: Duration = Duration::from_secs(60);

/// A screen on which tabs are opened.
#[derive(Debug)]
struct Screen {
    tabs: Arc<Mutex<Vec<String>>>,
    _attending: Attending,
}

impl Screen {
    fn tabs(&self) -> usize {
        self.tabs.lock().expect("no test panics in it").len()
    }
}

impl Daemon {
    /// Waits at a screen. Its browser is opened when that is asked for; nobody looks.
    fn screen(&self, asked_for: bool) -> Screen {
        let (ask, mut asked) = tokio::sync::mpsc::channel::<OpenBrowser>(1);
        let display = Display {
            may_open_browser: true,
            ..Display::default()
        };
        let browsers = &self.tools.browsers;
        let attending = browsers.attend(self.source.hash(), &display, ask, asked_for);
        let tabs = Arc::new(Mutex::new(Vec::new()));
        let opened = tabs.clone();
        self.tasks.spawn(async move {
            while let Some(asked) = asked.recv().await {
                let url = asked.url.as_str().to_owned();
                opened.lock().expect("no test panics in it").push(url);
                assert_eq!(asked.opened.send(true), Ok(()), "it waits");
            }
        });
        Screen {
            tabs,
            _attending: attending,
        }
    }
}

/// What somebody is told for whom no sign-in is begun.
fn refused(answer: Result<AccessToken, TokenError>) -> String {
    match answer {
        Err(TokenError::Rejected(why)) => why,
        other => panic!("it is not refused: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_lacks_another_scope_each_time_asks_three_times() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let mut token = daemon.source.current().expect("signed in");
    for number in 0..3 {
        let scope = format!("s{number}");
        let url = page(daemon.step_up_for("tools/call x", &token, &scope).await);
        token = daemon.sign_in(&url, Some(&token)).await;
        token.accept();
    }
    refused(daemon.step_up_for("tools/call x", &token, "s3").await);
    assert_eq!(setup.world.facts().exchanges, 3);
}

#[tokio::test(start_paused = true)]
async fn whatever_asks_for_sign_ins_no_more_than_ten_tabs_open_in_an_hour() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let screen = daemon.screen(false);
    let mut token = daemon.source.current().expect("signed in");
    for number in 0..10 {
        let operation = format!("tools/call x{number}");
        let url = page(daemon.step_up_for(&operation, &token, "s").await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        token = daemon.sign_in(&url, Some(&token)).await;
    }
    assert_eq!(screen.tabs(), 10);
    let url = page(daemon.step_up_for("tools/call y", &token, "s").await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(screen.tabs(), 10, "it is only named");
    daemon.sign_in(&url, Some(&token)).await;
    tokio::time::sleep(HOUR).await;
    token = daemon.source.current().expect("signed in");
    page(daemon.step_up_for("tools/call z", &token, "s").await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(screen.tabs(), 11);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_some_accept_and_one_never_does_is_not_renewed_for_ever() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let mut token = daemon.source.current().expect("signed in");
    for _ in 0..6 {
        token.accept();
        token = daemon.renew(Some(&token)).await.expect("renewed");
    }
    token.accept();
    for _ in 0..100 {
        refused(daemon.renew(Some(&token)).await);
    }
    assert_eq!(setup.world.facts().refreshes, 6);
    tokio::time::sleep(MINUTE).await;
    daemon.renew(Some(&token)).await.expect("renewed");
}

#[tokio::test(start_paused = true)]
async fn who_asks_the_same_way_over_another_network_is_not_asked_again() {
    let setup = Setup::new();
    let daemon = setup.start();
    let url = page(daemon.renew(None).await);
    daemon.come_back(&url, "error=access_denied").await;
    drop(daemon.source.signed_in(None).await);
    let success = url::Url::parse("https://x.example/a").expect("a URL");
    for success_url in [Some(success), None].into_iter().cycle().take(6) {
        daemon.source.use_identity(Identity {
            success_url,
            ..Setup::identity()
        });
        let answer = daemon.renew(None).await;
        assert!(
            matches!(answer, Err(TokenError::LoginRequired { sign_in: None, .. })),
            "{answer:?}"
        );
    }
    // As another client it may go well, once.
    for (allow_missing_pkce, asked) in [(true, true), (false, false), (true, false)] {
        daemon.source.use_identity(Identity {
            allow_missing_pkce,
            ..Setup::identity()
        });
        let answer = daemon.renew(None).await;
        let Err(TokenError::LoginRequired { sign_in, .. }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(sign_in.is_some(), asked, "{allow_missing_pkce}");
        if let Some(sign_in) = sign_in {
            let url = sign_in.url.as_str();
            daemon.come_back(url, "error=access_denied").await;
            drop(daemon.source.signed_in(None).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_refusals_of_one_new_token_count_once_and_not_after_it_is_accepted() {
    let setup = Setup::new();
    let daemon = setup.start();
    let url = page(daemon.renew(None).await);
    let token = daemon.sign_in(&url, None).await;
    let asking = (0..8).map(|_| daemon.renew(Some(&token)));
    for answer in futures_util::future::join_all(asking).await {
        assert_eq!(answer.as_ref(), Ok(&token), "once more");
    }
    let asking = (0..8).map(|_| daemon.renew(Some(&token)));
    for answer in futures_util::future::join_all(asking).await {
        refused(answer);
    }
    token.accept();
    setup.world.revoke_all();
    // Nobody has to wait for that.
    page(daemon.renew(Some(&token)).await);
}

#[tokio::test(start_paused = true)]
async fn many_refusals_of_one_new_token_are_one_pause_of_a_minute() {
    let setup = Setup::new();
    let daemon = setup.start();
    let url = page(daemon.renew(None).await);
    let token = daemon.sign_in(&url, None).await;
    drop(daemon.renew(Some(&token)).await);
    for _ in 0..8 {
        refused(daemon.renew(Some(&token)).await);
    }
    setup.world.revoke_all();
    tokio::time::sleep(MINUTE).await;
    page(daemon.renew(Some(&token)).await);
}

#[tokio::test(start_paused = true)]
async fn a_new_token_is_sent_once_more_before_anybody_is_asked() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let old = daemon.source.current().expect("signed in");
    let new = daemon.renew(Some(&old)).await.expect("renewed");
    let began = Instant::now();
    let asking = (0..50).map(|_| daemon.renew(Some(&new)));
    for answer in futures_util::future::join_all(asking).await {
        assert_eq!(answer.as_ref(), Ok(&new));
    }
    let took = began.elapsed();
    assert!((1..=2).contains(&took.as_secs()), "{took:?}");
    assert_eq!(setup.world.facts().refreshes, 1);
    page(daemon.renew(Some(&new)).await);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_next_request_works() {
    // Whenever it ends within a pause of a minute.
    for length in [600, 615, 630, 645] {
        let setup = Setup::new();
        let daemon = setup.signed_in().await;
        setup.world.facts().mode = Mode::Down;
        let old = daemon.source.current().expect("signed in");
        for _ in 0..length {
            let answer = daemon.renew(Some(&old)).await;
            assert!(matches!(answer, Err(TokenError::Transient(_))));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let attempts = setup.world.facts().refreshes;
        assert!(attempts <= length / 5 + 5, "{attempts} in {length} s");
        setup.world.facts().mode = Mode::Works;
        tokio::time::sleep(Duration::from_secs(5)).await;
        daemon.renew(Some(&old)).await.expect("renewed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_all_night_opens_one_tab() {
    let setup = Setup::new();
    let daemon = setup.start();
    let screen = daemon.screen(false);
    for _ in 0..8 * 60 {
        let answer = daemon.renew(None).await;
        assert!(
            matches!(answer, Err(TokenError::LoginRequired { .. })),
            "{answer:?}"
        );
        tokio::time::sleep(MINUTE).await;
    }
    assert_eq!(screen.tabs(), 1);
    let registrations = setup.world.facts().registrations;
    // Of the page that was shown nobody knows whether it knew the client.
    assert!(registrations <= 2, "{registrations}");
    // In the morning it is named, and opened for whoever asks.
    let url = page(daemon.renew(None).await);
    let person = daemon.screen(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((person.tabs(), screen.tabs()), (1, 1));
    let token = daemon.sign_in(&url, None).await;
    // Somebody is there again.
    drop(person);
    token.accept();
    setup.world.revoke_all();
    page(daemon.renew(Some(&token)).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(screen.tabs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_logout_waits_for_no_server_for_long() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    setup.world.facts().mode = Mode::LosesRequest;
    let old = daemon.source.current().expect("signed in");
    let mut asked = setup.world.asked.subscribe();
    tokio::select! {
        _ = daemon.renew(Some(&old)) => panic!("there is no answer"),
        _ = asked.changed() => {}
    }
    let began = Instant::now();
    let done = daemon.source.log_out().await;
    assert!(done.was_signed_in);
    assert!(began.elapsed() <= Duration::from_secs(13));
    let note = done.notes.first().expect("it did not go as hoped");
    assert!(note.contains("not revoked"), "{note}");
    assert_eq!(
        (daemon.source.current(), setup.stored().await),
        (None, None)
    );
    // What the refresh had is over.
    tokio::time::sleep(MINUTE).await;
    assert_eq!(daemon.source.status().borrow().state, AuthState::Anonymous);
    page(daemon.renew(None).await);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_files_does_not_wait_for_a_server_for_long() {
    let setup = Setup::new();
    setup.signed_in().await.stop().await;
    sleep(5 * HOUR);
    setup.world.facts().mode = Mode::LosesRequest;
    let daemon = setup.start();
    let began = Instant::now();
    daemon.source.ready().await;
    assert!(began.elapsed() <= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn tokens_that_nobody_can_renew_are_not_kept_after_their_end() {
    let setup = Setup::new();
    setup.world.facts().no_refresh = true;
    let daemon = setup.signed_in().await;
    tokio::time::sleep(HOUR + HOUR / 2).await;
    assert!(setup.stored().await.is_some(), "clocks may be wrong");
    tokio::time::sleep(HOUR).await;
    assert_eq!(setup.stored().await, None);
    // Others who sign in meanwhile keep what they have.
    let url = page(daemon.renew(daemon.source.current().as_ref()).await);
    daemon.come_back(&url, "code=good").await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(setup.stored().await.as_deref(), Some("access-2"));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_without_a_new_id_token_says_so_and_is_not_sent_in_vain() {
    let setup = Setup::new();
    setup.world.facts().id_token = Some("id-1");
    let daemon = setup.signed_in().await;
    daemon.source.use_identity(Identity {
        use_id_token: true,
        ..Setup::identity()
    });
    let mut held = daemon.source.held.clone();
    let is_id = |held: &Held| {
        let token = held.token.as_ref();
        token.is_some_and(|token| token.text() == Some("id-1"))
    };
    // The newest shim says which token is sent.
    held.wait_for(is_id).await.expect("the actor lives");
    let old = daemon.source.current().expect("signed in");
    setup.world.facts().id_token = None;
    page(daemon.renew(Some(&old)).await);
    let trouble = daemon.source.status().borrow().trouble.clone();
    assert!(
        trouble
            .as_ref()
            .is_some_and(|why| why.contains("--use-id-token")),
        "{trouble:?}"
    );
    assert_eq!(setup.world.facts().refreshes, 1);
}

#[tokio::test(start_paused = true)]
async fn scopes_that_were_refused_are_not_asked_for_again() {
    let setup = Setup::new();
    setup.world.facts().no_refresh = true;
    let daemon = setup.signed_in().await;
    let token = daemon.source.current().expect("signed in");
    let url = page(daemon.step_up(&token, "write").await);
    let token = daemon.sign_in(&url, Some(&token)).await;
    token.accept();
    let url = page(daemon.renew(Some(&token)).await);
    assert!(url.contains("write"), "{url}");
    daemon.come_back(&url, "error=invalid_scope").await;
    drop(daemon.source.signed_in(Some(&token)).await);
    tokio::time::sleep(MINUTE).await;
    let url = page(daemon.renew(Some(&token)).await);
    assert!(!url.contains("write") && url.contains("read"), "{url}");
}
