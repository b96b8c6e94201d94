//! Tokens that need nobody: obtained once for everybody, in time, and in the place of
//! those that are refused; no failure becomes a storm.

use super::setup::{Daemon, Setup};
use super::world::{Mode, sleep};
use super::*;
use crate::oauth::challenge::ChallengeError;
use crate::oauth::grant_type::{GrantType, ServiceAccount};
use crate::oauth::identity::ClientChoice;
use crate::oauth::store::OnDisk;
use crate::secret::Secret;

fn service() -> Identity {
    Identity {
        grant_type: GrantType::ClientCredentials(ServiceAccount::default()),
        ..Setup::identity_of("ci-bot")
    }
}

async fn started(setup: &Setup) -> Daemon {
    let daemon = setup.start_as(service());
    daemon.source.prepare().await.expect("a token");
    assert!(setup.world.accepts(daemon.source.current().as_ref()));
    daemon
}

fn requests(setup: &Setup) -> u32 {
    setup.world.facts().requests
}

/// Waits until what the source holds has changed.
async fn changed(daemon: &Daemon) {
    let mut held = daemon.source.held.clone();
    held.mark_unchanged();
    held.changed().await.expect("the actor lives");
}

#[tokio::test(start_paused = true)]
async fn one_request_serves_everybody_and_the_next_daemon() {
    let setup = Setup::new();
    let daemon = setup.start_as(service());
    let preparing = (0..20).map(|_| daemon.source.prepare());
    let prepared = futures_util::future::join_all(preparing).await;
    assert!(prepared.iter().all(Result::is_ok));
    assert_eq!(requests(&setup), 1);
    let status = daemon.source.status().borrow().clone();
    assert_eq!(status.state, AuthState::SignedIn);
    daemon.stop().await;
    let next = started(&setup).await;
    assert_eq!(requests(&setup), 1, "it was kept");
    let stored = setup.store().tokens(&service().hash()).await;
    let stored = stored.ok().and_then(OnDisk::tokens).expect("kept");
    let text = String::from_utf8(stored.write().to_vec()).expect("JSON");
    assert!(!text.contains("hidden"), "the secret was kept: {text}");
    assert!(stored.refresh_token.is_none());
    next.stop().await;
}

