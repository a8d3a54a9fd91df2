//! How whoever stands in line for a lock calls itself, for people, who would else see the number of a lease only. Etcd's
//! recipe looks at keys alone, so that Go and etcdctl do not mind what stands in one.

use std::fs;
use std::sync::LazyLock;

use serde_json::{Value, json};

/// The value of a key under this name: JSON, so that it is not taken for the proposal of a candidate, which is any text.
pub(super) fn write(name: &str) -> Vec<u8> {
    json!({ "holder": name }).to_string().into_bytes()
}

/// The name that a value says; none if it is another value, or an empty name.
pub(super) fn read(value: &[u8]) -> Option<String> {
    let Ok(Value::Object(mut said)) = serde_json::from_slice(value) else { return None };
    match said.remove("holder") {
        Some(Value::String(holder)) if said.is_empty() && !holder.is_empty() => Some(holder),
        _ => None,
    }
}

/// This process among all: its machine and its number.
pub(super) fn own() -> String {
    let host = host().unwrap_or("localhost");
    format!("{host}:{}", std::process::id())
}

/// The machine's name, if it says one.
pub(crate) fn host() -> Option<&'static str> {
    static HOST: LazyLock<Option<String>> = LazyLock::new(|| {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME")).ok()?;
        Some(name.trim().to_owned()).filter(|name| !name.is_empty() && name != "(none)")
    });
    HOST.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written_and_nothing_else_is_one() {
        for name in ["worker-2", "host:17", "\"<b>\n"] {
            assert_eq!(read(&write(name)).as_deref(), Some(name));
        }
        for value in [&b""[..], b"worker-2", b"{\"holder\":\"\"}", b"{\"holder\":\"a\",\"address\":\"b:1\"}", b"\xff"] {
            assert_eq!(read(value), None, "{value:?}");
        }
        assert!(own().ends_with(&format!(":{}", std::process::id())));
    }
}
