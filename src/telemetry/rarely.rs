//! For what should be said once and then rarely, such as that etcd can't be reached.

use std::time::Duration;

use tokio::time::Instant;

/// Says when it is time to say it again. Not for sharing: whoever speaks owns it.
///
/// ```
/// # use std::time::Duration;
/// # use tokio::time::Instant;
/// use waypost::telemetry::Rarely;
///
/// let mut complaint = Rarely::new(Duration::from_secs(60));
/// let now = Instant::now();
/// assert_eq!(complaint.due(now), Some(0));
/// assert_eq!(complaint.due(now + Duration::from_secs(59)), None);
/// assert_eq!(complaint.due(now + Duration::from_secs(60)), Some(1)); // kept back once in between
/// ```
#[derive(Debug, Clone)]
pub struct Rarely {
    every: Duration,
    said: Option<Instant>,
    kept_back: u64,
}

impl Rarely {
    /// At once, and then at most once in `every`.
    pub fn new(every: Duration) -> Self {
        Rarely { every, said: None, kept_back: 0 }
    }

    /// Whether to say it now: `Some` with how often it was kept back since it was last said, or `None`.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < self.every) {
            self.kept_back += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.kept_back))
    }

    /// The trouble is over: the next is said at once. True if it had been said, so that its end is worth a line too.
    pub fn over(&mut self) -> bool {
        self.kept_back = 0;
        self.said.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_once_then_rarely_and_at_once_again_when_it_was_over() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut rarely = Rarely::new(10 * second);
        assert!(!rarely.over());
        let said: Vec<_> = (0..25).filter_map(|s| rarely.due(start + s * second)).collect();
        assert_eq!(said, [0, 9, 9]);
        assert!(rarely.over());
        assert!(!rarely.over());
        assert_eq!(rarely.due(start + 25 * second), Some(0));
    }
}
