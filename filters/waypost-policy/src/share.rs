//! Parts of all users that stay the same: who is in at 5 % is in at 10 % as well, in every process and after a restart.

use twox_hash::XxHash64;

/// A hash of a text or other bytes, the same everywhere: XXH64. Other seeds give hashes that have nothing in common.
#[must_use]
pub fn hash(key: &[u8], seed: u64) -> u64 {
    XxHash64::oneshot(seed, key)
}

/// Whether a user is among the `percent` of users, 0 to 100, that something is for. `salt` tells one such thing from
/// another: with the same salt, the same users would try out everything.
///
/// ```
/// use waypost_policy::share::is_among;
///
/// let users: Vec<_> = (0..1000).map(|n| format!("user-{n}")).collect();
/// let among = |percent| users.iter().filter(|user| is_among(percent, user.as_bytes(), "checkout")).count();
/// assert_eq!((among(0.0), among(5.0), among(100.0)), (0, 63, 1000));
/// ```
#[must_use]
pub fn is_among(percent: f64, user: &[u8], salt: &str) -> bool {
    let point = hash(user, hash(salt.as_bytes(), 0));
    // 2⁶⁴ hashes, of which the first percent are in.
    (point as f64) < percent / 100.0 * 2_f64.powi(64) || percent >= 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_stays_in() {
        let users: Vec<_> = (0..10_000_u32).map(u32::to_le_bytes).collect();
        let among = |percent: f64, salt: &str| -> Vec<_> {
            users.iter().filter(|user| is_among(percent, user.as_slice(), salt)).collect()
        };
        let (few, more) = (among(1.0, "a"), among(2.0, "a"));
        assert!(few.iter().all(|user| more.contains(user)));
        assert!((80..120).contains(&few.len()) && (160..240).contains(&more.len()), "{} {}", few.len(), more.len());
        let others = among(1.0, "b").into_iter().filter(|user| few.contains(user)).count();
        assert!(others < 10, "another salt means others: {others} in both");
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(hash(b"", 0), 0xef46_db37_51d8_e999);
        assert_eq!(hash(b"abc", 0), 0x44bc_2cf5_ad77_0999);
    }
}
