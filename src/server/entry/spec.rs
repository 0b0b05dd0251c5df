//! The description of a command for the server and its clients: arity, flags, ACL categories,
//! routing, and the arguments for COMMAND DOCS.

use std::ffi::{CStr, c_int};

/// What the server and its clients are told about a command.
#[derive(Debug)]
pub(crate) struct Spec {
    /// `EVQ.NAME`.
    pub(crate) name: &'static CStr,
    /// The server's command flags.
    pub(crate) flags: &'static CStr,
    /// ACL categories beside those that follow from the flags on newer servers.
    pub(crate) acl: &'static CStr,
    /// Number of words with the name; negative: at least that many.
    pub(crate) arity: c_int,
    /// One line for COMMAND DOCS.
    pub(crate) summary: &'static CStr,
    /// Time complexity for COMMAND DOCS.
    pub(crate) complexity: &'static CStr,
    /// By which word a cluster client routes the command.
    pub(crate) routing: Routing,
    /// The arguments for COMMAND DOCS.
    pub(crate) args: &'static [Arg],
}

impl Spec {
    /// Whether the server refuses the command over its memory limit.
    pub(crate) fn may_use_memory(&self) -> bool {
        self.flags.to_bytes().split(|byte| *byte == b' ').any(|flag| flag == b"deny-oom")
    }
}

/// The word that routes a command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Routing {
    /// None: the command is about the whole database.
    None,
    /// The word at this index, which is not itself a key that is touched. The keys that are
    /// touched are checked against the user's ACL by the command.
    Word(c_int),
    /// The word at this index is the key.
    Key(c_int),
}

/// How an argument looks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ArgKind {
    /// Any bytes.
    String,
    /// A whole number.
    Integer,
    /// A keyword alone.
    Keyword,
    /// One of `parts`.
    OneOf,
    /// All of `parts`, in order.
    Block,
}

/// One argument for COMMAND DOCS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arg {
    pub(crate) name: &'static CStr,
    pub(crate) kind: ArgKind,
    pub(crate) keyword: Option<&'static CStr>,
    pub(crate) optional: bool,
    pub(crate) repeats: bool,
    pub(crate) parts: &'static [Arg],
}

impl Arg {
    const fn new(name: &'static CStr, kind: ArgKind) -> Self {
        Self { name, kind, keyword: None, optional: false, repeats: false, parts: &[] }
    }

    /// A positional argument of any bytes.
    pub(crate) const fn string(name: &'static CStr) -> Self {
        Self::new(name, ArgKind::String)
    }

    /// A positional whole number.
    pub(crate) const fn integer(name: &'static CStr) -> Self {
        Self::new(name, ArgKind::Integer)
    }

    /// An optional keyword alone.
    pub(crate) const fn flag(name: &'static CStr, keyword: &'static CStr) -> Self {
        Self { keyword: Some(keyword), optional: true, ..Self::new(name, ArgKind::Keyword) }
    }

    /// An optional keyword followed by a value of any bytes.
    pub(crate) const fn option(name: &'static CStr, keyword: &'static CStr) -> Self {
        Self { keyword: Some(keyword), optional: true, ..Self::string(name) }
    }

    /// An optional keyword followed by a whole number.
    pub(crate) const fn number(name: &'static CStr, keyword: &'static CStr) -> Self {
        Self { keyword: Some(keyword), optional: true, ..Self::integer(name) }
    }

    /// One of several.
    pub(crate) const fn one_of(name: &'static CStr, parts: &'static [Self]) -> Self {
        Self { parts, ..Self::new(name, ArgKind::OneOf) }
    }

    /// Several in a row.
    pub(crate) const fn block(name: &'static CStr, parts: &'static [Self]) -> Self {
        Self { parts, ..Self::new(name, ArgKind::Block) }
    }

    /// This argument after a keyword.
    pub(crate) const fn after(self, keyword: &'static CStr) -> Self {
        Self { keyword: Some(keyword), ..self }
    }

    /// This argument, which may be left out.
    pub(crate) const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// This argument, which must be there.
    pub(crate) const fn required(self) -> Self {
        Self { optional: false, ..self }
    }

    /// This argument any number of times.
    pub(crate) const fn repeated(self) -> Self {
        Self { repeats: true, ..self }
    }
}
