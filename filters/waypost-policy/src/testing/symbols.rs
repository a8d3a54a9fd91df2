//! proxy-wasm's functions, answered by this thread's [`Host`](super::Host). What it does not have (queues,
//! gRPC calls and streams) fails with proxy-wasm's status 10, upon which the crate `proxy-wasm` panics or reports it.
#![expect(unsafe_code, reason = "proxy-wasm declares these functions with pointers, and the linker finds them by name")]

use std::slice;

use proxy_wasm::types::LogLevel;

use super::host::{Answered, Called, Host, host};

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;
const CAS_MISMATCH: u32 = 8;
const INTERNAL_FAILURE: u32 = 10;

/// What a module passes.
///
/// # Safety
///
/// `data` is null, or points to `size` bytes that live until the call has returned.
unsafe fn bytes<'a>(data: *const u8, size: usize) -> &'a [u8] {
    // SAFETY: what the caller keeps.
    if data.is_null() { &[] } else { unsafe { slice::from_raw_parts(data, size) } }
}

/// Like [`bytes`], as a text.
///
/// # Safety
///
/// As for [`bytes`].
unsafe fn text(data: *const u8, size: usize) -> String {
    // SAFETY: what the caller keeps.
    String::from_utf8_lossy(unsafe { bytes(data, size) }).into_owned()
}

/// Gives bytes to the module, whose they are from then on.
///
/// # Safety
///
/// Both pointers can be written to.
unsafe fn give(found: Option<Vec<u8>>, data: *mut *mut u8, size: *mut usize) -> u32 {
    let Some(found) = found else { return NOT_FOUND };
    let found = Box::leak(found.into_boxed_slice());
    // SAFETY: what the caller keeps.
    unsafe { (*data, *size) = (found.as_mut_ptr(), found.len()) };
    OK
}

/// Defines functions whose pointers are as their callers in the crate `proxy-wasm` have them: good for the call.
macro_rules! provide {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(#[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> u32 {
            // SAFETY: the one caller is the crate `proxy-wasm`, which passes slices and places of its own.
            #[allow(unused_unsafe, reason = "not every body has a pointer to follow")]
            unsafe { $body }
        })*
    };
}

