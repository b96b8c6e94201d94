//! A week of a machine that is used every minute: hourly expiry, rotation with reuse
//! detection, two nights in a bag, an outage, a clock that is set back.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// What happens in which minute of the week in use.
const FIRST_NIGHT: u64 = 1500;
const OUTAGE: std::ops::Range<u64> = 3000..3030;
const CLOCK_SET_BACK: u64 = 4500;
const SECOND_NIGHT: u64 = 6000;
const WEEK: u64 = 7 * 24 * 60;

/// The server takes its time to have somebody sign in; nobody is there to do it.
fn is_no_sign_in(answer: &Result<AccessToken, TokenError>) -> bool {
    matches!(answer, Ok(_) | Err(TokenError::Transient(_)))
}

#[tokio::test(start_paused = true)]
async fn a_week_passes_without_a_sign_in() {
    let setup = Setup::new();
    let daemon = setup.signed_in().await;
    let (mut rejected, mut attempts_in_outage) = (0, 0);
    for minute in 0..WEEK {
        match minute {
            FIRST_NIGHT | SECOND_NIGHT => sleep(8 * HOUR),
            CLOCK_SET_BACK => world::set_clock_back(2 * HOUR),
            _ => {}
        }
        let before = setup.world.facts().refreshes;
        let down = OUTAGE.contains(&minute);
        setup.world.facts().mode = if down { Mode::Down } else { Mode::Works };
        tokio::time::sleep(MINUTE).await;
        let token = daemon.source.current().expect("always");
        if !setup.world.accepts(Some(&token)) {
            let answer = daemon.renew(Some(&token)).await;
            assert!(is_no_sign_in(&answer), "minute {minute}: {answer:?}");
            // What expires in an outage cannot be helped; afterwards it is.
            assert!(
                down || setup.world.accepts(answer.as_ref().ok()),
                "{minute}"
            );
            rejected += u32::from(!down);
        }
        if down {
            attempts_in_outage += setup.world.facts().refreshes - before;
        }
    }
    let facts = setup.world.facts();
    assert_eq!((facts.exchanges, facts.registrations), (0, 0));
    // Each lives for 75 to 80 % of an hour: 210 to 224 in a week. A night and a
    // clock that is wrong may add one each, the outage costs one at most.
    let refreshes = facts.issued - 1;
    assert!((209..=227).contains(&refreshes), "{refreshes}");
    // In pauses of 1 s, doubled up to a minute.
    assert!(attempts_in_outage <= 36, "{attempts_in_outage}");
    // One after each night, one after the outage, one for the wrong clock.
    assert!(rejected <= 4, "{rejected} requests were rejected");
    assert!(facts.spent.len() == facts.issued as usize - 1, "none twice");
}
