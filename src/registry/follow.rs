//! What happens to a range of keys, for as long as somebody listens: a watch that is opened again when it breaks.

use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::time::sleep;

use super::Retry;
use crate::etcd::{Client, Error, Event, Watch};

/// What a listener is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// This happened, oldest first.
    Events(Vec<Event>),
    /// Something may have been missed: look yourself.
    Gap,
}

struct Follow {
    client: Client,
    range: (Vec<u8>, Vec<u8>),
    retry: Retry,
    from: i64,
    watch: Option<Watch>,
    failures: u32,
}

/// Follows the keys from `first` on and before `end`, beginning with what happened at revision `from`. The stream never
/// ends; dropping `next` loses nothing.
pub(crate) fn follow(
    client: Client,
    range: (Vec<u8>, Vec<u8>),
    retry: Retry,
    from: i64,
) -> Pin<Box<dyn Stream<Item = Heard> + Send>> {
    let follow = Follow { client, range, retry, from, watch: None, failures: 0 };
    Box::pin(unfold(follow, |mut follow| async move {
        let heard = follow.next().await;
        Some((heard, follow))
    }))
}

impl Follow {
    async fn next(&mut self) -> Heard {
        loop {
            match self.attempt().await {
                Ok(Some(heard)) => return heard,
                Ok(None) => {}
                Err(error) => {
                    self.watch = None;
                    if let Error::Compacted { .. } = error {
                        self.from = 0;
                        return Heard::Gap;
                    }
                    self.failures = self.failures.saturating_add(1);
                    tracing::debug!(%error, "a watch broke and will be opened again");
                    sleep(self.retry.wait(self.failures, fastrand::f64())).await;
                }
            }
        }
    }

    async fn attempt(&mut self) -> Result<Option<Heard>, Error> {
        let Some(watch) = &mut self.watch else {
            let watch = self.client.watch_range(&self.range.0, &self.range.1, self.from).await?;
            let revision = watch.opened().revision;
            // A store that went back is another one, and this watch would wait until it has caught up.
            let went_back = revision + 1 < self.from;
            // Whoever asks from now on, as after a compaction, does not know what was before.
            let gap = self.from == 0 || went_back;
            if gap {
                self.from = revision + 1;
            }
            self.watch = (!went_back).then_some(watch);
            return Ok(gap.then_some(Heard::Gap));
        };
        let response = watch.next().await?;
        self.failures = 0;
        if response.events.is_empty() {
            return Ok(None);
        }
        self.from = response.events.iter().map(Event::revision).max().unwrap_or_default() + 1;
        Ok(Some(Heard::Events(response.events)))
    }
}
