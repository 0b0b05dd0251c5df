//! `EVQ.APPLY key effect [field value ...]`: internal.
//!
//! Carries an encoded effect to a replica and out of the append-only file, with an event if the
//! effect has one. Clients are refused, so that they cannot write state that EVQ did not decide.

use crate::model::error::Error;
use crate::model::parse::Words;
use crate::model::saved::effect::Effect;
use crate::model::saved::snapshot::decode;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::api::text::Text;
use crate::server::delivery::state;
use crate::server::entry::command::{Command, Reach};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::replicate;
use crate::server::ops::alarm::unreadable;
use crate::server::producing::once;

pub(super) struct Apply;

const EFFECT: usize = 1;

impl Command for Apply {
    const SPEC: Spec = Spec {
        name: c"EVQ.APPLY",
        flags: c"write fast",
        acl: c"write fast dangerous",
        arity: -3,
        summary: c"Internal: applies a replicated effect. Clients are refused.",
        complexity: c"O(N), where N is the size of the effect.",
        routing: Routing::Key(1),
        args: &[
            Arg::string(c"key"),
            Arg::string(c"effect"),
            Arg::block(c"data", &[Arg::string(c"field"), Arg::string(c"value")])
                .optional()
                .repeated(),
        ],
    };
    const REACH: Reach = Reach::Internal;

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        if !ctx.is_replay() {
            return Err(Error::Usage("EVQ.APPLY is internal to replication"));
        }
        let mut words = Words::new("evq.apply", args.words());
        let key = Text::new(words.positional()?);
        let bytes = words.positional()?;
        let effect: Effect = decode(bytes).map_err(|corrupt| {
            unreadable(ctx, key.bytes(), corrupt);
            Error::Usage("this version cannot read the effect")
        })?;
        let mut fields = args.strings_from(EFFECT + 1).to_vec();
        if fields.is_empty() {
            state::apply(ctx, &key, effect, bytes)?;
        } else {
            once::replay(ctx, &key, effect, &mut fields)?;
            replicate::verbatim(ctx);
        }
        reply::ok(ctx);
        Ok(())
    }
}
