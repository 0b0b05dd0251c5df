//! Two nouns of the model, compiled into the tests: a client of a cluster computes slots, and a
//! producer that finds its partition itself computes hashes. The library cannot be linked, because
//! it brings the server's allocator.

#[allow(dead_code, unreachable_pub)]
#[path = "../../src/model/hash.rs"]
pub(crate) mod hash;
#[allow(dead_code, unreachable_pub)]
#[path = "../../src/model/slots.rs"]
pub(crate) mod slots;
