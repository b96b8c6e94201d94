//! Tables, and properties over generated streams; the seeds are fixed.

use eventsource_stream::Eventsource as _;
use futures_util::{FutureExt as _, StreamExt as _};

use super::*;

/// Decodes chunks; checks that little is kept.
fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Vec<Found> {
    let mut decoder = Decoder::new(limit);
    let mut all = Vec::new();
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        all.extend(std::iter::from_fn(|| decoder.next()));
        let line = match &decoder.line {
            Line::Kept(line) => line.len(),
            _ => 0,
        };
        let data = match &decoder.event.data {
            Data::None => 0,
            Data::One(line) => line.len(),
            Data::Many(lines) => lines.len(),
        };
        assert!(line + data <= limit + DATA_FIELD.len(), "{line} + {data}");
    }
    all
}

fn event(name: &'static str, data: &'static str, id: Option<&str>, retry: Option<u64>) -> Found {
    Found::Event(Event {
        name: name.into(),
        data: data.into(),
        id: id.map(str::to_owned),
        retry: retry.map(Duration::from_millis),
    })
}

fn message(data: &'static str) -> Found {
    event("message", data, None, None)
}

/// Checks what comes out of a text, whole and byte by byte.
#[track_caller]
fn check(text: impl AsRef<[u8]>, limit: usize, expected: &[Found]) {
    let bytes = text.as_ref();
    let shown = String::from_utf8_lossy(bytes);
    assert_eq!(decode([bytes], limit), expected, "{shown:?}");
    assert_eq!(decode(bytes.chunks(1), limit), expected, "by 1: {shown:?}");
    assert_eq!(decode(bytes.chunks(7), limit), expected, "by 7: {shown:?}");
}

#[test]
fn lines_end_in_three_ways_and_events_with_a_blank_one() {
    let two = [message("a"), message("b")];
    check("data: a\n\ndata: b\n\n", 1000, &two);
    check("data: a\r\n\r\ndata: b\r\n\r\n", 1000, &two);
    check("data: a\r\rdata: b\r\r", 1000, &two);
    check("data: a\r\n\ndata: b\n\r\n\n\n", 1000, &two);
    check("\u{feff}data: a\n\n\u{feff}data: b\n\n", 1000, &two[..1]);
    check("data: a\n\ndata: b\n", 1000, &two[..1]);
    check(b"\xef\xbbdata: a\n\ndata: b\n\n", 1000, &two[1..]);
    check("", 1000, &[]);
}

#[test]
fn fields_are_read_as_the_standard_says() {
    check("data:a\n\n", 1000, &[message("a")]);
    check("data:  a\n\n", 1000, &[message(" a")]);
    check("data\n\n", 1000, &[message("")]);
    check("data\ndata\n\n", 1000, &[message("\n")]);
    check(
        "data: a\ndata\ndata:b: c\n\n",
        1000,
        &[message("a\n\nb: c")],
    );
    check(" data: a\ndata : b\nDATA: c\nvendor: d\n\n", 1000, &[]);
    check(
        "event: x\n\nevent:\ndata: a\n\nevent: x\nevent: message\ndata: b\n\n",
        1000,
        &[message("a"), message("b")],
    );
    check(
        "event: x\ndata: a\n\n",
        1000,
        &[event("x", "a", None, None)],
    );
    check(
        "id: 1\nid: a\0b\ndata: a\n\nid: 2\nid\ndata: b\n\n",
        1000,
        &[event("message", "a", Some("1"), None), message("b")],
    );
    check(
        "retry: 10\nretry: +5\nretry: 1.5\nretry:\nretry: 99999999999999999999\ndata: a\n\n",
        1000,
        &[event("message", "a", None, Some(10))],
    );
    let latin_1 = Event {
        name: MESSAGE.into(),
        data: Bytes::from_static(b"\xe9"),
        id: None,
        retry: None,
    };
    check(b"data: \xe9\n\n", 1000, &[Found::Event(latin_1)]);
}

#[test]
fn an_event_without_data_still_says_where_to_resume() {
    check("id: 1\n\n", 1000, &[event("message", "", Some("1"), None)]);
    check(
        "id: 1\nretry: 5\ndata:\n\n",
        1000,
        &[event("message", "", Some("1"), Some(5))],
    );
    check("retry: 5\n\n", 1000, &[event("message", "", None, Some(5))]);
    check(": comment\n\n\n", 1000, &[]);
}

#[test]
fn data_in_one_chunk_is_not_copied() {
    let chunk = Bytes::from_static(b"event: message\nid: 1\ndata: {\"id\":1}\n\n");
    let mut decoder = Decoder::new(1000);
    decoder.push(chunk.clone());
    let Some(Found::Event(event)) = decoder.next() else {
        panic!("an event");
    };
    assert!(matches!(event.name, Cow::Borrowed(MESSAGE)));
    assert!(chunk.as_ptr_range().contains(&event.data.as_ptr()));
}

