//! Our own functions, for policies: `filters/ABI.md`.

use std::sync::atomic::Ordering;

use wasmtime::Linker;

use super::memory::{Guest, parts, slice};
use crate::wasm::host::Host;

/// The module that they are imported from.
const WAYPOST: &str = "waypost";
/// The most that is kept of a reason, in bytes.
const LONGEST_REASON: usize = 200;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(WAYPOST, "in_flight", |guest: Guest<'_>, index: i32| {
        let state = guest.data().endpoints.get(index as u32 as usize);
        state.map_or(-1, |state| i32::try_from(state.in_flight.load(Ordering::Relaxed)).unwrap_or(i32::MAX))
    })?;
    linker.func_wrap(WAYPOST, "is_tried", |guest: Guest<'_>, index: i32| {
        i32::from(guest.data().tried.contains(&(index as u32)))
    })?;
    linker.func_wrap(WAYPOST, "set_reason", |mut guest: Guest<'_>, index: i32, at: i32, len: i32| {
        let Ok((memory, host)) = parts(&mut guest) else { return };
        let Ok(text) = slice(memory, at, len) else { return };
        if (index as u32 as usize) < host.endpoints.len() {
            let text = String::from_utf8_lossy(&text[..text.len().min(LONGEST_REASON)]).into_owned();
            host.reasons.insert(index as u32, text);
        }
    })?;
    Ok(())
}
