//! Many clients and many servers around one daemon, with schedules that follow from
//! seeds, and a model that says what may reach whom.
//!
//! A seed decides what each client says, in which order, and what each server does
//! with it; how their turns interleave is up to the machine. Nothing sleeps: who
//! waits, waits for a message or for the others to be done.

mod client;
mod ledger;
mod link;
mod message;
mod performance;
mod random;
mod script;
mod server;
mod session;
mod world;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use mcp_remote_proto::channel;
use tokio::task::JoinSet;

use crate::home::TestHome;
use client::Client;
use link::Link;
use server::{Kind, Servers};
pub use world::Tally;
use world::World;

/// Seeds that are played at the same time.
const AT_ONCE: usize = 16;

/// One client in so many goes through the real shim.
const SHIMS: usize = 16;

/// Plays all seeds against the daemon of this home. Returns how often what
/// happened.
///
/// # Errors
/// The first violation, with its seed and what led to it.
///
/// # Panics
/// If no daemon answers.
pub fn play(home: &Arc<TestHome>, seeds: Range<u64>) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let servers = Arc::new(Servers::default());
        let port = servers.start().await;
        let mut waiting: VecDeque<u64> = seeds.collect();
        let mut playing = JoinSet::new();
        let mut total = Tally::new();
        loop {
            while playing.len() < AT_ONCE
                && let Some(seed) = waiting.pop_front()
            {
                playing.spawn(one(home.clone(), servers.clone(), port, seed));
            }
            let Some(verdict) = playing.join_next().await else {
                return Ok(total);
            };
            for (what, times) in verdict.expect("nothing panics")? {
                *total.entry(what).or_default() += times;
            }
        }
    })
}

/// Plays one seed.
async fn one(
    home: Arc<TestHome>,
    servers: Arc<Servers>,
    port: u16,
    seed: u64,
) -> Result<Tally, String> {
    let slots = random::Random::of(seed, "slots").below(5) + 1;
    let world = Arc::new(World::new(seed, slots));
    servers.open(&world);
    let mut connection = JoinSet::new();
    let mut found = None;
    for endpoint in home.places().to_find() {
        if let Ok((channel, driver)) = channel::connect(&endpoint).await {
            connection.spawn(driver);
            found = Some(channel);
            break;
        }
    }
    let channel = found.expect("a daemon answers");
    let mut playing = JoinSet::new();
    for slot in 0..slots {
        let (home, world, channel) = (home.clone(), world.clone(), channel.clone());
        playing.spawn(async move {
            if let Err(violation) = lives(&home, &world, &channel, port, slot).await {
                world.violation(violation);
                world.end();
            }
        });
    }
    while let Some(played) = playing.join_next().await {
        played.expect("nothing panics");
    }
    servers.close(&world);
    world.verdict()
}

/// Plays the clients of a slot, one after the other.
async fn lives(
    home: &TestHome,
    world: &Arc<World>,
    channel: &channel::Channel,
    port: u16,
    slot: usize,
) -> Result<(), String> {
    let mut random = world.random(&format!("slot {slot}"));
    // Few kinds, so that clients meet at a server.
    let kinds = [
        *world.random("kind").pick(&Kind::ALL),
        *random.pick(&Kind::ALL),
    ];
    let mut left = 1 + random.below(3);
    loop {
        left -= 1;
        let kind = *random.pick(&kinds);
        let url = format!("http://127.0.0.1:{port}/{}", kind.path());
        let number = world.new_client(slot);
        let link = match random.one_in(SHIMS) {
            true => Link::shim(home, &url, world.seed),
            false => Link::stream(channel.clone(), &url, world.seed).await?,
        };
        world.note(format!("client {number} talks to {}", kind.path()));
        let mut client = Client::new(world.clone(), kind, link, number);
        client.begin().await?;
        client.talk().await?;
        match random.below(3) {
            _ if left == 0 => {
                world.slot_is_done();
                return client.stay().await;
            }
            0 => client.leave().await?,
            _ => client.cut(),
        }
    }
}