#[tokio::test(start_paused = true)]
async fn twenty_clients_with_one_expired_token_cause_one_request() {
    let setup = Setup::new();
    let daemon = started(&setup).await;
    let old = daemon.source.current().expect("there is one");
    old.accept();
    setup.world.revoke_all();
    let asking = (0..20).map(|_| daemon.renew(Some(&old)));
    let answers = futures_util::future::join_all(asking).await;
    let new = daemon.source.current().expect("there is one");
    assert!(answers.iter().all(|answer| answer.as_ref() == Ok(&new)));
    assert!(new != old && setup.world.accepts(Some(&new)));
    assert_eq!(requests(&setup), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_used_is_renewed_in_time_and_another_lapses() {
    let setup = Setup::new();
    let daemon = started(&setup).await;
    daemon.source.current().expect("there is one").accept();
    tokio::time::advance(HOUR.mul_f64(0.7)).await;
    assert_eq!(requests(&setup), 1);
    changed(&daemon).await;
    assert_eq!(requests(&setup), 2);
    let new = daemon.source.current();
    assert!(setup.world.accepts(new.as_ref()), "before its end");
    // Nobody uses this one.
    changed(&daemon).await;
    assert_eq!((daemon.source.current(), requests(&setup)), (None, 2));
    daemon.source.prepare().await.expect("a token");
    assert_eq!(requests(&setup), 3);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_wakes_up_shows_no_token_that_has_ended() {
    let setup = Setup::new();
    let daemon = started(&setup).await;
    sleep(HOUR * 8);
    changed(&daemon).await;
    assert_eq!(daemon.source.current(), None);
}

#[tokio::test(start_paused = true)]
async fn a_token_in_the_place_of_a_refused_one_that_is_refused_is_an_error() {
    let setup = Setup::new();
    let daemon = started(&setup).await;
    let first = daemon.source.current().expect("there is one");
    first.accept();
    let second = daemon.renew(Some(&first)).await.expect("another");
    assert_eq!(requests(&setup), 2);
    // The server may not know it yet: it is sent once more.
    assert_eq!(daemon.renew(Some(&second)).await, Ok(second.clone()));
    for _ in 0..20 {
        let refused = daemon.renew(Some(&second)).await;
        let Err(TokenError::Rejected(why)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(why, "it refuses the token from service account ci-bot");
    }
    assert_eq!(requests(&setup), 2);
    // After a while it is tried again, ever more rarely.
    let mut token = second;
    for _ in 0..1000 {
        tokio::time::advance(Duration::from_secs(1)).await;
        if let Ok(other) = daemon.renew(Some(&token)).await {
            token = other;
        }
    }
    assert!((4..12).contains(&requests(&setup)), "{}", requests(&setup));
    token.accept();
    assert!(daemon.renew(Some(&token)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_reached_is_tried_again_and_what_says_no_is_left_alone() {
    let setup = Setup::new();
    setup.world.facts().mode = Mode::Down;
    let daemon = setup.start_as(service());
    for _ in 0..60 {
        let prepared = daemon.source.prepare().await;
        assert_eq!(prepared, Err(TokenError::Transient("it is down".into())));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!((8..16).contains(&requests(&setup)), "{}", requests(&setup));
    let state = daemon.source.status().borrow().state;
    assert_eq!(state, AuthState::Failed);
    setup.world.facts().mode = Mode::Works;
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(daemon.source.prepare().await, Ok(()));

    let setup = Setup::new();
    setup.world.facts().mode = Mode::Refuses;
    let daemon = setup.start_as(service());
    for _ in 0..120 {
        let prepared = daemon.source.prepare().await;
        assert!(
            matches!(prepared, Err(TokenError::Rejected(_))),
            "{prepared:?}"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!((5..9).contains(&requests(&setup)), "{}", requests(&setup));
    // Somebody has put the right secret into the configuration.
    setup.world.facts().mode = Mode::Works;
    let right = Secret::new("right".to_owned());
    daemon.source.use_identity(Identity {
        client: ClientChoice::PreRegistered {
            client_id: "ci-bot".into(),
            client_secret: Some(right),
            auth_method: None,
            redirect_uris: Vec::new(),
            issuer: None,
        },
        ..service()
    });
    assert_eq!(daemon.source.prepare().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_outage_while_a_token_is_good_is_nobodys_business() {
    let setup = Setup::new();
    let daemon = started(&setup).await;
    let token = daemon.source.current().expect("there is one");
    token.accept();
    setup.world.facts().mode = Mode::Down;
    let mut asked = setup.world.asked.subscribe();
    for _ in 0..3 {
        asked.changed().await.expect("it is tried again");
    }
    assert_eq!(daemon.source.current(), Some(token.clone()));
    setup.world.facts().mode = Mode::Works;
    changed(&daemon).await;
    let new = daemon.source.current().expect("another");
    assert!(new != token && setup.world.accepts(Some(&new)));
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_an_operation_lacks_is_asked_for_once() {
    let setup = Setup::new();
    let daemon = started(&setup).await;
    let token = daemon.source.current().expect("there is one");
    token.accept();
    let wider = daemon.step_up(&token, "write").await.expect("another");
    assert_eq!(setup.world.facts().asked_scopes, ["read", "read write"]);
    let refused = daemon.step_up(&wider, "write").await;
    assert_eq!(
        refused,
        Err(TokenError::Rejected(
            "the token from service account ci-bot does not have the access that this needs \
             (scope write)"
                .into()
        ))
    );
    let nothing_said = Challenge {
        error: Some(ChallengeError::InsufficientScope),
        ..Challenge::default()
    };
    let refused = daemon
        .source
        .renew(Some(&wider), Some(nothing_said), Wanting::default())
        .await;
    assert!(matches!(refused, Err(TokenError::Rejected(_))));
    assert_eq!(requests(&setup), 2);
}

#[tokio::test(start_paused = true)]
async fn a_logout_revokes_the_token_and_the_next_request_gets_another() {
    let setup = Setup::new();
    let daemon = started(&setup).await;
    let logged_out = daemon.source.log_out().await;
    assert!(logged_out.was_signed_in && logged_out.notes.is_empty());
    assert_eq!(setup.world.facts().revocations, 1);
    let stored = setup.store().tokens(&service().hash()).await;
    assert!(stored.ok().and_then(OnDisk::tokens).is_none());
    assert_eq!(daemon.source.current(), None);
    daemon.source.prepare().await.expect("a token");
    assert_eq!(requests(&setup), 2);
    // One that has nothing asks nobody.
    let other = setup.start_as(Identity {
        scope: Scope::parse("other"),
        ..service()
    });
    assert!(!other.source.log_out().await.was_signed_in);
    assert_eq!(requests(&setup), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_answered_holds_nobody_for_ever() {
    let setup = Setup::new();
    setup.world.facts().mode = Mode::LosesRequest;
    let daemon = setup.start_as(service());
    let prepared = daemon.source.prepare().await;
    assert!(
        matches!(prepared, Err(TokenError::Transient(_))),
        "{prepared:?}"
    );
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_shown_to_nobody_but_who_gave_the_first_token() {
    let setup = Setup::new();
    let daemon = started(&setup).await;
    let token = daemon.source.current().expect("there is one");
    token.accept();
    setup.world.facts().issuer = "https://evil.example".into();
    let refused = daemon.renew(Some(&token)).await;
    let Err(TokenError::Rejected(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("https://evil.example"), "{why}");
    daemon.stop().await;
    // Nor by the next daemon, when the token has ended.
    sleep(HOUR * 2);
    let daemon = setup.start_as(service());
    let prepared = daemon.source.prepare().await;
    assert!(
        matches!(prepared, Err(TokenError::Rejected(_))),
        "{prepared:?}"
    );
    assert_eq!(requests(&setup), 1);
    daemon.source.log_out().await;
    daemon.source.prepare().await.expect("it is right");
    assert_eq!(requests(&setup), 2);
}

#[tokio::test(start_paused = true)]
async fn clients_that_take_turns_with_wrong_secrets_cause_no_storm() {
    let setup = Setup::new();
    setup.world.facts().mode = Mode::Refuses;
    let daemon = setup.start_as(service());
    for at in 0..100 {
        let name = if at % 2 == 0 { "one" } else { "two" };
        daemon.source.use_identity(Identity {
            client: ClientChoice::PreRegistered {
                client_id: "ci-bot".into(),
                client_secret: Some(Secret::new(name.to_owned())),
                auth_method: None,
                redirect_uris: Vec::new(),
                issuer: None,
            },
            ..service()
        });
        drop(daemon.source.prepare().await);
    }
    assert!(requests(&setup) <= 3, "{}", requests(&setup));
}
