//! The functions on buffers: bodies, configurations, and what came of calls.

use bytes::BytesMut;
use wasmtime::Linker;

use super::ENV;
use super::memory::{Answer, Guest, Status, Value, code, give, parts, slice, write_u32};
use crate::wasm::exchange::Direction::{Request, Response};
use crate::wasm::host::Host;

/// proxy-wasm's numbers for buffers.
const REQUEST_BODY: i32 = 0;
const RESPONSE_BODY: i32 = 1;
const CALL_BODY: i32 = 4;
const GRPC_MESSAGE: i32 = 5;
const VM_CONFIG: i32 = 6;
const CONFIG: i32 = 7;
const ARGUMENTS: i32 = 8;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_get_buffer_bytes",
        |mut guest: Guest<'_>, buffer: i32, start: i32, most: i32, at: i32, len: i32| {
            code(part(guest.data(), buffer, start, most).and_then(|part| give(&mut guest, part.as_ref(), at, len)))
        },
    )?;
    linker.func_wrap(ENV, "proxy_get_buffer_status", |mut guest: Guest<'_>, buffer: i32, len: i32, flags: i32| {
        code(size(guest.data(), buffer).and_then(|size| {
            write_u32(&mut guest, len, size)?;
            write_u32(&mut guest, flags, 0)
        }))
    })?;
    linker.func_wrap(
        ENV,
        "proxy_set_buffer_bytes",
        |mut guest: Guest<'_>, buffer: i32, start: i32, size: i32, at: i32, len: i32| {
            code(set(&mut guest, buffer, (start, size), (at, len)))
        },
    )?;
    // Of version 0.1.0.
    linker.func_wrap(ENV, "proxy_get_configuration", |mut guest: Guest<'_>, at: i32, len: i32| {
        let config = guest.data().config.clone();
        code(give(&mut guest, &config, at, len))
    })?;
    Ok(())
}

/// Shows a buffer; an error if there is none of that kind now.
fn look<T>(host: &Host, buffer: i32, look: impl FnOnce(&[u8]) -> T) -> Answer<T> {
    let who = host.asked();
    match buffer {
        REQUEST_BODY => host.with(|exchange| look(exchange.body(Request, who))).ok_or(Status::NotFound),
        RESPONSE_BODY => host.with(|exchange| look(exchange.body(Response, who))).ok_or(Status::NotFound),
        CALL_BODY | GRPC_MESSAGE => host.reply.as_ref().map(|reply| look(&reply.body)).ok_or(Status::NotFound),
        VM_CONFIG => Ok(look(&[])),
        CONFIG => Ok(look(&host.config)),
        ARGUMENTS => Ok(look(&host.arguments)),
        _ => Err(Status::NotFound),
    }
}

fn size(host: &Host, buffer: i32) -> Answer<u32> {
    look(host, buffer, |bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
}

/// What lies between `start` and so many bytes further, as far as there is any.
fn part(host: &Host, buffer: i32, start: i32, most: i32) -> Answer<Value> {
    let (start, most) = (start as u32 as usize, most as u32 as usize);
    look(host, buffer, |bytes| {
        let start = start.min(bytes.len());
        let end = start.saturating_add(most).min(bytes.len());
        Value::Vec(bytes[start..end].to_vec())
    })
}

fn set(guest: &mut Guest<'_>, buffer: i32, (start, size): (i32, i32), (at, len): (i32, i32)) -> Answer {
    let (memory, host) = parts(guest)?;
    let bytes = slice(memory, at, len)?;
    let (limit, who) = (host.env.buffer_limit, host.asked());
    let direction = match buffer {
        REQUEST_BODY => Request,
        RESPONSE_BODY => Response,
        _ => return Err(Status::BadArgument),
    };
    host.with(|exchange| {
        let body = exchange.body(direction, who);
        // Guests bear no other answer than OK: it is the exchange that ends, not the module.
        exchange.too_large |= splice(body, (start as u32, size as u32), bytes, limit).is_err();
        Ok(())
    })
    .unwrap_or(Err(Status::BadArgument))
}

/// Puts bytes in the place of others: before all with a size of 0 at 0, after all from the end on.
fn splice(buffer: &mut BytesMut, (start, size): (u32, u32), bytes: &[u8], limit: usize) -> Answer {
    let start = (start as usize).min(buffer.len());
    let end = start.saturating_add(size as usize).min(buffer.len());
    let len = buffer.len() - (end - start) + bytes.len();
    // A module may make a body larger, but not without end.
    if len > limit.max(buffer.len()) {
        return Err(Status::BadArgument);
    }
    let tail = buffer.split_off(end);
    buffer.truncate(start);
    buffer.extend_from_slice(bytes);
    buffer.unsplit(tail);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_put_before_within_and_after() {
        for (place, bytes, expected) in [
            ((0, 0), "ab", "ab12345"),
            ((0, 5), "ab", "ab"),
            ((0, u32::MAX), "", ""),
            ((5, 0), "ab", "12345ab"),
            ((99, 7), "ab", "12345ab"),
            ((1, 3), "ab", "1ab5"),
        ] {
            let mut buffer = BytesMut::from("12345");
            splice(&mut buffer, place, bytes.as_bytes(), 100).unwrap();
            assert_eq!(buffer, expected, "{place:?}");
        }
        let mut buffer = BytesMut::from("12345");
        assert_eq!(splice(&mut buffer, (5, 0), b"6789", 8), Err(Status::BadArgument));
        assert_eq!(buffer, "12345");
    }
}
