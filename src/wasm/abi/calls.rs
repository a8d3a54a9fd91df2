//! Calls that modules make to services, and what came of them. A service is found in the table, as for any client.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderValue, Method, Request, Uri};
use wasmtime::Linker;

use super::ENV;
use super::maps;
use super::memory::{Answer, Guest, Status, code, give, parts, slice, text, write_u32};
use crate::wasm::host::{Callout, Host};

/// The most calls that an instance may have under way or in preparation.
const MOST: usize = 1_000;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(
        ENV,
        "proxy_http_call",
        |mut guest: Guest<'_>,
         service: i32,
         service_len: i32,
         headers: i32,
         headers_len: i32,
         body: i32,
         body_len: i32,
         _trailers: i32,
         _trailers_len: i32,
         millis: i32,
         out: i32| {
            let token =
                http(&mut guest, (service, service_len), (headers, headers_len), (body, body_len), millis as u32);
            code(token.and_then(|token| write_u32(&mut guest, out, token)))
        },
    )?;
    linker.func_wrap(
        ENV,
        "proxy_grpc_call",
        |mut guest: Guest<'_>,
         upstream: i32,
         upstream_len: i32,
         service: i32,
         service_len: i32,
         method: i32,
         method_len: i32,
         metadata: i32,
         metadata_len: i32,
         message: i32,
         message_len: i32,
         millis: i32,
         out: i32| {
            let token = grpc(
                &mut guest,
                (upstream, upstream_len),
                [(service, service_len), (method, method_len)],
                (metadata, metadata_len),
                (message, message_len),
                millis as u32,
            );
            code(token.and_then(|token| write_u32(&mut guest, out, token)))
        },
    )?;
    // Streams are not made: the answer is one that guests bear.
    linker.func_wrap(
        ENV,
        "proxy_grpc_stream",
        |_upstream: i32,
         _upstream_len: i32,
         _service: i32,
         _service_len: i32,
         _method: i32,
         _method_len: i32,
         _metadata: i32,
         _metadata_len: i32,
         _out: i32| Status::InternalFailure as i32,
    )?;
    linker.func_wrap(ENV, "proxy_grpc_send", |_token: i32, _at: i32, _len: i32, _end: i32| Status::NotFound as i32)?;
    // What came of a call that was cancelled is not told; it cannot be taken back.
    linker.func_wrap(ENV, "proxy_grpc_cancel", |guest: Guest<'_>, token: i32| cancel(guest, token))?;
    linker.func_wrap(ENV, "proxy_grpc_close", |guest: Guest<'_>, token: i32| cancel(guest, token))?;
    linker.func_wrap(ENV, "proxy_get_status", |mut guest: Guest<'_>, out: i32, at: i32, len: i32| {
        let (status, message) = guest.data().reply.as_ref().map_or((0, String::new()), |reply| reply.grpc.clone());
        code(write_u32(&mut guest, out, status).and_then(|()| give(&mut guest, message.as_bytes(), at, len)))
    })?;
    Ok(())
}

fn cancel(mut guest: Guest<'_>, token: i32) -> i32 {
    let host = guest.data_mut();
    let before = host.callouts.len();
    host.callouts.retain(|callout| callout.token != token as u32);
    let cancelled = before - host.callouts.len();
    host.calls_open -= cancelled;
    if cancelled > 0 { 0 } else { Status::NotFound as i32 }
}

impl Host {
    fn call_out(&mut self, service: &str, request: Request<Bytes>, millis: u32, grpc: bool) -> Answer<u32> {
        if self.calls_open >= MOST {
            return Err(Status::InternalFailure);
        }
        self.calls_open += 1;
        self.last_callout = self.last_callout.wrapping_add(1).max(1);
        let token = self.last_callout;
        let timeout = Duration::from_millis(u64::from(millis));
        let instance = self.id;
        self.callouts.push(Callout { instance, token, service: service.to_owned(), request, timeout, grpc });
        Ok(token)
    }
}

fn http(guest: &mut Guest<'_>, service: (i32, i32), headers: (i32, i32), body: (i32, i32), millis: u32) -> Answer<u32> {
    let (memory, host) = parts(guest)?;
    let service = text(memory, service.0, service.1)?;
    let pairs = maps::decode_pairs(slice(memory, headers.0, headers.1)?)?;
    let body = Bytes::copy_from_slice(slice(memory, body.0, body.1)?);
    if host.env.table.slot(service).is_none() {
        return Err(Status::BadArgument);
    }
    let pseudo = |name: &[u8]| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let method = pseudo(b":method").ok_or(Status::BadArgument)?;
    let path = pseudo(b":path").ok_or(Status::BadArgument)?;
    let authority = pseudo(b":authority").unwrap_or(service.as_bytes());
    let mut request = Request::new(body);
    *request.method_mut() = Method::from_bytes(method).map_err(|_| Status::BadArgument)?;
    *request.uri_mut() = uri(authority, path)?;
    *request.headers_mut() = maps::headers_of(&pairs)?;
    host.call_out(service, request, millis, false)
}

fn grpc(
    guest: &mut Guest<'_>,
    upstream: (i32, i32),
    path: [(i32, i32); 2],
    metadata: (i32, i32),
    message: (i32, i32),
    millis: u32,
) -> Answer<u32> {
    let (memory, host) = parts(guest)?;
    let upstream = text(memory, upstream.0, upstream.1).map_err(|_| Status::ParseFailure)?;
    if host.env.table.slot(upstream).is_none() {
        return Err(Status::ParseFailure);
    }
    // From here on what is wrong is not the service's name.
    let wrong = |_| Status::InternalFailure;
    let [service, method] = path.map(|(at, len)| text(memory, at, len));
    let path = format!("/{}/{}", service.map_err(wrong)?, method.map_err(wrong)?);
    let pairs = maps::decode_pairs(slice(memory, metadata.0, metadata.1)?).map_err(wrong)?;
    let message = slice(memory, message.0, message.1)?;
    let mut body = BytesMut::with_capacity(5 + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).map_err(|_| Status::InternalFailure)?);
    body.put_slice(message);
    let mut request = Request::new(body.freeze());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri(upstream.as_bytes(), path.as_bytes()).map_err(wrong)?;
    *request.headers_mut() = maps::headers_of(&pairs).map_err(wrong)?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    host.call_out(upstream, request, millis, true)
}

fn uri(authority: &[u8], path: &[u8]) -> Answer<Uri> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    parts.authority = Some(authority.try_into().map_err(|_| Status::BadArgument)?);
    parts.path_and_query = Some(path.try_into().map_err(|_| Status::BadArgument)?);
    Uri::from_parts(parts).map_err(|_| Status::BadArgument)
}
