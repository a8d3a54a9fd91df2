//! Text from the registry, made fit for a message. Anybody who may write to etcd decides what stands there, so it can
//! be a megabyte long or steer a terminal.

/// More characters than this of a foreign text are not shown.
const SHOWN: usize = 80;

/// The start of `text`, with all that is not printable escaped, and `…` where something was left out. Markup is left as
/// it is: a page escapes what it shows, whoever wrote it.
pub(crate) fn clip(text: &str) -> String {
    let mut clipped = String::new();
    let mut rest = text.chars();
    for c in rest.by_ref().take(SHOWN) {
        match c {
            '"' | '\'' | '\\' => clipped.push(c),
            _ => clipped.extend(c.escape_debug()),
        }
    }
    if rest.next().is_some() {
        clipped.push('…');
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_printable() {
        assert_eq!(clip("a \"quoted\" <b>"), "a \"quoted\" <b>");
        assert_eq!(clip("\u{1b}[2J\n\u{202e}"), "\\u{1b}[2J\\n\\u{202e}");
        assert_eq!(clip(&"é".repeat(80)), "é".repeat(80));
        assert_eq!(clip(&"é".repeat(1 << 20)), format!("{}…", "é".repeat(80)));
    }
}
