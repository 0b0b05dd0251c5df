//! The arguments that many commands share, for COMMAND DOCS. How they are read is in
//! [`crate::model::parse`].

use super::spec::Arg;

/// `partition`, a number or a stream key.
pub(crate) const PARTITION: Arg = Arg::string(c"partition");
/// `RING ring`.
pub(crate) const RING: Arg = Arg::option(c"ring", c"RING");
/// `TYPE type`.
pub(crate) const TYPE: Arg = Arg::option(c"type", c"TYPE");
/// `HEADER name value`, once or more.
pub(crate) const HEADER: Arg =
    Arg::block(c"header", &[Arg::string(c"name"), Arg::string(c"value")])
        .after(c"HEADER")
        .optional()
        .repeated();
/// `UNIQUE token`.
pub(crate) const UNIQUE: Arg = Arg::option(c"token", c"UNIQUE");
/// `GROUP group`.
pub(crate) const GROUP: Arg = Arg::option(c"group", c"GROUP");
/// `WORKER name`.
pub(crate) const WORKER: Arg = Arg::option(c"worker", c"WORKER");
/// `JSON`.
pub(crate) const JSON: Arg = Arg::flag(c"json", c"JSON");
/// `EPOCH epoch`.
pub(crate) const EPOCH: Arg = Arg::number(c"epoch", c"EPOCH");
