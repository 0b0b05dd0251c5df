//! Reading a client's words: no panic, errors that can be shown, and what is understood is what a
//! naive reader understands. The first byte chooses what is read; the words are lines.

use evq::model::claim::Claim;
use evq::model::error::Error;
use evq::model::ids::{EventId, decimal};
use evq::model::keys::{parse_ring_key, parse_stream_key, ring_key, stream_key};
use evq::model::limits::{MAX_DURATION_MS, MAX_NAME_BYTES};
use evq::model::name::Name;
use evq::model::parse::{
    Format, PartitionArg, Start, Words, count, event_id, is, number, only_ring, partition_or_all,
    ring_and_format,
};

/// Reads the words in one of the ways.
pub fn run(data: &[u8]) {
    let Some((how, text)) = data.split_first() else { return };
    let words: Vec<&[u8]> = if text.is_empty() { Vec::new() } else { lines(text) };
    let first = words.first().copied().unwrap_or_default();
    match how % 8 {
        0 => names(first),
        1 => numbers(first),
        2 => ids(first),
        3 => partitions(first, words.get(1).copied()),
        4 => keys(first),
        5 => claims(&words),
        6 => rings(&words),
        _ => options(&words),
    }
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split(|byte| *byte == b'\n').collect()
}

/// What every error must be: one printable line that starts with a code, whatever was given.
fn shown<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let text = error.to_string();
            let code = text.split(' ').next().unwrap_or_default();
            let upper = code.bytes().all(|b| b.is_ascii_uppercase());
            assert!(!code.is_empty() && upper, "{text:?} has no code");
            assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)), "{text:?} is not printable");
            assert!(text.len() < 300, "{text:?} is too long");
            None
        }
    }
}

fn is_name(text: &[u8], colon: bool) -> bool {
    let plain = |b: &u8| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let good = |b: &u8| plain(b) || (colon && *b == b':');
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.iter().all(good)
}

fn names(text: &[u8]) {
    for (name, colon) in
        [(Name::ring(text), false), (Name::group(text), true), (Name::worker(text), true)]
    {
        let name = shown(name);
        assert_eq!(name.is_some(), is_name(text, colon));
        if let Some(name) = name {
            assert_eq!(name.as_str().as_bytes(), text);
        }
    }
}

/// The number that `text` is the one way to write of.
fn naive_number(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

fn numbers(text: &[u8]) {
    // The smallest of all has no counterpart, and no option takes it.
    let naive = naive_number(text).filter(|number| *number > i64::MIN);
    assert_eq!(shown(number(text, "a number", i64::MIN, i64::MAX)), naive);
    let bounded = naive.filter(|number| (-5..=1000).contains(number));
    assert_eq!(shown(number(text, "a number", -5, 1000)), bounded);
    let counted = naive.and_then(|n| u64::try_from(n).ok()).filter(|n| (1..=10_000).contains(n));
    assert_eq!(shown(count(text, "things", 10_000)), counted);
    let unsigned: Option<u64> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    let unsigned = unsigned.filter(|number| number.to_string().as_bytes() == text);
    assert_eq!(decimal(text), unsigned);
}

fn naive_id(text: &[u8]) -> Option<EventId> {
    let text = std::str::from_utf8(text).ok()?;
    let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
    let part = |part: &str| part.parse().ok().filter(|n: &u64| n.to_string() == part);
    Some(EventId { ms: part(ms)?, seq: part(seq)? })
}

fn ids(text: &[u8]) {
    let naive = naive_id(text);
    assert_eq!(shown(event_id(text)), naive);
    if let Some(id) = naive {
        assert_eq!(EventId::parse(id.to_string().as_bytes()), Some(id));
        assert!(id.next().is_none_or(|next| next > id));
    }
    let last = EventId { ms: 1_700_000_000_000, seq: 5 };
    if let Some(start) = shown(Start::parse(text)) {
        assert!(start.cursor(last) <= last);
        let dashed = text.contains(&b'-');
        let expected = match naive.filter(|_| dashed) {
            Some(id) => Start::After(id),
            None if is(text, "FIRST") => Start::First,
            None if is(text, "LAST") => Start::Last,
            None => Start::Time(decimal(text).expect("nothing else is a start")),
        };
        assert_eq!(start, expected);
    } else {
        assert!(naive.is_none() && !is(text, "FIRST") && !is(text, "LAST"));
    }
}

fn partitions(text: &[u8], ring: Option<&[u8]>) {
    let ring = ring.and_then(|ring| Name::ring(ring).ok());
    if let Some(PartitionArg::Key(ring, partition)) = shown(PartitionArg::parse(text)) {
        assert_eq!(stream_key(&ring, partition).as_bytes(), text);
    }
    match shown(partition_or_all(text, ring.clone())) {
        Some((found, None)) => {
            assert_eq!(text, b"*");
            assert_eq!(found, ring.unwrap_or_else(Name::default_name));
        }
        Some((found, Some(partition))) => {
            let by_key = stream_key(&found, partition).as_bytes() == text;
            let by_number = decimal(text).is_some_and(|n| {
                u32::try_from(n).is_ok_and(|n| n == partition)
                    || n >= u64::from(u32::MAX) && partition == u32::MAX
            });
            assert!(by_key || by_number, "{partition} of {found}");
            assert!(ring.is_none_or(|ring| ring == found));
        }
        None => {}
    }
}

fn keys(text: &[u8]) {
    if let Some((ring, partition)) = parse_stream_key(text) {
        assert_eq!(stream_key(&ring, partition).as_bytes(), text);
        assert_eq!(parse_ring_key(text), None, "a key is of one kind");
    }
    if let Some(ring) = parse_ring_key(text) {
        assert_eq!(ring_key(&ring).as_bytes(), text);
    }
    if is_name(text, false) {
        let ring = Name::ring(text).expect("a name");
        assert_eq!(parse_ring_key(ring_key(&ring).as_bytes()), Some(ring.clone()));
        assert_eq!(parse_stream_key(stream_key(&ring, 7).as_bytes()), Some((ring, 7)));
    }
}

/// `keyword value` pairs: the naive reader splits them first and looks for repetitions.
fn naive_pairs<'a>(words: &[&'a [u8]], known: &[&str]) -> Option<Vec<Option<&'a [u8]>>> {
    let mut found = vec![None; known.len()];
    if !words.len().is_multiple_of(2) {
        return None;
    }
    for pair in words.chunks(2) {
        let at = known.iter().position(|name| name.as_bytes().eq_ignore_ascii_case(pair[0]))?;
        if found[at].replace(pair[1]).is_some() {
            return None;
        }
    }
    Some(found)
}

