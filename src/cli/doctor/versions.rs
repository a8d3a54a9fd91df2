//! What is known of versions of etcd that concerns watchers and registrants.

/// Bugs of a version, each with where it is mended.
pub(super) fn judge(version: &str) -> Vec<String> {
    let parts: Vec<u32> = version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect();
    let [major, minor, patch] = parts[..] else {
        return vec![format!("its version `{}` is not understood", crate::registry::clip(version))];
    };
    let number = (major, minor, patch);
    let mut known = Vec::new();
    let mut say = |text: &str| known.push(text.to_owned());
    if number < (3, 4, 0) {
        say("it is older than 3.4, and nobody tests Waypost with it: take 3.5.18 or newer");
    }
    if number < (3, 4, 25) || ((3, 5, 0)..(3, 5, 8)).contains(&number) {
        say(
            "an answer to a request for progress can overtake events of a watch (mended in 3.4.25 and 3.5.8); Waypost allows for it",
        );
    }
    if number < (3, 5, 18) {
        say(
            "a delete event can be lost around a compaction (mended in 3.5.16 and 3.5.18): a dead instance then stays until the next list",
        );
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bug_is_told_of_the_versions_that_have_it() {
        for (version, bugs) in [
            ("3.4.23", 2),
            ("3.4.25", 1),
            ("3.5.1", 2),
            ("3.5.8", 1),
            ("3.5.17", 1),
            ("3.5.18", 0),
            ("3.6.0", 0),
            ("3.6.0-rc.1", 0),
            ("2.3.8", 3),
        ] {
            assert_eq!(judge(version).len(), bugs, "{version}: {:?}", judge(version));
        }
        assert!(judge("new\u{1b}")[0].contains("`new\\u{1b}` is not understood"));
    }
}
