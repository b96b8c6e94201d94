//! Tokens that are bound to a key and tokens that are not, of one grant: nobody sends
//! one of the kind that they exclude, and nobody waits for what cannot get better.

use super::setup::{Daemon, Setup};
use super::*;
use crate::oauth::dpop::{Choice, Wanted};
use crate::oauth::grant_type::{GrantType, ServiceAccount};

fn service(dpop: Choice) -> Identity {
    Identity {
        grant_type: GrantType::ClientCredentials(ServiceAccount::default()),
        dpop,
        ..Setup::identity_of("ci-bot")
    }
}

fn demanding() -> Challenge {
    Challenge {
        bound_tokens: Wanted::Demanded,
        ..Challenge::default()
    }
}

async fn refused_for_its_kind(daemon: &Daemon) -> Result<AccessToken, TokenError> {
    let token = daemon.source.current().expect("there is one");
    let renewing = daemon
        .source
        .renew(Some(&token), Some(demanding()), Wanting::default());
    renewing.await
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_to_be_bound_is_replaced_at_once() {
    let setup = Setup::new();
    let daemon = setup.start_as(service(Choice::Asked));
    daemon.source.prepare().await.expect("a token");
    let begun = tokio::time::Instant::now();
    let bound = refused_for_its_kind(&daemon).await.expect("another");
    assert!(bound.is_bound());
    assert_eq!(
        (begun.elapsed(), setup.world.facts().requests),
        (Duration::ZERO, 2)
    );

    // Likewise of somebody who has signed in: their refresh token need not be bound.
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let begun = tokio::time::Instant::now();
    let bound = refused_for_its_kind(&daemon).await.expect("another");
    assert!(bound.is_bound());
    assert_eq!(
        (begun.elapsed(), setup.world.facts().refreshes),
        (Duration::ZERO, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_user_excludes_is_not_asked_for() {
    let setup = Setup::new();
    let daemon = setup.start_as(service(Choice::Never));
    daemon.source.prepare().await.expect("a token");
    for _ in 0..3 {
        let refused = refused_for_its_kind(&daemon).await;
        let Err(TokenError::Rejected(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("--dpop never"), "{why}");
    }
    assert_eq!(setup.world.facts().requests, 1);
}

#[tokio::test(start_paused = true)]
async fn each_command_sends_its_kind_and_those_that_disagree_cause_no_storm() {
    let setup = Setup::new();
    let daemon = setup.start_as(service(Choice::Always));
    let always = daemon.source.clone();
    let never = always.use_identity(service(Choice::Never));
    let auto = always.use_identity(service(Choice::Asked));
    assert!(always != never && always != auto);
    always.prepare().await.expect("a token");
    assert!(always.current().expect("bound").is_bound());
    assert_eq!(never.current(), None);
    assert_eq!(auto.current(), always.current());
    auto.prepare().await.expect("any will do");
    assert_eq!(setup.world.facts().requests, 1);
    for _ in 0..100 {
        for source in [&never, &always] {
            let sent = source.to_send().await;
            assert!(sent.is_none_or(|token| source.dpop.takes(token.is_bound())));
        }
    }
    let requests = setup.world.facts().requests;
    assert!((3..9).contains(&requests), "{requests}");
    let held = [&never, &always].map(|source| source.current().is_none());
    let out_of_use = if held[0] { &never } else { &always };
    let refused = out_of_use.prepare().await;
    assert!(
        matches!(&refused, Err(TokenError::Rejected(why)) if why.contains("disagree")),
        "{refused:?}"
    );
    tokio::time::advance(Duration::from_secs(61)).await;
    out_of_use.prepare().await.expect("its kind");
}

#[tokio::test(start_paused = true)]
async fn a_stored_token_of_the_other_kind_is_of_no_use_to_the_next_daemon() {
    let setup = Setup::new();
    for (at, choice) in [Choice::Asked, Choice::Always, Choice::Asked, Choice::Never]
        .into_iter()
        .enumerate()
    {
        let daemon = setup.start_as(service(choice));
        daemon.source.prepare().await.expect("a token");
        let token = daemon.source.current().expect("of its kind");
        assert_eq!(token.is_bound(), matches!(at, 1 | 2), "{at}");
        daemon.stop().await;
    }
    assert_eq!(setup.world.facts().requests, 3);
}

#[tokio::test(start_paused = true)]
async fn bound_tokens_of_a_sign_in_are_no_use_without_a_proof() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let with = |dpop| Identity {
        dpop,
        ..Setup::identity()
    };
    let always = daemon.source.use_identity(with(Choice::Always));
    assert_eq!(always.current(), None);
    let bound = always.to_send().await.expect("renewed");
    assert!(bound.is_bound());
    assert_eq!(setup.world.facts().refreshes, 1);
    let never = daemon.source.use_identity(with(Choice::Never));
    assert_eq!(never.to_send().await, None);
    assert_eq!(setup.world.facts().refreshes, 1, "no refresh unbinds them");
    // Nobody else is affected.
    assert_eq!(always.to_send().await, Some(bound.clone()));
    assert_eq!(daemon.source.to_send().await, Some(bound));
    let wanting = Wanting {
        may_sign_in: false,
        ..Wanting::default()
    };
    let refused = never.renew(None, None, wanting).await;
    let Err(TokenError::LoginRequired { why: Some(why), .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("--dpop never"), "{why}");
}
