//! Shims of one server that name different clients, and servers that name different
//! authorization servers: a grant belongs to one of each.

use super::*;

/// Nobody is signed in; whoever asks as `identity` does.
async fn signed_in_as(setup: &Setup, identity: Identity) -> setup::Daemon {
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

#[tokio::test(start_paused = true)]
async fn tokens_that_do_not_say_who_gave_them_are_of_whom_the_server_named_first() {
    let setup = Setup::new();
    setup.world.facts().resource = Some("https://h/mcp".into());
    let issued = setup.world.issue();
    let folder = setup.base.path().join("mcp-remote-0.1.37");
    std::fs::create_dir(&folder).expect("made");
    let hash = &Setup::identity().npm_hashes()[0];
    let tokens = serde_json::json!({
        "access_token": issued.access_token.reveal(),
        "refresh_token": issued.refresh_token.expect("it has one").reveal(),
    });
    let client = serde_json::json!({ "client_id": "c" });
    for (name, document) in [("tokens", tokens), ("client_info", client)] {
        let path = folder.join(format!("{hash}_{name}.json"));
        std::fs::write(path, document.to_string()).expect("written");
    }
    let daemon = setup.start();
    let mut status = daemon.source.status();
    let is_pinned = |status: &AuthStatus| status.issuer.as_deref() == Some(world::ISSUER);
    let pinned = tokio::time::timeout(HOUR, status.wait_for(is_pinned)).await;
    pinned.expect("it is asked").expect("the actor lives");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(daemon.source.status().borrow().trouble, None);
    daemon.stop().await;

    setup.world.facts().issuer = "https://evil.example".into();
    let daemon = setup.start();
    daemon.source.ready().await;
    let token = daemon.source.current().expect("taken over");
    let url = page(daemon.renew(Some(&token)).await);
    assert!(url.starts_with("https://evil.example/authorize"), "{url}");
    assert_eq!(setup.world.facts().refreshes, 0);
}
