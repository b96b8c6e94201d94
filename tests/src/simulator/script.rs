//! What a server does with one request: it follows from the seed and the request's
//! token, whenever and wherever the request arrives.

use super::random::Random;
use super::server::Kind;
use super::world::{INVENTED, World};

/// Ids of no request, as JSON text.
const UNKNOWN: [&str; 7] = [
    "1000000007",
    "-1",
    "\"a\"",
    "null",
    "{}",
    "18446744073709551616",
    "\"\\ud83d\"",
];

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is answered.
    Answered,
    /// It is answered with an error.
    Refused,
    /// It is answered once it is cancelled or nobody has more to say.
    Held,
    /// The server says, once, that the session is gone; then it is answered.
    SessionLost,
    /// The connection breaks before the response begins.
    Vanished,
    /// The stream breaks, or just ends, before the answer.
    Cut,
    /// What comes is no JSON.
    Garbled,
    /// The message is accepted and not answered; on HTTP+SSE, not for long.
    Ignored,
    /// Status 500.
    Failed,
}

/// What a server says besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noise {
    Progress,
    Log,
    /// Asks the client; with true, goes on only after the answer.
    Ask(bool),
    Comment,
    Priming,
    /// Says something on the stream for what is unasked.
    Push,
    /// Asks something there.
    PushedAsk,
    /// An answer with an id of no request.
    UnknownId,
    /// An answer with this request's id written as something else.
    OtherType,
    /// An answer that breaks off.
    Broken,
    NotJson,
    /// The answer of a request whose own stream is gone.
    Stray,
    /// The answer once more.
    Again,
    /// Ends the stream for what is unasked.
    CutPushes,
    /// Forgets the session.
    Forget,
}

const CALM: [Noise; 7] = [
    Noise::Progress,
    Noise::Log,
    Noise::Ask(false),
    Noise::Ask(true),
    Noise::Comment,
    Noise::Priming,
    Noise::Push,
];

const HOSTILE: [Noise; 16] = [
    Noise::Progress,
    Noise::Log,
    Noise::Ask(false),
    Noise::Ask(true),
    Noise::Comment,
    Noise::Priming,
    Noise::Push,
    Noise::PushedAsk,
    Noise::UnknownId,
    Noise::OtherType,
    Noise::Broken,
    Noise::NotJson,
    Noise::Stray,
    Noise::Again,
    Noise::CutPushes,
    Noise::Forget,
];

/// The whole script of one request.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) fate: Fate,
    pub(super) before: Vec<Noise>,
    pub(super) after: Vec<Noise>,
    /// For choices on the way.
    pub(super) random: Random,
}

impl Script {
    pub(super) fn of(world: &World, token: &str) -> Self {
        let mut random = world.random(token);
        let fate = match random.below(20) {
            0..=2 => Fate::Held,
            _ if world.calm => Fate::Answered,
            3 => Fate::SessionLost,
            4 => Fate::Vanished,
            5 => Fate::Cut,
            6 => Fate::Garbled,
            7 => Fate::Ignored,
            8 => Fate::Failed,
            9 => Fate::Refused,
            _ => Fate::Answered,
        };
        let choices: &[Noise] = if world.calm { &CALM } else { &HOSTILE };
        let mut noise = |most| -> Vec<Noise> {
            let count = random.below(most);
            (0..count).map(|_| *random.pick(choices)).collect()
        };
        let mut before = noise(4);
        // Before the answer it would be the answer.
        before.retain(|noise| *noise != Noise::Again);
        let mut after = noise(4);
        after.retain(|noise| !matches!(noise, Noise::Ask(_)));
        Self {
            fate,
            before,
            after,
            random,
        }
    }

    /// Says whether the answer comes without anybody doing anything for it.
    pub(super) fn answers_by_itself(&self, kind: Kind) -> bool {
        let waits = match self.fate {
            Fate::Held => true,
            Fate::Ignored => kind == Kind::Old,
            _ => false,
        };
        !waits && (kind == Kind::Json || !self.before.contains(&Noise::Ask(true)))
    }
}

pub(super) fn answer(id: &str, token: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","result":{{"token":"{token}","big":12345678901234567890,"e":"\u00e9"}},"id":{id}}}"#
    )
}

pub(super) fn refusal(id: &str, token: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32000,"message":"no","data":{{"token":"{token}"}}}}}}"#
    )
}

pub(super) fn unknown(random: &mut Random) -> String {
    let id = random.pick(&UNKNOWN);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"token":"{INVENTED}"}}}}"#)
}

pub(super) fn other_type(random: &mut Random, id: &str) -> String {
    let id = match random.below(5) {
        0 => format!("\"{id}\""),
        1 => format!("{id}.0"),
        2 => format!("{id}e0"),
        3 => format!("[{id}]"),
        _ => format!("-{id}"),
    };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"token":"{INVENTED}"}}}}"#)
}

/// Writes an event in pieces: lines and ends of lines vary, and where it is cut. Its
/// id, if it has one, is the name of its stream.
pub(super) fn event(random: &mut Random, stream: &str, message: &str) -> Vec<Vec<u8>> {
    let end = *random.pick(&["\n", "\r\n", "\r"]);
    let mut text = String::new();
    if random.one_in(3) {
        text += &format!("event: message{end}");
    }
    if random.one_in(4) {
        text += &format!("id: {stream}{end}");
    }
    if random.one_in(6) {
        text += &format!(": {INVENTED}{end}");
    }
    text += &format!("data: {message}{end}{end}");
    let mut rest = text.into_bytes();
    let mut pieces = Vec::new();
    while random.one_in(3) && rest.len() > 1 {
        let tail = rest.split_off(1 + random.below(rest.len() - 1));
        pieces.push(std::mem::replace(&mut rest, tail));
    }
    pieces.push(rest);
    pieces
}
