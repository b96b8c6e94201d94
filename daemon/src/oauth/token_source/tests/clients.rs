//! Shims of one server that name different clients: a grant belongs to one of them.

use super::*;

/// Nobody is signed in; whoever asks as `identity` does.
async fn signed_in_as(setup: &Setup, identity: Identity) -> world::Daemon {
    let daemon = setup.start_as(identity);
    let url = page(daemon.renew(None).await);
    daemon.come_back(&url, "code=good").await;
    daemon.source.signed_in(None).await.expect("signed in");
    daemon
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_renewed_as_the_client_that_got_it_whoever_asks() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    daemon.source.use_identity(Setup::identity_of("mine"));
    let token = daemon.source.current().expect("signed in");
    let token = daemon.renew(Some(&token)).await.expect("by its client");
    assert!(setup.world.accepts(Some(&token)));
    daemon.stop().await;
    let daemon = setup.start_as(Setup::identity_of("mine"));
    daemon.source.ready().await;
    let token = daemon.source.current().expect("kept");
    let token = daemon.renew(Some(&token)).await.expect("by its client");
    // A sign-in is made as whom the user says.
    setup.world.revoke_all();
    tokio::time::sleep(Duration::from_secs(11)).await;
    let url = page(daemon.renew(Some(&token)).await);
    assert!(url.contains("client_id=mine&"), "{url}");
    assert_eq!(setup.world.facts().registrations, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_one_shim_has_named_serves_those_that_name_none() {
    let setup = Setup::new();
    let daemon = signed_in_as(&setup, Setup::identity_of("mine")).await;
    daemon.stop().await;
    for _ in 0..2 {
        sleep(HOUR);
        let daemon = setup.start();
        daemon.source.ready().await;
        assert!(setup.world.accepts(daemon.source.current().as_ref()));
        daemon.stop().await;
    }
    let daemon = setup.start();
    daemon.source.ready().await;
    let token = daemon.source.current().expect("kept");
    setup.world.revoke_all();
    let url = page(daemon.renew(Some(&token)).await);
    assert!(url.contains("client_id=mine&"), "{url}");
    daemon.come_back(&url, "code=good").await;
    let token = daemon.source.signed_in(Some(&token)).await;
    assert!(setup.world.accepts(token.ok().as_ref()));
    assert_eq!(setup.world.facts().registrations, 0);
}
