//! Loading the module: what is registered, in which order, and nothing else.

use crate::command;
use crate::model::snapshot::VERSION;
use crate::server::ctx::Ctx;
use crate::server::log::{Level, line};
use crate::server::{config, datatype, events, info, registry};

on_load!(load);

fn load(ctx: &Ctx, arguments: &[&[u8]]) -> Result<(), String> {
    if ctx.is_cluster() {
        return Err("cluster-enabled is yes; rings over a cluster are not supported yet".into());
    }
    let registered = datatype::register(ctx)
        && registry::register_category(ctx)
        && command::register(ctx)
        && events::subscribe(ctx)
        && info::register(ctx);
    if !registered {
        return Err("the server refused a type, a command or an event".into());
    }
    config::register(ctx, arguments)?;
    let settings = config::describe();
    line(
        ctx.raw(),
        Level::Notice,
        &format!("EVQ {} loaded: {settings}; saved format {VERSION}", env!("CARGO_PKG_VERSION")),
    );
    Ok(())
}
