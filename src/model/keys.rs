//! The keys EVQ uses. A partition's keys share one hash tag, `{<ring>:<p>}`, so that they live in
//! one cluster slot and move together.

use super::ids::decimal;
use super::name::Name;

/// The ring's definition: `evq:{<ring>}`.
#[must_use]
pub fn ring_key(ring: &Name) -> String {
    format!("evq:{{{ring}}}")
}

/// The events of a partition, a native stream: `evq:{<ring>:<p>}`.
#[must_use]
pub fn stream_key(ring: &Name, partition: u32) -> String {
    format!("evq:{{{ring}:{partition}}}")
}

/// The delivery state of a partition: `evq:{<ring>:<p>}:groups`.
#[must_use]
pub fn groups_key(ring: &Name, partition: u32) -> String {
    format!("evq:{{{ring}:{partition}}}:groups")
}

/// The ring and partition whose delivery state is under a key; none for any other key.
#[must_use]
pub fn parse_groups_key(key: &[u8]) -> Option<(Name, u32)> {
    parse_stream_key(key.strip_suffix(b":groups")?)
}

/// The dead letters of a group in a partition: `evq:{<ring>:<p>}:dead:<group>`.
#[must_use]
pub fn dead_key(ring: &Name, partition: u32, group: &Name) -> String {
    format!("{}{group}", dead_prefix(ring, partition))
}

/// What the keys of all groups' dead letters in a partition begin with.
#[must_use]
pub fn dead_prefix(ring: &Name, partition: u32) -> String {
    format!("evq:{{{ring}:{partition}}}:dead:")
}

/// The tokens of a partition: `evq:{<ring>:<p>}:unique`.
#[must_use]
pub fn unique_key(ring: &Name, partition: u32) -> String {
    format!("evq:{{{ring}:{partition}}}:unique")
}

/// The ring and partition whose tokens are under a key; none for any other key.
#[must_use]
pub fn parse_unique_key(key: &[u8]) -> Option<(Name, u32)> {
    parse_stream_key(key.strip_suffix(b":unique")?)
}

/// The scheduled events of a partition: `evq:{<ring>:<p>}:later`.
#[must_use]
pub fn later_key(ring: &Name, partition: u32) -> String {
    format!("evq:{{{ring}:{partition}}}:later")
}

/// The ring and partition whose scheduled events are under a key; none for any other key.
#[must_use]
pub fn parse_later_key(key: &[u8]) -> Option<(Name, u32)> {
    parse_stream_key(key.strip_suffix(b":later")?)
}

/// The copy of the ring's definition beside a partition, in a cluster: `evq:{<ring>:<p>}:ring`.
#[must_use]
pub fn copy_key(ring: &Name, partition: u32) -> String {
    format!("evq:{{{ring}:{partition}}}:ring")
}

/// The ring and partition whose copy of the definition is under a key; none for any other key.
#[must_use]
pub fn parse_copy_key(key: &[u8]) -> Option<(Name, u32)> {
    parse_stream_key(key.strip_suffix(b":ring")?)
}

/// Whether a key may be one of a ring's: no other has to be read further.
#[must_use]
pub fn is_of_a_ring(key: &[u8]) -> bool {
    key.starts_with(b"evq:{")
}

/// The ring named by a ring key; none for any other key.
#[must_use]
pub fn parse_ring_key(key: &[u8]) -> Option<Name> {
    let inner = key.strip_prefix(b"evq:{")?.strip_suffix(b"}")?;
    Name::ring(inner).ok()
}

/// The ring and partition named by a stream key; none for any other key.
#[must_use]
pub fn parse_stream_key(key: &[u8]) -> Option<(Name, u32)> {
    let inner = key.strip_prefix(b"evq:{")?.strip_suffix(b"}")?;
    let colon = inner.iter().rposition(|&b| b == b':')?;
    let ring = Name::ring(inner.get(..colon)?).ok()?;
    let partition = u32::try_from(decimal(inner.get(colon + 1..)?)?).ok()?;
    Some((ring, partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_key_names_its_ring_and_partition() {
        let ring = Name::ring(b"orders.v2").unwrap();
        let key = stream_key(&ring, 17);
        assert_eq!(key, "evq:{orders.v2:17}");
        assert_eq!(parse_stream_key(key.as_bytes()), Some((ring.clone(), 17)));
        assert_eq!(parse_unique_key(unique_key(&ring, 17).as_bytes()), Some((ring.clone(), 17)));
        assert_eq!(parse_unique_key(key.as_bytes()), None);
        assert_eq!(parse_groups_key(groups_key(&ring, 17).as_bytes()), Some((ring.clone(), 17)));
        assert_eq!(parse_later_key(later_key(&ring, 17).as_bytes()), Some((ring.clone(), 17)));
        assert_eq!(parse_later_key(unique_key(&ring, 17).as_bytes()), None);
        assert_eq!(parse_copy_key(copy_key(&ring, 17).as_bytes()), Some((ring.clone(), 17)));
        assert_eq!(parse_copy_key(ring_key(&ring).as_bytes()), None);
        assert_eq!(parse_ring_key(ring_key(&ring).as_bytes()), Some(ring));
        let bad: [&[u8]; 7] = [
            b"evq:{a:01}",
            b"evq:{a:}",
            b"evq:{:1}",
            b"evq:{a:1}:groups",
            b"evq:{a}",
            b"3",
            b"evq:{a:4294967296}",
        ];
        for key in bad {
            assert_eq!(parse_stream_key(key), None, "{}", key.escape_ascii());
        }
    }
}