fn claims(words: &[&[u8]]) {
    let mut reader = Words::new("evq.test", words);
    let mut claim = Claim::default();
    let read = loop {
        let Some(word) = reader.next() else { break reader.end() };
        match claim.take(word, &mut reader) {
            Ok(true) => {}
            Ok(false) => break Err(Error::syntax(word)),
            Err(error) => break Err(error),
        }
    };
    let naive = naive_pairs(words, &["RING", "GROUP", "WORKER", "EPOCH"]).and_then(|found| {
        let valid = found[0].is_none_or(|ring| is_name(ring, false))
            && found[1].is_none_or(|group| is_name(group, true))
            && found[2].is_none_or(|worker| is_name(worker, true))
            && found[3].is_none_or(|epoch| naive_number(epoch).is_some_and(|epoch| epoch >= 0));
        valid.then_some(found)
    });
    assert_eq!(shown(read).is_some(), naive.is_some());
    if let Some(found) = naive {
        let text =
            |name: &Option<Name>| name.as_ref().map(|name| name.as_str().as_bytes().to_vec());
        assert_eq!(text(&claim.ring).as_deref(), found[0]);
        assert_eq!(text(&claim.group).as_deref(), found[1]);
        assert_eq!(text(&claim.worker).as_deref(), found[2]);
        let epoch = found[3].and_then(naive_number).and_then(|epoch| u64::try_from(epoch).ok());
        assert_eq!(claim.epoch, epoch);
        assert_eq!(claim.group().as_str().as_bytes(), found[1].unwrap_or(b"default"));
    }
}

fn rings(words: &[&[u8]]) {
    let json = |word: &&[u8]| word.eq_ignore_ascii_case(b"JSON");
    let naive = match words {
        [] => Some((&b"default"[..], false)),
        [word] if json(word) => Some((&b"default"[..], true)),
        [ring] => Some((*ring, false)),
        [ring, word] if json(word) => Some((*ring, true)),
        _ => None,
    };
    let naive = naive.filter(|(ring, _)| is_name(ring, false));
    let read = shown(ring_and_format("evq.test", words));
    let read =
        read.as_ref().map(|(ring, format)| (ring.as_str().as_bytes(), *format == Format::Json));
    assert_eq!(read, naive);

    let naive = naive_pairs(words, &["RING"]).map(|found| found[0].unwrap_or(b"default"));
    let naive = naive.filter(|ring| is_name(ring, false));
    let read = shown(only_ring(&mut Words::new("evq.test", words)));
    assert_eq!(read.as_ref().map(|ring| ring.as_str().as_bytes()), naive);
}

/// Numbers behind keywords, as most commands have them.
fn options(words: &[&[u8]]) {
    let mut reader = Words::new("evq.test", words);
    let Some(first) = shown(reader.positional()) else { return assert!(words.is_empty()) };
    assert_eq!(reader.left() + 1, words.len());
    let naive = |min: i64, max: i64| {
        let number = words.get(1).and_then(|word| naive_number(word));
        number.filter(|number| (min..=max).contains(number))
    };
    let again = || Words::new("evq.test", words.get(1..).unwrap_or_default());
    let read = shown(again().duration_ms(first, "a duration", 1));
    assert_eq!(read, naive(1, MAX_DURATION_MS));
    let read = shown(again().count_after(first, "things", 10_000));
    assert_eq!(read.and_then(|n| i64::try_from(n).ok()), naive(1, 10_000));
    let read = shown(again().count_from_zero(first, "things", 64));
    assert_eq!(read.and_then(|n| i64::try_from(n).ok()), naive(0, 64));
    assert_eq!(shown(reader.value(first)), words.get(1).copied());
    assert_eq!(shown(reader.end()).is_some(), words.len() <= 2);
}
