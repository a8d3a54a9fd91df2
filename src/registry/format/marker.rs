//! Keys that register nothing: what etcd's lock and election recipes and the directory habits of some systems leave
//! beside instances. Locks and elections get views of their own; here they are only kept apart.

use crate::registry::Address;

/// What this key is, if it is a known thing but no instance. With `auto` unset the value's format was named, so a value
/// that could be an instance's is one.
pub(super) fn recognise(key: &str, value: &[u8], lease: i64, auto: bool) -> Option<&'static str> {
    let (parents, last) = key.rsplit_once('/').unwrap_or(("", key));
    let parent = parents.rsplit('/').next().unwrap_or_default();
    let empty = value.is_empty();
    let digits = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());

    if lease != 0 && last == format!("{lease:x}") && (empty || auto) {
        return Some(if empty { "a contender for a lock" } else { "a candidate of an election" });
    }
    if lease != 0 && empty && digits && matches!(parent, "read" | "write") {
        return Some("a contender for a read-write lock");
    }
    if is_uuid_v1(value) && parents.split('/').any(|part| part == "locks") {
        return Some("a lock");
    }
    if last.is_empty() && (empty || value == b"init_dir") {
        return Some("a directory marker");
    }
    if !auto {
        return None;
    }
    if lease != 0 && last == lease.to_string() && parents.split('/').any(|part| part == "election") {
        return Some("a candidate of an election");
    }
    if value == b"rpcx_path" || (!empty && value == last.as_bytes() && last.parse::<Address>().is_err()) {
        return Some("a directory of rpcx");
    }
    let dubbo = |part| matches!(part, "consumers" | "configurators" | "routers");
    if (last == "providers" || dubbo(last)) && value.iter().all(|b| b.is_ascii_digit() || *b == b'-') {
        return Some("a directory of Dubbo");
    }
    (dubbo(parent) && last.contains("%3A%2F%2F")).then_some("a consumer or a rule of Dubbo")
}

/// What Python's lock recipes store: a time-based UUID as 16 bytes.
fn is_uuid_v1(value: &[u8]) -> bool {
    value.len() == 16 && value[6] >> 4 == 1 && value[8] >> 6 == 2
}
