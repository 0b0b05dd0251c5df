//! Rings over a Redis or Valkey Cluster: keys in many slots, nodes that come and go, slots that
//! move.
//!
//! `nodes` tests what the others stand on: the harness's cluster and its client. `traps` has a test
//! for each thing that was found to break modules in a cluster; `control`, `moving` and `passing`
//! have the histories that a design has to survive: of a ring as a whole, of slots, of events that
//! one node takes for another.
//!
//! `hostile` sends every command to every node, right and wrong; `outages` takes slots and the
//! majority away, `stopped` a shard, `full` its memory. `memory` is what passing on leaves behind,
//! and what a ring takes. `taken_over` makes the ring of a single server that of a cluster.
//! `examples` runs examples/cluster, `clients` the cluster clients of other languages. `chaos` puts
//! all of it together.

mod chaos;
mod clients;
mod control;
mod examples;
mod full;
mod hostile;
mod memory;
mod moving;
mod nodes;
mod outages;
mod passing;
mod scene;
mod stopped;
mod taken_over;
mod traps;
