//! `EVQ.SEEK group partition|* first|last|<id>|<unix ms> [RING ring]`
//!
//! Moves the cursor of a group back, to replay, or ahead, to skip. Ends the lease, which fences a
//! running worker, and drops the retries and held events of the partition. Replies `OK`.

use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::parse::{Start, Words, only_ring, partition_or_all};
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::cluster::outcome::Outcome;
use crate::server::cluster::passing::Passing;
use crate::server::cluster::rights::{Of, Scope};
use crate::server::delivery::{leases, state};
use crate::server::dispatch::hand_over::hand_over;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::{PARTITION, RING};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::{place, ring};
use crate::server::waiting::release::look_again;

pub(super) struct Seek;

struct Request {
    group: Name,
    ring: Name,
    partition: Option<u32>,
    start: Start,
}

fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.seek", all);
    let group = Name::group(words.positional()?)?;
    let partition = words.positional()?;
    let start = Start::parse(words.positional()?)?;
    let given = words.left() > 0;
    let ring = only_ring(&mut words)?;
    let (ring, partition) = partition_or_all(partition, given.then_some(ring))?;
    Ok(Request { group, ring, partition, start })
}

impl Command for Seek {
    const SPEC: Spec = Spec {
        name: c"EVQ.SEEK",
        flags: c"write",
        acl: c"write slow",
        arity: -4,
        summary: c"Moves the position of a group back or ahead, in one partition or in all.",
        complexity: c"O(N), where N is the number of partitions.",
        routing: Routing::Word(2),
        args: &[Arg::string(c"group"), PARTITION, Arg::string(c"start"), RING],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let Request { ring, partition, .. } = parse(args.words())?;
        let rights = vec![(Of::Groups, Access::ReadUpdate), (Of::Stream, Access::Read)];
        let passing = Passing::verbatim(ring, args, rights).beside_data();
        passing.over(ctx, Scope::of(partition), |_, gathered| {
            gathered.all()?.for_each(drop);
            Ok(Outcome::Ok)
        })
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let Request { group, ring, partition, start } = parse(args.words())?;
        let user = User::of(ctx);
        let view = ring::find(ctx, &user, &ring)?;
        let mut places = Vec::new();
        for p in view.partitions(partition)? {
            let place = place::in_ring(ctx, &user, Access::ReadUpdate, &view, p, &group)?;
            user.check(&place.names.stream, Access::Read)?;
            state::open(ctx, &place.names).check()?;
            let cursor = ring::resolve_start(ctx, &place.names, start)?;
            places.push((place, cursor));
        }
        let now = ctx.now();
        for (place, cursor) in &places {
            leases::seek(ctx, place, *cursor, now)?;
        }
        // What is next may have to wait for another of these partitions, so all are moved first.
        for (place, _) in &places {
            // The cursor is moved, whoever pulls from it next.
            let _ = hand_over(ctx, &place.line);
            look_again(ctx, &place.line);
        }
        reply::ok(ctx);
        Ok(())
    }
}
