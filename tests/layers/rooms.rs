//! The rooms of `src/server` and `src/model`, and which may know which. Each rule returns what is
//! broken, as `path:line: what`.

use crate::arrows::Arrow;

/// The rooms of `src/server`, bottom up: a room knows itself and those before it.
const SERVER: &[&str] = &[
    "api",
    "ops",
    "keyspace",
    "unique",
    "later",
    "waiting",
    "delivery",
    "retention",
    "dispatch",
    "producing",
    "cluster",
    "entry",
];

/// The room of the files that lie flat in `src/model`.
const NOUNS: &str = "nouns";

/// The rooms of `src/model`, bottom up, each with the rooms it knows besides itself.
const MODEL: &[(&str, &[&str])] = &[
    (NOUNS, &[]),
    ("ring", &[NOUNS]),
    ("progress", &[NOUNS, "ring"]),
    ("unique", &[NOUNS]),
    ("later", &[NOUNS, "unique"]),
    ("saved", &[NOUNS, "ring", "progress", "unique", "later"]),
    ("rules", &[NOUNS, "ring", "progress", "saved"]),
    ("waiting", &[NOUNS, "ring", "progress", "rules"]),
];

/// The folder in `src/model` that only tests use. It knows all rooms and no room knows it.
const SIMULATOR: &str = "simulator";

/// A file's place among the layers that have rooms.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    /// A room, open or not listed, of a layer.
    Room(Layer, &'a str),
    /// The `mod.rs` of a layer, which opens its rooms and belongs to none.
    Door(Layer),
    /// A file that lies flat in `src/server`.
    Flat,
    /// A file elsewhere, or of the simulator.
    Outside,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Server,
    Model,
}

/// The complaint about a file that lies in no listed room.
pub(crate) fn place(path: &str) -> Option<String> {
    let broken = match place_of(path) {
        Place::Flat => "lies flat in src/server, in none of its rooms".to_owned(),
        Place::Room(layer, room) if !is_listed(layer, room) => {
            format!("{room} is not among the rooms")
        }
        _ => return None,
    };
    Some(format!("{path}:1: {broken}"))
}

/// The arrows that go against the order of the rooms.
pub(crate) fn order(arrows: &[Arrow]) -> Vec<String> {
    arrows.iter().filter_map(against_order).collect()
}

fn against_order(arrow: &Arrow) -> Option<String> {
    let Arrow { from, line, to } = arrow;
    let Place::Room(layer, room) = place_of(from) else { return None };
    match place_of(to) {
        Place::Room(other, known) if other == layer && is_against(layer, room, known) => {
            Some(format!("{from}:{line}: {room} may not know {known}: {to}"))
        }
        Place::Door(other) if other == layer => {
            Some(format!("{from}:{line}: {room} names {to}, which is in no room"))
        }
        _ => None,
    }
}

fn place_of(path: &str) -> Place<'_> {
    let (layer, inside) = if let Some(inside) = path.strip_prefix("src/server/") {
        (Layer::Server, inside)
    } else if let Some(inside) = path.strip_prefix("src/model/") {
        (Layer::Model, inside)
    } else {
        return Place::Outside;
    };
    match (layer, inside.split_once('/')) {
        (Layer::Model, Some((SIMULATOR, _))) => Place::Outside,
        (_, Some((room, _))) => Place::Room(layer, room),
        _ if inside == "mod.rs" => Place::Door(layer),
        (Layer::Server, None) => Place::Flat,
        (Layer::Model, None) => Place::Room(layer, NOUNS),
    }
}

fn is_listed(layer: Layer, room: &str) -> bool {
    match layer {
        Layer::Server => SERVER.contains(&room),
        Layer::Model => MODEL.iter().any(|(name, _)| *name == room),
    }
}

/// `room` may not know `known`. Both are listed: a room without a place in the order has no arrow
/// against it.
fn is_against(layer: Layer, room: &str, known: &str) -> bool {
    if room == known || !is_listed(layer, room) || !is_listed(layer, known) {
        return false;
    }
    match layer {
        Layer::Server => SERVER.iter().take_while(|name| **name != room).all(|name| *name != known),
        Layer::Model => MODEL.iter().all(|(name, below)| *name != room || !below.contains(&known)),
    }
}
