//! The functions by which a module lets an exchange go on, ends it, or answers it.

use bytes::Bytes;
use wasmtime::Linker;

use super::ENV;
use super::maps;
use super::memory::{Answer, Guest, Status, code, parts, slice};
use crate::wasm::exchange::{Direction, Exchange, LocalResponse};
use crate::wasm::fault::Fault;
use crate::wasm::host::Host;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(ENV, "proxy_continue_stream", |guest: Guest<'_>, stream: i32| resume(guest.data(), stream))?;
    // Of version 0.1.0.
    linker.func_wrap(ENV, "proxy_continue_request", |guest: Guest<'_>| resume(guest.data(), 0))?;
    linker.func_wrap(ENV, "proxy_continue_response", |guest: Guest<'_>| resume(guest.data(), 1))?;
    linker.func_wrap(ENV, "proxy_clear_route_cache", |guest: Guest<'_>| {
        guest.data().with(|exchange| exchange.reroute = true);
        0
    })?;
    linker.func_wrap(ENV, "proxy_close_stream", |guest: Guest<'_>, _stream: i32| {
        end(guest.data(), |exchange| exchange.closed = true);
        0
    })?;
    linker.func_wrap(
        ENV,
        "proxy_send_local_response",
        |mut guest: Guest<'_>,
         status: i32,
         details: i32,
         details_len: i32,
         body: i32,
         body_len: i32,
         headers: i32,
         headers_len: i32,
         grpc: i32| {
            let (details, body, headers) = ((details, details_len), (body, body_len), (headers, headers_len));
            code(match local(&mut guest, status, details, body, headers, grpc) {
                Ok(response) => {
                    answer(guest.data_mut(), response);
                    Ok(())
                }
                Err(wrong) => Err(refuse(guest.data_mut(), wrong, status)),
            })
        },
    )?;
    Ok(())
}

fn resume(host: &Host, stream: i32) -> i32 {
    let direction = match stream {
        0 => Direction::Request,
        1 => Direction::Response,
        // TCP is not carried, and guests bear no other answer.
        _ => return 0,
    };
    if let Some(shared) = &host.current {
        shared.lock().resume(direction, host.asked());
        shared.wake(direction);
    }
    0
}

/// Ends an exchange, whichever way it is being waited in.
fn end(host: &Host, set: impl FnOnce(&mut Exchange)) {
    if let Some(shared) = &host.current {
        set(&mut shared.lock());
        shared.wake(Direction::Request);
        shared.wake(Direction::Response);
    }
}

fn answer(host: &mut Host, response: LocalResponse) {
    host.wrong = None;
    let who = host.asked();
    end(host, |exchange| {
        exchange.take_refused(who);
        exchange.local.get_or_insert(response);
    });
}

/// Whoever waits for this answer will get no other, unless the module mends it in the same callback.
fn refuse(host: &mut Host, wrong: Status, status: i32) -> Status {
    let why = match (200..=599).contains(&status) {
        true => "its headers or its texts cannot be read".to_owned(),
        false => format!("its status is {status}, and not from 200 to 599"),
    };
    host.wrong = Some(Fault::Answer { callback: "proxy_send_local_response", why });
    let who = host.asked();
    end(host, |exchange| exchange.refuse(who));
    wrong
}

fn local(
    guest: &mut Guest<'_>,
    status: i32,
    details: (i32, i32),
    body: (i32, i32),
    headers: (i32, i32),
    grpc: i32,
) -> Answer<LocalResponse> {
    let (memory, _) = parts(guest)?;
    let status = u16::try_from(status).ok().filter(|status| (200..=599).contains(status));
    Ok(LocalResponse {
        status: status.ok_or(Status::BadArgument)?,
        details: String::from_utf8_lossy(slice(memory, details.0, details.1)?).into_owned(),
        headers: maps::headers_of(&maps::decode_pairs(slice(memory, headers.0, headers.1)?)?)?,
        body: Bytes::copy_from_slice(slice(memory, body.0, body.1)?),
        grpc_status: u32::try_from(grpc).ok(),
    })
}
