//! Every operation on a map of headers or trailers, the same for all four maps.

use proxy_wasm::{hostcalls::*, types::*};

/// Reads, adds, replaces and removes, value by value. `own` tells the maps apart where they meet in one answer.
pub fn change(map: MapType, number: usize, own: &str) -> Result<(), Status> {
    let pairs = get_map(map)?;
    let counted = get_map_bytes(map)?.len();
    let got = get_map_value(map, "x-guest-in")?;
    let bytes = get_map_value_bytes(map, "x-guest-bytes")?;
    let missing = get_map_value(map, "x-guest-not-there")?;

    add_map_value(map, "x-guest-number", &number.to_string())?;
    add_map_value(map, "x-guest-pairs", &format!("{},{counted}", pairs.len()))?;
    add_map_value(map, "x-guest-got", got.as_deref().unwrap_or("(none)"))?;
    add_map_value(map, "x-guest-missing", if missing.is_none() { "none" } else { "some" })?;
    if let Some(bytes) = bytes {
        set_map_value_bytes(map, "x-guest-bytes", Some(&[&bytes[..], b"!"].concat()))?;
    }
    add_map_value(map, "x-guest-add", "one")?;
    add_map_value_bytes(map, "x-guest-add", b"two")?;
    set_map_value(map, "x-guest-replace", Some(own))?;
    remove_map_value(map, "x-guest-remove")?;
    // Removing what isn't there is no error.
    set_map_value(map, "x-guest-not-there", None)
}

/// Writes the whole map anew: without what begins with `x-drop-`, and with one more pair.
pub fn set(map: MapType, own: &str) -> Result<(), Status> {
    let pairs = get_map_bytes(map)?;
    let kept = pairs.iter().filter(|(name, _)| !name.starts_with("x-drop-"));
    let mut kept: Vec<(&str, &[u8])> = kept.map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    kept.push(("x-guest-set", own.as_bytes()));
    set_map_bytes(map, kept)
}
