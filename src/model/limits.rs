//! The bounds that clients meet: what they can make large, and how large at most.
//!
//! Each is stated in the table of limits in docs/commands.md, as `tests/it/limits.rs` checks. Most
//! are refused with `EVQLIMIT` before anything changes. Bounds of which no client is told, such as
//! the size of a background step, stand beside the code that keeps them. The model's own tests and
//! fuzzing lower two of the bounds here, to reach them often.

/// Partitions of one ring. 1024 streams spread over more cores than one server will ever use.
pub const MAX_PARTITIONS: u32 = 1024;
/// Virtual nodes per unit of weight.
pub const MAX_VNODES: u32 = 4096;
/// Weight of one partition.
pub const MAX_WEIGHT: u32 = 1000;
/// Points on one continuum (virtual nodes times weights). 262,144 sort in about 20 ms.
pub const MAX_POINTS: u64 = 262_144;
/// Resizes of a ring that are remembered because earlier events may still be handed out. Each is
/// checked on the way to a partition that gained keys.
pub const MAX_RESIZES: usize = 16;
/// Length of ring, group and worker names in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Groups of one ring.
pub const MAX_GROUPS: usize = 256;
/// Bytes of one event: all words of its EVQ.TRIGGER together. A stream node holds at most 1 GiB.
pub const MAX_EVENT_BYTES: usize = 256 * 1024 * 1024;
/// Types that one group can name.
pub const MAX_TYPES: usize = 64;
/// Bytes of one type named in TYPES.
pub const MAX_TYPE_BYTES: usize = 256;
/// The largest MAXATTEMPTS.
pub const MAX_ATTEMPTS: u32 = 1_000_000;
/// Exceptions of one group in one partition: events that wait for a retry, are held behind one, or
/// are dead under `hold`. At the bound the partition waits: it hands out no event that would have
/// to be held, and refuses an EVQ.NACK. Only poison that kills its workers still becomes dead, up
/// to twice as many. Each takes 200 to 240 bytes of memory.
pub const MAX_EXCEPTIONS: usize = if cfg!(any(test, fuzzing)) { 12 } else { 10_000 };
/// Events that one EVQ.REPLAY hands out again: each becomes an exception, and half of the room is
/// left for what fails meanwhile.
pub const MAX_REPLAY: usize = if cfg!(any(test, fuzzing)) { 6 } else { 5_000 };
/// Entries that one EVQ.REPLAY reads, about 50 ms.
pub const MAX_REPLAY_READ: usize = if cfg!(any(test, fuzzing)) { 40 } else { 100_000 };
/// Entries that one command looks at to find an event that the group takes; a group that filters
/// almost everything goes on in the background from there.
pub const MAX_SCAN: u64 = if cfg!(any(test, fuzzing)) { 16 } else { 20_000 };
/// Retained events that one `EVQ.RESIZE ... DRYRUN` looks at, about 50 ms.
pub const MAX_DRYRUN: usize = 100_000;
/// Bytes of the REASON of an EVQ.NACK that are kept; the rest is cut off.
pub const MAX_REASON_BYTES: usize = 1024;
/// The largest MAXDEPTH and MAXLEN: more events than any server's memory holds.
pub const MAX_KEPT_EVENTS: u64 = 1_000_000_000_000;
/// Headers of one event.
pub const MAX_HEADERS: usize = 64;
/// Events of one `EVQ.MTRIGGER`.
pub const MAX_BATCH: u64 = 10_000;
/// Events of one `EVQ.CONSUME` reply.
pub const MAX_COUNT: u64 = 10_000;
/// Bytes of the token of UNIQUE.
pub const MAX_TOKEN_BYTES: usize = 128;
/// Tokens that are remembered in one partition, each at most 64 bytes of memory.
pub const MAX_TOKENS: usize = if cfg!(any(test, fuzzing)) { 40 } else { 1_000_000 };
/// Tokens in one piece of what is saved or travels.
pub const MAX_TOKENS_A_PIECE: usize = if cfg!(any(test, fuzzing)) { 8 } else { 1000 };
/// Scheduled events that wait in one partition.
pub const MAX_SCHEDULED: usize = if cfg!(any(test, fuzzing)) { 40 } else { 1_000_000 };
/// Bytes of the words of all scheduled events that wait in one partition.
pub const MAX_SCHEDULED_BYTES: u64 = if cfg!(any(test, fuzzing)) { 4000 } else { 256 << 20 };
/// The last ticket of a scheduled event: no clock has come to so many microseconds, and the
/// protocol's numbers go twice as far.
pub const MAX_TICKET: u64 = 1 << 62;
/// Longest lease, block time and other duration a client may ask for: ten years.
pub const MAX_DURATION_MS: i64 = 10 * 365 * 24 * 3600 * 1000;
/// Bytes of one saved value that will be read back; a larger snapshot is refused as corrupt. Redis
/// takes no more for one string, and EVQ's other bounds keep a value below it, see
/// [`crate::model::saved::snapshot`].
pub const MAX_SNAPSHOT_BYTES: u64 = 512 * 1024 * 1024;
