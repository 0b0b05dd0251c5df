//! `EVQ.CANCEL ticket [RING ring]`
//!
//! Removes a scheduled event before it is appended, in any partition of the ring. Replies 1, or 0
//! if no event with this ticket is scheduled.

use crate::model::error::Error;
use crate::model::later::schedule::{Change, Schedule};
use crate::model::limits::MAX_TICKET;
use crate::model::parse::{Words, number, only_ring};
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::{key, reply};
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::RING;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::ring;
use crate::server::later::change::change;
use crate::server::ops::counters;

pub(super) struct Cancel;

impl Command for Cancel {
    const SPEC: Spec = Spec {
        name: c"EVQ.CANCEL",
        flags: c"write fast",
        acl: c"write fast",
        arity: -2,
        summary: c"Removes a scheduled event before it is appended.",
        complexity:
            c"O(P+log(N)), where P is the number of partitions and N the number of scheduled events.",
        routing: Routing::Word(1),
        args: &[Arg::integer(c"ticket"), RING],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let mut words = Words::new("evq.cancel", args.words());
        let ticket = number(words.positional()?, "ticket", 0, MAX_TICKET.cast_signed())?;
        let (ticket, ring) = (ticket.unsigned_abs(), only_ring(&mut words)?);
        let user = User::of(ctx);
        let view = ring::find(ctx, &user, &ring)?;
        let mut found = None;
        for p in view.partitions(None)? {
            let names = view.names.partition(p);
            let key = key::open_read(ctx, &names.later);
            let schedule = match key.value::<Schedule>() {
                Ok(None) => continue,
                schedule => schedule,
            };
            // Of partitions that have none nobody needs the key.
            user.check(&names.later, Access::Delete)?;
            if schedule?.is_some_and(|schedule| schedule.find(ticket).is_some()) {
                found = Some(names);
                break;
            }
        }
        if let Some(names) = &found {
            change(ctx, &names.later, Change::Removed(ticket))?;
            counters::CANCELLED.add(1);
        }
        reply::integer(ctx, u64::from(found.is_some()));
        Ok(())
    }
}
