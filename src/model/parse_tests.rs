//! Words of commands, good and bad.

use super::*;

#[test]
fn numbers_are_canonical_and_bounded() {
    assert_eq!(number(b"-5", "x", -9, 9), Ok(-5));
    for bad in [
        "",
        "-",
        "-0",
        "+1",
        " 1",
        "1 ",
        "1.0",
        "1e3",
        "0x1",
        "10",
        "-10",
        "007",
        "9223372036854775808",
        "99999999999999999999999",
    ] {
        assert!(number(bad.as_bytes(), "x", -9, 9).is_err(), "{bad:?}");
    }
}

#[test]
fn an_option_is_given_once_and_whole() {
    let read = |words: &[&[u8]]| only_ring(&mut Words::new("c", words));
    assert_eq!(read(&[]), Ok(Name::default_name()));
    assert_eq!(read(&[b"ring", b"a"]), Name::ring(b"a"));
    assert_eq!(read(&[b"RING"]), Err(Error::syntax(b"RING")));
    assert_eq!(read(&[b"RING", b"a", b"RING", b"a"]), Err(Error::syntax(b"RING")));
    assert_eq!(read(&[b"GROUP", b"a"]), Err(Error::syntax(b"GROUP")));
}

#[test]
fn a_partition_is_a_number_or_its_stream_key() {
    let a = Name::ring(b"a").unwrap();
    let parse = |text: &str| PartitionArg::parse(text.as_bytes());
    assert_eq!(parse("3").unwrap().resolve(Some(a.clone())), Ok((a.clone(), 3)));
    assert_eq!(parse("evq:{a:3}").unwrap().resolve(None), Ok((a.clone(), 3)));
    assert_eq!(parse("evq:{a:3}").unwrap().resolve(Some(a.clone())), Ok((a.clone(), 3)));
    assert!(parse("evq:{b:3}").unwrap().resolve(Some(a)).is_err());
    assert!(parse("three").is_err() && parse("-1").is_err() && parse("").is_err());
}
