//! `EVQ.CANCEL ticket [RING ring]`
//!
//! Removes a scheduled event before it is appended, in any partition of the ring. Replies 1, or 0
//! if no event with this ticket is scheduled.

use crate::model::error::Error;
use crate::model::later::schedule::{Change, Schedule};
use crate::model::limits::MAX_TICKET;
use crate::model::name::Name;
use crate::model::parse::{Words, number, only_ring};
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::{key, reply};
use crate::server::cluster::outcome::Outcome;
use crate::server::cluster::passing::Passing;
use crate::server::cluster::rights::{Of, Scope};
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::RING;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::{copies, ring, tickets};
use crate::server::later::change::change;
use crate::server::ops::counters;

pub(super) struct Cancel;

fn parse(all: &[&[u8]]) -> Result<(u64, Name), Error> {
    let mut words = Words::new("evq.cancel", all);
    let ticket = number(words.positional()?, "ticket", 0, MAX_TICKET.cast_signed())?;
    Ok((ticket.unsigned_abs(), only_ring(&mut words)?))
}

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

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (ticket, ring) = parse(args.words())?;
        let passing = Passing::verbatim(ring, args, vec![(Of::Later, Access::Delete)]);
        passing.over(ctx, Scope::First(tickets::partition(ticket)), |_, gathered| {
            Ok(Outcome::Integer(gathered.all()?.map(|found| found.whole()).sum()))
        })
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (ticket, ring) = parse(args.words())?;
        let user = User::of(ctx);
        let view = ring::find(ctx, &user, &ring)?;
        let mut found = None;
        for p in view.partitions(None)? {
            let names = view.names.partition(p);
            let key = key::open_read(ctx, &names.later);
            let schedule = match key.value::<Schedule>() {
                Ok(None) => {
                    copies::check_owned(ctx, &names)?;
                    continue;
                }
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