#[test]
fn an_oversized_event_is_skipped_and_its_id_found() {
    let filling = "x".repeat(500);
    let skipped = |id| Found::Oversized(Addressed::Answer(RequestId::from_json(id)));
    check(
        format!("event: message\ndata: {{\"result\":\"{filling}\",\"id\":42}}\n\ndata: next\n\n"),
        100,
        &[skipped("42"), message("next")],
    );
    check(
        format!(
            "data:{{\ndata:\"id\":7,\nid: 9\ndata:\"result\":\"{filling}\"\ndata:}}\n\ndata: next\n\n"
        ),
        100,
        &[skipped("7"), message("next")],
    );
    check(
        format!("vendor: {filling}\ndata: {{\"result\":1,\"id\":\"a\"}}\r\n\r\ndata: next\n\n"),
        100,
        &[skipped("\"a\""), message("next")],
    );
    let asked = Found::Oversized(Addressed::Request(RequestId::from_json("5")));
    check(
        format!("data: {{\"id\":5,\"params\":\"{filling}\",\"method\":\"m\"}}\n\ndata: next\n\n"),
        100,
        &[asked, message("next")],
    );
    check(
        format!("event: {filling}\n\ndata: next\n\n"),
        100,
        &[Found::Oversized(Addressed::Nobody), message("next")],
    );
}

#[test]
fn the_limit_is_the_same_however_the_bytes_come() {
    check("data: 6789\n\n", 10, &[message("6789")]);
    check(
        "data: 6789a\n\n",
        10,
        &[Found::Oversized(Addressed::Nobody)],
    );
    check(
        "data: 6\ndata\n\n",
        10,
        &[Found::Oversized(Addressed::Nobody)],
    );
    check(
        "x: 4567890\ndata\n\ndata\n\n",
        10,
        &[Found::Oversized(Addressed::Nobody), message("")],
    );
}

#[test]
fn comments_without_number_cost_nothing() {
    let text = format!("data: a\n{}\n", ": still here\n".repeat(1000));
    check(text, 20, &[message("a")]);
}

#[test]
fn what_has_no_end_is_given_up() {
    let long = "x".repeat(20 * SKIP_FACTOR + 1);
    check(format!(":{long}\n\ndata: next\n\n"), 20, &[Found::Endless]);
    check(format!("{long}\n\ndata: next\n\n"), 20, &[Found::Endless]);
    check(
        format!("data: {long}\n\ndata: a\n\n"),
        20,
        &[Found::Endless],
    );
    let lines = "data: x\n".repeat(20 * SKIP_FACTOR);
    check(format!("{lines}\n\ndata: a\n\n"), 20, &[Found::Endless]);
}

/// A small generator of numbers (xorshift); the same seed, the same numbers.
struct Numbers(u64);

impl Numbers {
    fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

#[test]
fn any_chunking_gives_the_same_events() {
    const PIECES: &[&str] = &[
        "data: ",
        "data:",
        "data",
        "event: ",
        "id: ",
        "retry: ",
        ":",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "message",
        "{\"id\":1,\"result\":\"",
        "\"}",
        "7",
        "\0",
        "\u{feff}",
        "é🦀",
    ];
    for seed in 1..=3000 {
        let mut numbers = Numbers::seeded(seed);
        let length = numbers.below(40);
        let text: String = (0..length).map(|_| numbers.pick(PIECES)).collect();
        let limit = 1 + numbers.below(60);
        let whole = decode([text.as_bytes()], limit);
        let mut rest = text.as_bytes();
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(1 + numbers.below(rest.len().min(9)));
            chunks.push(chunk);
            rest = after;
        }
        assert_eq!(
            decode(chunks, limit),
            whole,
            "seed {seed}, {limit}: {text:?}"
        );
    }
}

#[test]
fn well_formed_streams_are_what_eventsource_stream_makes_of_them() {
    for seed in 1..=1000 {
        let mut numbers = Numbers::seeded(seed);
        let end = numbers.pick(&["\n", "\r\n", "\r"]);
        let mut text = String::new();
        for number in 0..1 + numbers.below(5) {
            for _ in 0..1 + numbers.below(4) {
                let line = match numbers.below(5) {
                    0 => format!("id: {number}{}", numbers.below(1000)),
                    1 => format!("event:{}", numbers.pick(&["", " message", " x", "é"])),
                    2 => format!("retry: {}", numbers.below(1000)),
                    3 => format!(":{}", numbers.pick(&["", " ping", "data: no"])),
                    _ => format!("data{}", numbers.pick(&["", ":", ": a", ":b: c", ":  🦀"])),
                };
                text = text + &line + end;
            }
            text = text + "data: {\"id\":1}" + end + end;
        }
        // At a CR it waits for what may follow.
        text.push(':');
        let mut theirs_id = String::new();
        let theirs: Vec<Found> = futures_util::stream::iter([Ok::<_, String>(text.as_bytes())])
            .eventsource()
            .map(|event| event.expect("well formed"))
            .map(|event| {
                // It repeats the last id in each event.
                let id = Some(event.id.clone()).filter(|id| *id != theirs_id);
                theirs_id = event.id;
                Found::Event(Event {
                    name: event.event.into(),
                    data: event.data.into(),
                    id,
                    retry: event.retry,
                })
            })
            .collect::<Vec<_>>()
            .now_or_never()
            .expect("all of it is there");
        assert_eq!(
            decode([text.as_bytes()], 10_000),
            theirs,
            "seed {seed}: {text:?}"
        );
    }
}
