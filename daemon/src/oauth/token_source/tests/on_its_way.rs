//! The end of a daemon, and of a sign-in, while a token request is under way.

use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_daemon_that_stops_waits_for_the_tokens_that_it_has_asked_for() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    setup.world.facts().mode = Mode::Slow;
    let old = daemon.source.current().expect("signed in");
    let mut asked = setup.world.asked.subscribe();
    tokio::select! {
        _ = daemon.renew(Some(&old)) => panic!("it takes its time"),
        _ = asked.changed() => {}
    }
    daemon.stop().await;
    assert_eq!(setup.stored().await.as_deref(), Some("access-2"));

    let setup = Setup::new();
    let daemon = setup.start();
    let url = page(daemon.renew(None).await);
    setup.world.facts().mode = Mode::Slow;
    let mut asked = setup.world.asked.subscribe();
    tokio::select! {
        () = daemon.come_back(&url, "code=good") => panic!("it takes its time"),
        _ = asked.changed() => {}
    }
    daemon.stop().await;
    assert_eq!(setup.stored().await.as_deref(), Some("access-1"));
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_stops_waits_for_nothing_else_and_asks_for_nothing_more() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let old = daemon.source.current().expect("signed in");
    let begun = Instant::now();
    setup.world.facts().slow_metadata = HOUR;
    tokio::select! {
        _ = daemon.renew(Some(&old)) => panic!("nobody answers"),
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
    daemon.stop().await;
    assert_eq!(begun.elapsed().as_secs(), 1);
    assert_eq!(setup.world.facts().refreshes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_at_its_end_does_not_wait_for_a_refresh_that_finds_no_server() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let token = daemon.source.current().expect("signed in");
    let url = page(daemon.step_up(&token, "write").await);
    setup.world.facts().slow_metadata = HOUR;
    tokio::select! {
        _ = daemon.renew(Some(&token)) => panic!("nobody answers"),
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
    let begun = Instant::now();
    daemon.come_back(&url, "code=good").await;
    let token = daemon.source.signed_in(Some(&token)).await;
    assert!(setup.world.accepts(token.ok().as_ref()));
    assert_eq!(begun.elapsed().as_secs(), 0);
}
