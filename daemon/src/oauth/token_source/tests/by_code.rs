//! Sign-ins by code: when they are offered, how the server is asked, how they end,
//! and what the next daemon does with them.

use mcp_remote_proto::v1::Display;

use super::setup::Daemon;
use super::world::{ISSUER, Polled};
use super::*;
use crate::oauth::kept_device::KeptDevice;
use crate::oauth::kept_device::tests::kept;
use crate::oauth::sign_in::PendingSignIn;

fn offering(polled: Polled) -> Setup {
    let setup = Setup::new();
    setup.world.facts().device = Some(polled);
    setup
}

/// The identity of who wants a code.
fn wanting() -> Identity {
    Identity {
        by_code: true,
        ..Setup::identity()
    }
}

fn pending(answer: Result<AccessToken, TokenError>) -> PendingSignIn {
    match answer {
        Err(TokenError::LoginRequired {
            sign_in: Some(sign_in),
            ..
        }) => sign_in,
        other => panic!("nobody has to sign in: {other:?}"),
    }
}

fn code(answer: Result<AccessToken, TokenError>) -> String {
    let pending = pending(answer);
    let code = pending.url.code().expect("it is by code");
    code.code.clone()
}

impl Daemon {
    async fn explicitly(&self) -> Result<AccessToken, TokenError> {
        let wanting = Wanting {
            explicit: true,
            ..Wanting::default()
        };
        self.source.renew(None, None, wanting).await
    }

    async fn asked_about(&self, world: &world::World, times: usize) {
        let mut asked = world.asked.subscribe();
        let enough = asked.wait_for(|_| world.facts().polls.len() >= times);
        enough.await.expect("the world lives");
    }
}

/// Pauses between the times that the server was asked, in seconds.
fn pauses(setup: &Setup) -> Vec<u64> {
    let polls = setup.world.facts().polls.clone();
    let pairs = polls.windows(2);
    pairs.map(|pair| (pair[1] - pair[0]).as_secs()).collect()
}

fn is_kept(setup: &Setup) -> bool {
    let folder = setup.base.path().join("mcp-remote-d1");
    let mut entries = std::fs::read_dir(folder).expect("there").flatten();
    entries.any(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .ends_with("device_code.json")
    })
}