provide! {
    fn proxy_log(level: u32, data: *const u8, size: usize) {
        let levels = [LogLevel::Trace, LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error];
        let level = levels.get(level as usize).copied().unwrap_or(LogLevel::Critical);
        let line = text(data, size);
        if level == LogLevel::Critical {
            say(&line);
        }
        host(|host| host.log.push((level, line)));
        OK
    }

    fn proxy_get_log_level(level: *mut u32) {
        *level = LogLevel::Trace as u32;
        OK
    }

    fn proxy_get_current_time_nanoseconds(time: *mut u64) {
        *time = host(|host| host.now);
        OK
    }

    fn proxy_set_tick_period_milliseconds(period: u32) {
        host(|host| host.tick = period);
        OK
    }

    fn proxy_get_buffer_bytes(kind: u32, start: usize, most: usize, data: *mut *mut u8, size: *mut usize) {
        let found = host(|host| host.buffers.get(&kind).cloned());
        let cut = |all: Vec<u8>| all.into_iter().skip(start).take(most).collect();
        give(found.map(cut), data, size)
    }

    fn proxy_set_buffer_bytes(kind: u32, start: usize, length: usize, data: *const u8, size: usize) {
        let new = bytes(data, size).to_vec();
        host(|host| {
            let buffer = host.buffers.entry(kind).or_default();
            let start = start.min(buffer.len());
            let end = start.saturating_add(length).min(buffer.len());
            buffer.splice(start..end, new);
        });
        OK
    }

    fn proxy_get_header_map_pairs(kind: u32, data: *mut *mut u8, size: *mut usize) {
        let map = host(|host| host.maps.get(&kind).cloned().unwrap_or_default());
        give(Some(encode(&map)), data, size)
    }

    fn proxy_set_header_map_pairs(kind: u32, data: *const u8, size: usize) {
        let map = decode(bytes(data, size));
        host(|host| host.maps.insert(kind, map));
        OK
    }

    fn proxy_get_header_map_value(kind: u32, key: *const u8, length: usize, data: *mut *mut u8, size: *mut usize) {
        let key = text(key, length);
        let first = |host: &mut Host| host.maps.get(&kind)?.iter().find(|(own, _)| *own == key).map(|at| at.1.clone());
        give(host(first), data, size)
    }

    fn proxy_add_header_map_value(kind: u32, key: *const u8, length: usize, data: *const u8, size: usize) {
        let header = (text(key, length), bytes(data, size).to_vec());
        host(|host| host.maps.entry(kind).or_default().push(header));
        OK
    }

    fn proxy_replace_header_map_value(kind: u32, key: *const u8, length: usize, data: *const u8, size: usize) {
        let header = (text(key, length), bytes(data, size).to_vec());
        host(|host| {
            let map = host.maps.entry(kind).or_default();
            map.retain(|(own, _)| *own != header.0);
            map.push(header);
        });
        OK
    }

    fn proxy_remove_header_map_value(kind: u32, key: *const u8, length: usize) {
        let key = text(key, length);
        host(|host| host.maps.entry(kind).or_default().retain(|(own, _)| *own != key));
        OK
    }

    fn proxy_get_property(path: *const u8, length: usize, data: *mut *mut u8, size: *mut usize) {
        let path = text(path, length).replace('\0', ".");
        give(host(|host| host.properties.get(&path).cloned()), data, size)
    }

    fn proxy_set_property(path: *const u8, length: usize, data: *const u8, size: usize) {
        let (path, value) = (text(path, length).replace('\0', "."), bytes(data, size).to_vec());
        host(|host| host.properties.insert(path, value));
        OK
    }

    fn proxy_get_shared_data(key: *const u8, length: usize, data: *mut *mut u8, size: *mut usize, cas: *mut u32) {
        let found = host(|host| host.shared.get(&text(key, length)).cloned());
        *cas = found.as_ref().map_or(0, |(_, cas)| *cas);
        give(found.map(|(value, _)| value), data, size)
    }

    fn proxy_set_shared_data(key: *const u8, length: usize, data: *const u8, size: usize, cas: u32) {
        let (key, value) = (text(key, length), bytes(data, size).to_vec());
        host(|host| {
            let current = host.shared.get(&key).map_or(0, |(_, current)| *current);
            if cas != 0 && cas != current {
                return CAS_MISMATCH;
            }
            host.shared.insert(key, (value, current + 1));
            OK
        })
    }

    fn proxy_send_local_response(
        status: u32,
        _details: *const u8,
        _details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc: i32,
    ) {
        let headers = decode(bytes(headers, headers_size));
        let body = bytes(body, body_size).to_vec();
        host(|host| host.answered = Some(Answered { status, grpc: u32::try_from(grpc).ok(), headers, body }));
        OK
    }

    fn proxy_define_metric(_kind: u32, name: *const u8, length: usize, id: *mut u32) {
        let name = text(name, length);
        *id = host(|host| {
            let known = host.metrics.iter().position(|(own, _)| *own == name);
            known.unwrap_or_else(|| {
                host.metrics.push((name, 0));
                host.metrics.len() - 1
            }) as u32
        });
        OK
    }

    fn proxy_get_metric(id: u32, value: *mut u64) {
        let Some(found) = host(|host| host.metrics.get(id as usize).map(|metric| metric.1)) else { return NOT_FOUND };
        *value = found;
        OK
    }

    fn proxy_record_metric(id: u32, value: u64) {
        change(id, |_| value)
    }

    fn proxy_increment_metric(id: u32, offset: i64) {
        change(id, |value| value.saturating_add_signed(offset))
    }

    fn proxy_call_foreign_function(
        _name: *const u8,
        _length: usize,
        _arguments: *const u8,
        _arguments_size: usize,
        _data: *mut *mut u8,
        _size: *mut usize,
    ) {
        NOT_FOUND
    }

    fn proxy_continue_stream(_stream: u32) { OK }
    fn proxy_close_stream(_stream: u32) { OK }
    fn proxy_set_effective_context(_context: u32) { OK }
    fn proxy_done() { OK }
    fn proxy_get_status(code: *mut u32, data: *mut *mut u8, size: *mut usize) {
        *code = 0;
        give(Some(Vec::new()), data, size)
    }

    fn proxy_http_call(
        service: *const u8,
        service_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        _trailers: *const u8,
        _trailers_size: usize,
        timeout: u32,
        token: *mut u32,
    ) {
        let service = text(service, service_size);
        let headers = decode(bytes(headers, headers_size));
        let body = bytes(body, body_size).to_vec();
        *token = host(|host| {
            host.calls.push(Called { service, headers, body, timeout });
            (host.calls.len() - 1) as u32
        });
        OK
    }

    fn proxy_grpc_call(
        _upstream: *const u8,
        _upstream_size: usize,
        _service: *const u8,
        _service_size: usize,
        _method: *const u8,
        _method_size: usize,
        _metadata: *const u8,
        _metadata_size: usize,
        _message: *const u8,
        _message_size: usize,
        _timeout: u32,
        _token: *mut u32,
    ) { INTERNAL_FAILURE }
    fn proxy_grpc_stream(
        _upstream: *const u8,
        _upstream_size: usize,
        _service: *const u8,
        _service_size: usize,
        _method: *const u8,
        _method_size: usize,
        _metadata: *const u8,
        _metadata_size: usize,
        _token: *mut u32,
    ) { INTERNAL_FAILURE }
    fn proxy_grpc_send(_token: u32, _message: *const u8, _size: usize, _end: bool) { INTERNAL_FAILURE }
    fn proxy_grpc_cancel(_token: u32) { NOT_FOUND }
    fn proxy_grpc_close(_token: u32) { NOT_FOUND }
    fn proxy_register_shared_queue(_name: *const u8, _name_size: usize, _id: *mut u32) { INTERNAL_FAILURE }
    fn proxy_resolve_shared_queue(_vm: *const u8, _vm_size: usize, _name: *const u8, _name_size: usize, _id: *mut u32) { NOT_FOUND }
    fn proxy_dequeue_shared_queue(_id: u32, _data: *mut *mut u8, _size: *mut usize) { NOT_FOUND }
    fn proxy_enqueue_shared_queue(_id: u32, _data: *const u8, _size: usize) { NOT_FOUND }
}

