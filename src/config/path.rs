//! Paths of keys: `proxy.listen`, `prefixes[0].client`, `services.named."acme.Greeter".balance`.

/// The path of `key` in the section at `path`.
pub fn join(path: &str, key: &str) -> String {
    let quote = if key.is_empty() || key.contains(['.', '"', '[', ' ']) { "\"" } else { "" };
    let dot = if path.is_empty() || key.is_empty() { "" } else { "." };
    match key {
        "" => path.to_owned(),
        _ => format!("{path}{dot}{quote}{key}{quote}"),
    }
}

/// The keys of a path without list positions. `None` if a key is empty or a quote is not closed.
pub(super) fn split(path: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut rest = path;
    loop {
        let (key, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if key.is_empty() {
            return None;
        }
        keys.push(key.to_owned());
        if tail.is_empty() {
            return Some(keys);
        }
        rest = tail.strip_prefix('.')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_split() {
        for keys in [vec!["proxy"], vec!["proxy", "listen"], vec!["services", "named", "acme.Greeter", "balance"]] {
            let path = keys.iter().fold(String::new(), |path, key| join(&path, key));
            assert_eq!(split(&path).unwrap(), keys, "{path}");
        }
        assert_eq!(join("services.named", "acme.Greeter"), r#"services.named."acme.Greeter""#);
        for path in ["", ".", "a.", ".a", "a..b", "\"a", "\"a\"b", "\"\""] {
            assert_eq!(split(path), None, "{path}");
        }
    }
}
