//! Idempotency: what a key that comes again is answered with (R29).

use super::draft::{Draft, Stop};
use crate::answer::CommandError;
use crate::command::KeyUse;
use crate::effect::Effect;
use crate::loaded::Loaded;
use crate::name::IdempotencyKey;
use crate::rows::{Hold, KeyRow, KeyTarget};

/// Looks a key up, before any denial. `None`: the request is new.
pub(crate) fn look_up<'a>(
    draft: &mut Draft<'a>,
    used: &KeyUse,
) -> Result<Option<&'a KeyTarget>, Stop> {
    let Some(row) = row(draft, &used.key)? else { return Ok(None) };
    if let KeyTarget::Hold(id) = row.target {
        match draft.account.hold(id) {
            Loaded::NotLoaded => {
                draft.need.holds.push(id);
                return Err(Stop::Need);
            }
            Loaded::Present(hold) if hold.is_open() && hold.expires <= draft.now => {
                draft.need.due = true;
                return Err(Stop::Need);
            }
            // A released or expired hold frees its key, and so does one that is gone, pruned
            // or not (R20).
            Loaded::Present(hold) if !hold.keeps_key() || hold.is_over(draft.now) => {
                return Ok(None);
            }
            Loaded::Absent => return Ok(None),
            Loaded::Present(_) => {}
        }
    }
    if row.digest != used.digest {
        return Err(CommandError::KeyReused(used.key.clone()).into());
    }
    Ok(Some(&row.target))
}

fn row<'a>(draft: &mut Draft<'a>, key: &IdempotencyKey) -> Result<Option<&'a KeyRow>, Stop> {
    match draft.account.key(key) {
        Loaded::Present(row) => Ok(Some(row)),
        Loaded::Absent => Ok(None),
        Loaded::NotLoaded => {
            draft.need.keys.push(key.clone());
            Err(Stop::Need)
        }
    }
}

/// Remembers what a key answers with.
pub(crate) fn remember(draft: &mut Draft<'_>, used: Option<&KeyUse>, target: KeyTarget) {
    if let Some(KeyUse { key, digest }) = used {
        let row = KeyRow { digest: *digest, target, created: draft.now };
        draft.effects.push(Effect::Key { key: key.clone(), row: Box::new(row) });
    }
}

/// Loads what [`take_back`] looks at: the key of an expired hold, and the hold that has it
/// now.
pub(crate) fn require_for_return(draft: &mut Draft<'_>, hold: &Hold) -> Result<(), Stop> {
    let Some((key, _)) = &hold.key else { return Ok(()) };
    if let Some(KeyRow { target: KeyTarget::Hold(id), .. }) = row(draft, key)?
        && draft.account.hold(*id) == Loaded::NotLoaded
    {
        draft.need.holds.push(*id);
        return Err(Stop::Need);
    }
    Ok(())
}

/// A late settle or a reopening takes the hold's key back, unless another request has it; one
/// that was pruned meanwhile is remembered anew.
pub(crate) fn take_back(draft: &mut Draft<'_>, hold: &Hold) {
    let Some((key, digest)) = &hold.key else { return };
    let created = match draft.account.key(key) {
        Loaded::Present(KeyRow { target: KeyTarget::Hold(holder), created, .. }) => {
            let other = draft.account.hold(*holder).present();
            if *holder == hold.id || other.is_some_and(Hold::keeps_key) {
                return;
            }
            *created
        }
        Loaded::Present(_) | Loaded::NotLoaded => return,
        Loaded::Absent => draft.now,
    };
    let row = KeyRow { digest: *digest, target: KeyTarget::Hold(hold.id), created };
    draft.effects.push(Effect::Key { key: key.clone(), row: Box::new(row) });
}
