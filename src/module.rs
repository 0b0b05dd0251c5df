//! Loading the module: what is registered, in which order, and nothing else.

use crate::command;
use crate::model::saved::snapshot::VERSION;
use crate::server::api::cluster;
use crate::server::api::ctx::Ctx;
use crate::server::api::log::{Level, line};
use crate::server::api::timer;
use crate::server::entry::{events, info, registry, sweep};
use crate::server::keyspace::{datatype, ring_value};
use crate::server::later::value as later;
use crate::server::ops::credentials::MISSING;
use crate::server::ops::{config, credentials};
use crate::server::unique::value as tokens;

on_load!(load);

fn load(ctx: &Ctx, arguments: &[&[u8]]) -> Result<(), String> {
    cluster::detect(ctx);
    let registered = ring_value::register(ctx)
        && datatype::register(ctx)
        && tokens::register(ctx)
        && later::register(ctx)
        && registry::register_category(ctx)
        && command::register(ctx)
        && events::subscribe(ctx)
        && info::register(ctx);
    if !registered {
        return Err("the server refused a type, a command or an event".into());
    }
    timer::install(sweep::run);
    config::register(ctx, arguments)?;
    let settings = config::describe();
    line(
        ctx.raw(),
        Level::Notice,
        &format!("EVQ {} loaded: {settings}; saved format {VERSION}", env!("CARGO_PKG_VERSION")),
    );
    if cluster::is_on() && credentials::of_peers(ctx).is_none() {
        line(ctx.raw(), Level::Warning, MISSING);
    }
    Ok(())
}