#[tokio::test(start_paused = true)]
async fn where_nobody_has_a_browser_a_code_is_offered_and_tokens_follow_it() {
    let setup = offering(Polled::Pending);
    let daemon = setup.start();
    assert_eq!(code(daemon.renew(None).await), "WDJB-MJHT");
    assert!(is_kept(&setup), "before anybody hears of it");
    daemon.asked_about(&setup.world, 3).await;
    setup.world.facts().device = Some(Polled::Entered);
    let token = daemon.source.signed_in(None).await.expect("signed in");
    assert!(setup.world.accepts(Some(&token)));
    assert_eq!(setup.stored().await.as_deref(), Some("access-1"));
    assert!(!is_kept(&setup));
    assert_eq!(pauses(&setup), [5, 5, 5]);
    // Renewed like any other.
    tokio::time::sleep(HOUR).await;
    assert!(setup.world.accepts(daemon.source.current().as_ref()));
    assert_eq!(setup.world.facts().registrations, 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_a_browser_or_forbids_it_gets_a_page() {
    for (may_open_browser, no_browser) in [(true, false), (false, true)] {
        let setup = offering(Polled::Pending);
        let daemon = setup.start();
        let display = Display {
            may_open_browser,
            no_browser,
            ..Display::default()
        };
        let (ask, _asked) = mpsc::channel(1);
        let hash = Setup::identity().hash();
        let browsers = &daemon.tools.browsers;
        let _attending = browsers.attend(&hash, &display, ask, false);
        let pending = pending(daemon.renew(None).await);
        assert!(pending.url.code().is_none());
        assert!(pending.offers_codes);
        // Who asks for a code gets one instead.
        daemon.source.use_identity(wanting());
        assert_eq!(code(daemon.explicitly().await), "WDJB-MJHT");
        setup.world.facts().device = Some(Polled::Entered);
        daemon.source.signed_in(None).await.expect("signed in");
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_not_to_be_had_is_a_page_unless_it_was_asked_for() {
    let setup = offering(Polled::Refuses);
    let daemon = setup.start();
    assert!(page(daemon.renew(None).await).starts_with(ISSUER));
    daemon.stop().await;

    for refuses in [true, false] {
        let setup = Setup::new();
        setup.world.facts().device = refuses.then_some(Polled::Refuses);
        let daemon = setup.start_as(wanting());
        let error = daemon.explicitly().await.expect_err("no code");
        assert!(matches!(error, TokenError::Rejected(_)), "{error}");
        let words = if refuses {
            "unauthorized_client"
        } else {
            "offers no sign-in by code"
        };
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(daemon.source.status().borrow().state, AuthState::NeedsLogin);
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_is_asked_as_seldom_as_it_says_and_less_in_an_outage() {
    let setup = offering(Polled::Pending);
    let daemon = setup.start();
    code(daemon.renew(None).await);
    for (polled, times) in [
        (Polled::SlowDown, 2),
        (Polled::Pending, 4),
        (Polled::Down, 6),
        (Polled::Entered, 7),
    ] {
        setup.world.facts().device = Some(polled);
        daemon.asked_about(&setup.world, times).await;
    }
    daemon.source.signed_in(None).await.expect("signed in");
    assert_eq!(pauses(&setup), [10, 15, 15, 15, 30, 60]);
}

#[tokio::test(start_paused = true)]
async fn each_end_is_one_sentence_and_the_next_request_may_begin_anew() {
    for (polled, words) in [
        (Polled::Denied, "access_denied"),
        (Polled::Unknown, "no such code"),
        (Polled::Down, "it is down"),
        (Polled::Pending, "nobody entered the code within 15 minutes"),
    ] {
        let setup = offering(polled);
        let daemon = setup.start();
        code(daemon.renew(None).await);
        let error = daemon.source.signed_in(None).await.expect_err("no token");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!is_kept(&setup), "{words}");
        let status = daemon.source.status().borrow().clone();
        assert_eq!(status.state, AuthState::NeedsLogin);
        assert!(status.sign_in.is_none());
        // A person who asks is never kept waiting.
        assert_eq!(code(daemon.explicitly().await), "WDJB-MJHT");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_codes_end_at_once_is_not_asked_for_one_after_another() {
    for (polled, life) in [(Polled::Expired, 900), (Polled::Pending, 3)] {
        let setup = offering(polled);
        setup.world.facts().code_life = Some(Duration::from_secs(life));
        let daemon = setup.start();
        code(daemon.renew(None).await);
        let error = daemon.source.signed_in(None).await.expect_err("no token");
        assert!(error.to_string().contains("already"), "{error}");
        let again = daemon.renew(None).await;
        let is_refused = matches!(again, Err(TokenError::LoginRequired { sign_in: None, .. }));
        assert!(is_refused, "{again:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn codes_that_nobody_enters_are_asked_for_more_and_more_seldom() {
    let setup = offering(Polled::Pending);
    let daemon = setup.start();
    for _ in 0..2 {
        code(daemon.renew(None).await);
        daemon.source.signed_in(None).await.expect_err("nobody");
    }
    let again = daemon.renew(None).await;
    let is_refused = matches!(again, Err(TokenError::LoginRequired { sign_in: None, .. }));
    assert!(is_refused, "{again:?}");
    // Whoever asks for one gets it.
    code(daemon.explicitly().await);
    setup.world.facts().device = Some(Polled::Entered);
    daemon.source.signed_in(None).await.expect("signed in");
}

#[tokio::test(start_paused = true)]
async fn the_next_daemon_goes_on_asking_about_the_same_code() {
    let setup = offering(Polled::Pending);
    let daemon = setup.start();
    let shown = pending(daemon.renew(None).await);
    daemon.asked_about(&setup.world, 1).await;
    daemon.stop().await;
    assert!(is_kept(&setup));

    let daemon = setup.start();
    daemon.source.ready().await;
    assert_eq!(pending(daemon.renew(None).await).url, shown.url);
    setup.world.facts().device = Some(Polled::Entered);
    daemon.source.signed_in(None).await.expect("signed in");
    assert_eq!(setup.world.facts().registrations, 1);
    assert!(!is_kept(&setup));
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_on_their_way_are_kept_before_the_daemon_ends() {
    let setup = offering(Polled::EnteredSlowly);
    let daemon = setup.start();
    code(daemon.renew(None).await);
    daemon.asked_about(&setup.world, 1).await;
    daemon.stop().await;
    assert_eq!(setup.stored().await.as_deref(), Some("access-1"));
    assert_eq!(setup.world.facts().polls.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_code_that_cannot_be_gone_on_with_is_one_new_sign_in() {
    let keep = async |setup: &Setup, kept: &KeptDevice| {
        let hash = Setup::identity().hash();
        setup.store().put_device(&hash, kept).await.expect("kept");
    };
    // Its tokens were given to the last daemon, and lost with it.
    let setup = offering(Polled::Unknown);
    let mut lost = kept();
    lost.since = world::now();
    keep(&setup, &lost).await;
    let daemon = setup.start();
    daemon.source.ready().await;
    let (mut status, world) = (daemon.source.status(), &setup.world);
    daemon.asked_about(world, 1).await;
    let ended = status.wait_for(|status| status.state != AuthState::SigningIn);
    assert_eq!(ended.await.expect("it lives").state, AuthState::Anonymous);
    assert_eq!(code(daemon.renew(None).await), "WDJB-MJHT");
    daemon.stop().await;

    // It has ended meanwhile.
    let setup = offering(Polled::Pending);
    let mut old = kept();
    old.since = world::now() - HOUR;
    keep(&setup, &old).await;
    let daemon = setup.start();
    daemon.source.ready().await;
    assert_eq!(daemon.source.status().borrow().state, AuthState::Anonymous);
    assert_eq!(setup.world.facts().polls.len(), 0);
    daemon.stop().await;

    // Its tokens are there.
    let setup = offering(Polled::Unknown);
    let daemon = setup.signed_in().await;
    daemon.stop().await;
    let mut over = kept();
    over.since = world::now() - Duration::from_secs(1);
    keep(&setup, &over).await;
    let daemon = setup.start();
    daemon.source.ready().await;
    assert_eq!(daemon.source.status().borrow().state, AuthState::SignedIn);
    assert_eq!(setup.world.facts().polls.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_nobody_is_told_at_once_whatever_others_wait_for() {
    let setup = offering(Polled::Pending);
    setup.world.facts().slow_metadata = Duration::from_secs(15);
    let daemon = setup.start();
    daemon.source.ready().await;
    let nobody = || {
        let wanting = Wanting {
            may_sign_in: false,
            ..Wanting::default()
        };
        daemon.source.renew(None, None, wanting)
    };
    let begun = tokio::time::Instant::now();
    let first = nobody().await;
    assert!(matches!(
        first,
        Err(TokenError::LoginRequired { sign_in: None, .. })
    ));
    assert_eq!(daemon.source.status().borrow().state, AuthState::NeedsLogin);
    let asked = daemon.renew(None);
    let told = async {
        let mut status = daemon.source.status();
        let begins = status.wait_for(|status| status.state == AuthState::SigningIn);
        begins.await.expect("it lives");
        let second = nobody().await;
        assert!(matches!(
            second,
            Err(TokenError::LoginRequired { sign_in: None, .. })
        ));
        assert!(begun.elapsed() < Duration::from_secs(1));
    };
    let (asked, ()) = tokio::join!(asked, told);
    assert_eq!(code(asked), "WDJB-MJHT");
}

#[tokio::test(start_paused = true)]
async fn logging_out_ends_the_asking() {
    let setup = offering(Polled::Pending);
    let daemon = setup.start();
    code(daemon.renew(None).await);
    daemon.asked_about(&setup.world, 2).await;
    daemon.source.log_out().await;
    assert_eq!(daemon.source.status().borrow().state, AuthState::Anonymous);
    assert!(!is_kept(&setup));
    tokio::time::sleep(HOUR).await;
    assert_eq!(setup.world.facts().polls.len(), 2);
}
