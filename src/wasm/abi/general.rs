//! Log, time, ticks and contexts.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::level_filters::LevelFilter;
use wasmtime::Linker;

use super::ENV;
use super::memory::{Answer, Guest, Status, code, parts, slice, write_u32, write_u64};
use crate::wasm::host::Host;

/// The most that is logged of one message, in bytes.
pub(super) const LONGEST_MESSAGE: usize = 4 << 10;
/// What stands at the end of one that was longer.
const CUT: &str = " … (cut)";

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
    let (module, message) = (&*host.env.module, Plain(message.trim_ascii_end()));
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

/// A module's message on one line: characters that would end the line or steer a terminal are shown as Rust escapes them.
struct Plain<'a>(&'a [u8]);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A little more than is written, so that it shows whether there is more.
        let text = String::from_utf8_lossy(&self.0[..self.0.len().min(LONGEST_MESSAGE + char::MAX.len_utf8())]);
        let mut written = 0;
        for c in text.chars() {
            if written >= LONGEST_MESSAGE {
                return f.write_str(CUT);
            }
            if c.is_control() {
                let escaped = c.escape_default();
                written += escaped.len();
                write!(f, "{escaped}")?;
            } else {
                written += c.len_utf8();
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// The level from which on anything is logged at all, as proxy-wasm numbers them.
fn log_level() -> u32 {
    let level = LevelFilter::current();
    [LevelFilter::TRACE, LevelFilter::DEBUG, LevelFilter::INFO, LevelFilter::WARN, LevelFilter::ERROR]
        .iter()
        .position(|l| *l == level)
        .map_or(5, |n| n as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_forges_a_line_or_steers_a_terminal() {
        for (message, expected) in [
            (&b"all is well\n"[..], "all is well"),
            (b"a\n2026-01-01T00:00:00Z ERROR b", "a\\n2026-01-01T00:00:00Z ERROR b"),
            (b"a\r\0\x1b[31mb\t\x7f", "a\\r\\u{0}\\u{1b}[31mb\\t\\u{7f}"),
            ("ä \u{9b}31m".as_bytes(), "ä \\u{9b}31m"),
            (b"a\xffb", "a\u{fffd}b"),
        ] {
            assert_eq!(Plain(message.trim_ascii_end()).to_string(), expected);
        }
    }

    #[test]
    fn a_long_message_is_cut_and_says_so() {
        let whole = "x".repeat(LONGEST_MESSAGE);
        assert_eq!(Plain(whole.as_bytes()).to_string(), whole);
        assert_eq!(Plain(format!("{whole}y").as_bytes()).to_string(), format!("{whole}{CUT}"));
        for text in ["\0", "ä", "\u{10ffff}", "x€"] {
            let said = Plain(text.repeat(LONGEST_MESSAGE).as_bytes()).to_string();
            assert!(said.ends_with(CUT) && said.len() < LONGEST_MESSAGE + 20, "{text:?}: {}", said.len());
        }
    }
}
