//! Log, time, ticks and contexts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::level_filters::LevelFilter;
use wasmtime::Linker;

use super::ENV;
use super::memory::{Answer, Guest, Status, code, parts, slice, write_u32, write_u64};
use crate::wasm::host::Host;

/// The most that is logged of one message, in bytes.
const LONGEST_MESSAGE: usize = 8 << 10;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(ENV, "proxy_log", |mut guest: Guest<'_>, level: i32, at: i32, len: i32| {
        code(log(&mut guest, level, at, len))
    })?;
    linker.func_wrap(ENV, "proxy_get_log_level", |mut guest: Guest<'_>, out: i32| {
        code(write_u32(&mut guest, out, log_level()))
    })?;
    linker.func_wrap(ENV, "proxy_get_current_time_nanoseconds", |mut guest: Guest<'_>, out: i32| {
        code(write_u64(&mut guest, out, wall_clock()))
    })?;
    linker.func_wrap(ENV, "proxy_set_tick_period_milliseconds", |mut guest: Guest<'_>, millis: i32| {
        guest.data_mut().tick = (millis != 0).then(|| Duration::from_millis(u64::from(millis as u32)));
        0
    })?;
    linker.func_wrap(ENV, "proxy_set_effective_context", |mut guest: Guest<'_>, context: i32| {
        let host = guest.data_mut();
        host.context = context as u32;
        host.current = host.contexts.get(&host.context).cloned();
        0
    })?;
    linker.func_wrap(ENV, "proxy_done", |mut guest: Guest<'_>| {
        let host = guest.data_mut();
        host.done.push(host.context);
        0
    })?;
    Ok(())
}

/// Nanoseconds since 1970.
pub(super) fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn log(guest: &mut Guest<'_>, level: i32, at: i32, len: i32) -> Answer {
    let (memory, host) = parts(guest)?;
    say(host, level, slice(memory, at, len)?)
}

/// Writes a module's message to our log.
pub(super) fn say(host: &Host, level: i32, message: &[u8]) -> Answer {
    let message = String::from_utf8_lossy(&message[..message.len().min(LONGEST_MESSAGE)]);
    let (module, message) = (&*host.env.module, message.trim_end());
    match level {
        0 => tracing::trace!(target: "waypost::module", module, "{message}"),
        1 => tracing::debug!(target: "waypost::module", module, "{message}"),
        2 => tracing::info!(target: "waypost::module", module, "{message}"),
        3 => tracing::warn!(target: "waypost::module", module, "{message}"),
        4 | 5 => tracing::error!(target: "waypost::module", module, "{message}"),
        _ => return Err(Status::BadArgument),
    }
    Ok(())
}

/// The level from which on anything is logged at all, as proxy-wasm numbers them.
fn log_level() -> u32 {
    let level = LevelFilter::current();
    [LevelFilter::TRACE, LevelFilter::DEBUG, LevelFilter::INFO, LevelFilter::WARN, LevelFilter::ERROR]
        .iter()
        .position(|l| *l == level)
        .map_or(5, |n| n as u32)
}
