//! Removal of a group: by EVQ.DELGROUP, and of groups that were idle for too long.

use super::letters::letters_name;
use super::state;
use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::saved::effect::Effect;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::ring;
use crate::server::waiting::release::dismiss;

/// Removes a group that exists, with its progress and its dead letters in `partitions`; who
/// waits in it is told so. O(partitions).
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn remove_group(
    ctx: &Ctx,
    ring: &RingNames,
    partitions: impl IntoIterator<Item = u32>,
    group: &Name,
) -> Result<(), Error> {
    let (mut progressed, mut letters) = (Vec::new(), Vec::new());
    for p in partitions {
        let names = ring.partition(p);
        if state::open(ctx, &names).progress(group)?.is_some() {
            progressed.push(names);
        }
        let dead = letters_name(&ring.name, p, group);
        if key::open_read(ctx, &dead).stream()?.is_some() {
            letters.push(dead);
        }
    }
    ring::change(ctx, ring, Effect::GroupGone(group.clone()))?;
    for names in &progressed {
        state::change_partition(ctx, names, Effect::GroupGone(group.clone()))?;
    }
    if !letters.is_empty() {
        key::unlink(ctx, &letters.iter().collect::<Vec<_>>())?;
    }
    dismiss(ctx, &ring.name, Some(group));
    Ok(())
}
