//! Every bound of EVQ in one place: what a client can make large, and how large at most.
//!
//! Each is documented in the README. Going over one is refused with `EVQLIMIT` (or `EVQNAME` for a
//! name) before anything changes.

/// Partitions of one ring. 1024 streams spread over more cores than one server will ever use.
pub const MAX_PARTITIONS: u32 = 1024;
/// Virtual nodes per unit of weight.
pub const MAX_VNODES: u32 = 4096;
/// Weight of one partition.
pub const MAX_WEIGHT: u32 = 1000;
/// Points on one continuum (virtual nodes times weights). 262,144 sort in about 20 ms.
pub const MAX_POINTS: u64 = 262_144;
/// Length of ring, group and worker names in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Groups of one ring.
pub const MAX_GROUPS: usize = 256;
/// Bytes of one event: all words of its EVQ.TRIGGER together. A stream node holds at most 1 GiB.
pub const MAX_EVENT_BYTES: usize = 256 * 1024 * 1024;
/// Headers of one event.
pub const MAX_HEADERS: usize = 64;
/// Events of one `EVQ.MTRIGGER`.
pub const MAX_BATCH: u64 = 10_000;
/// Events of one `EVQ.CONSUME` reply.
pub const MAX_COUNT: u64 = 10_000;
/// Longest lease, block time and other duration a client may ask for: ten years.
pub const MAX_DURATION_MS: i64 = 10 * 365 * 24 * 3600 * 1000;
/// Bytes of one saved value that will be read back; a larger snapshot is refused as corrupt.
pub const MAX_SNAPSHOT_BYTES: u64 = 64 * 1024 * 1024;
