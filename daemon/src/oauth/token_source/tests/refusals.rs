//! Token endpoints that answer, but not with tokens.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_came_is_kept_whatever_else_is_wrong() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    setup.world.facts().mode = Mode::Spoils;
    let old = daemon.source.current().expect("signed in");
    let failed = daemon.renew(Some(&old)).await;
    assert!(
        matches!(failed, Err(TokenError::Transient(_))),
        "{failed:?}"
    );
    setup.world.facts().mode = Mode::Works;
    // Also by the next daemon.
    daemon.stop().await;
    let daemon = setup.start();
    daemon.source.ready().await;
    let old = daemon.source.current().expect("kept");
    let token = daemon.renew(Some(&old)).await.expect("by the new one");
    assert!(setup.world.accepts(Some(&token)));

    tokio::time::sleep(Duration::from_secs(11)).await;
    setup.world.facts().mode = Mode::Spoils;
    daemon
        .renew(Some(&token))
        .await
        .expect_err("nothing usable");
    setup.world.facts().mode = Mode::Works;
    tokio::time::sleep(HOUR).await;
    assert!(setup.world.accepts(daemon.source.current().as_ref()));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_left_alone_until_somebody_asks() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    setup.world.facts().mode = Mode::Refuses;
    tokio::time::sleep(24 * HOUR).await;
    let refreshes = setup.world.facts().refreshes;
    assert!(refreshes <= 6, "{refreshes} in a day");
    setup.world.facts().mode = Mode::Works;
    let token = daemon.source.current().expect("nothing better is known");
    let token = daemon.renew(Some(&token)).await.expect("asked again");
    assert!(setup.world.accepts(Some(&token)));
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_pause_gets_it() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    setup.world.facts().mode = Mode::Busy;
    tokio::time::sleep(HOUR).await;
    assert_eq!(setup.world.facts().refreshes, 1);
    setup.world.facts().mode = Mode::Works;
    tokio::time::sleep(HOUR).await;
    assert!(setup.world.accepts(daemon.source.current().as_ref()));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_without_a_path_is_the_same_with_a_slash() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    setup.world.facts().issuer = format!("{}/", world::ISSUER);
    let token = daemon.source.current().expect("signed in");
    let token = daemon.renew(Some(&token)).await.expect("the same issuer");
    assert!(setup.world.accepts(Some(&token)));
}
