//! What a job comes to, as the reply to the client that waited for it.

use serde_json::Value;

use crate::model::error::Error;
use crate::model::parse::Format;
use crate::peers::{Answer, Fault};
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::api::tree::Tree;

/// The reason of a node that takes this one for a client.
const STRANGER: &str = "refuses the user of this one: evq.cluster-user must be the same on all \
                        nodes, and may do everything";

/// What a client is told. It travels between threads.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// `OK`.
    Ok,
    /// A number.
    Integer(u64),
    /// What another node replied, or is put together from several replies.
    Answer(Answer),
    /// What is described, in a format.
    Described(Tree, Format),
}

/// The outcome of a job.
pub(crate) type Finished = Result<Outcome, Error>;

impl Outcome {
    /// Replies with it.
    pub(super) fn reply(&self, ctx: &Ctx) {
        match self {
            Self::Ok => reply::ok(ctx),
            Self::Integer(number) => reply::integer(ctx, *number),
            Self::Answer(answer) => tell(ctx, answer),
            Self::Described(tree, format) => reply::described(ctx, tree.clone(), *format),
        }
    }
}

fn tell(ctx: &Ctx, answer: &Answer) {
    match answer {
        Answer::Null => reply::null(ctx),
        Answer::Int(number) => reply::signed(ctx, *number),
        Answer::Bool(is_true) => reply::integer(ctx, (*is_true).into()),
        Answer::Real(number) => reply::double(ctx, *number),
        Answer::Simple(text) if text == "OK" => reply::ok(ctx),
        Answer::Simple(text) => reply::bytes(ctx, text.as_bytes()),
        Answer::Bulk(bytes) => reply::bytes(ctx, bytes),
        Answer::Array(items) | Answer::Set(items) => {
            reply::array(ctx, items.len());
            items.iter().for_each(|item| tell(ctx, item));
        }
        Answer::Map(pairs) => {
            reply::map(ctx, pairs.len());
            for (name, value) in pairs {
                tell(ctx, name);
                tell(ctx, value);
            }
        }
        Answer::Error(text) => reply::error_text(ctx, text),
    }
}

/// What another node replied, as a value that is described.
pub(super) fn tree_of(answer: Answer) -> Tree {
    let all = |items: Vec<Answer>| items.into_iter().map(tree_of).collect();
    match answer {
        Answer::Null => Tree::Null,
        Answer::Int(number) => Value::from(number).into(),
        Answer::Real(number) => Value::from(number).into(),
        Answer::Bool(is_true) => Value::from(is_true).into(),
        Answer::Simple(text) | Answer::Error(text) => text.into(),
        Answer::Bulk(bytes) => Tree::Text(bytes),
        Answer::Array(items) | Answer::Set(items) => all(items),
        Answer::Map(pairs) => {
            let name = |name| match name {
                Answer::Simple(text) => text,
                Answer::Bulk(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                _ => String::new(),
            };
            Tree::Map(pairs.into_iter().map(|(n, value)| (name(n), tree_of(value))).collect())
        }
    }
}

/// The answer of another node, or its error.
///
/// # Errors
/// [`Error::Stale`], [`Error::NoRing`], [`Error::Passed`], [`Error::Unreachable`],
/// [`Error::Unknown`], [`Error::Moving`].
pub(super) fn answered(answer: Result<Answer, Fault>) -> Result<Answer, Error> {
    match answer {
        Ok(Answer::Error(text)) => Err(match text.split(' ').next() {
            Some("EVQSTALE") => Error::Stale,
            Some("EVQNORING") => Error::NoRing,
            Some("EVQLATE") => Error::Unreachable("another node".to_owned(), "was late".to_owned()),
            Some("NOPERM") => Error::Unreachable("another node".to_owned(), STRANGER.to_owned()),
            _ => Error::Passed(text),
        }),
        Ok(answer) => Ok(answer),
        Err(fault) => Err(error_of(fault)),
    }
}

/// As [`answered`], of a question that changes nothing, whether or not it arrived.
pub(super) fn told(answer: Result<Answer, Fault>) -> Result<Answer, Error> {
    answered(answer).map_err(as_read)
}

/// The error of a read: one whose outcome is not known has changed nothing.
pub(super) fn as_read(error: Error) -> Error {
    match error {
        Error::Unknown(node) => Error::Unreachable(node, "did not answer in time".to_owned()),
        error => error,
    }
}

/// Why another node did not answer.
fn error_of(fault: Fault) -> Error {
    match fault {
        Fault::Unreachable(node) => {
            Error::Unreachable(node, "does not reply, or too many commands wait for it".to_owned())
        }
        Fault::Unknown(node) => Error::Unknown(node),
        Fault::Moving(node) => Error::Moving(node),
        Fault::Refused(why) => {
            Error::Unreachable("another node".to_owned(), format!("refuses this one: {why}"))
        }
    }
}