/// A panic whose hook logs it would be silent else.
#[expect(clippy::print_stderr, reason = "this is for people who run tests")]
fn say(line: &str) {
    eprintln!("{line}");
}

fn change(id: u32, change: impl FnOnce(u64) -> u64) -> u32 {
    host(|host| {
        let Some((_, value)) = host.metrics.get_mut(id as usize) else { return BAD_ARGUMENT };
        *value = change(*value);
        OK
    })
}

/// proxy-wasm's form of a map: the count, all lengths, then names and values with a zero after each.
fn encode(map: &[(String, Vec<u8>)]) -> Vec<u8> {
    let number = |number: usize| (number as u32).to_le_bytes();
    let mut data = number(map.len()).to_vec();
    for (name, value) in map {
        data.extend(number(name.len()));
        data.extend(number(value.len()));
    }
    for (name, value) in map {
        for part in [name.as_bytes(), value] {
            data.extend(part);
            data.push(0);
        }
    }
    data
}

fn decode(data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let number =
        |at: usize| data.get(at..at + 4).map_or(0, |four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    let count = number(0) as usize;
    let mut at = 4 + count * 8;
    let mut part = |size: u32| {
        let part = data[at..at + size as usize].to_vec();
        at += size as usize + 1;
        part
    };
    let pair = |place: usize| {
        let name = part(number(4 + place * 8));
        (String::from_utf8_lossy(&name).into_owned(), part(number(8 + place * 8)))
    };
    (0..count).map(pair).collect()
}
