//! How a manager ends what it gave out, though others hold it: it says so, and waits until all have done what is left.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

/// Held by a task that must do something before the end.
#[derive(Debug, Clone)]
pub(crate) struct Closing {
    told: watch::Receiver<bool>,
    _alive: Option<mpsc::Sender<()>>,
}

impl Closing {
    /// Waits until the end is announced; for ever if nobody can announce it any longer. Cancel-safe.
    pub(super) async fn closed(&mut self) {
        if self.told.wait_for(|closed| *closed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.told.borrow()
    }

    /// The end that nobody ever announces.
    pub(crate) fn never() -> Self {
        Closing { told: watch::channel(false).1, _alive: None }
    }
}

/// Announces the end.
#[derive(Debug)]
pub(crate) struct Closer {
    tell: watch::Sender<bool>,
    alive: Mutex<Option<mpsc::Sender<()>>>,
    ended: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

impl Closer {
    pub(crate) fn new() -> Self {
        let (alive, ended) = mpsc::channel(1);
        Closer {
            tell: watch::Sender::new(false),
            alive: Mutex::new(Some(alive)),
            ended: tokio::sync::Mutex::new(ended),
        }
    }

    pub(crate) fn closing(&self) -> Closing {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Closing { told: self.tell.subscribe(), _alive: alive }
    }

    /// Announces the end, and waits until everybody has come to it. May be called again.
    pub(crate) async fn close(&self) {
        self.tell.send_replace(true);
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut ended = self.ended.lock().await;
        while ended.recv().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_those_who_have_something_left_to_do() {
        let closer = Closer::new();
        let mut closing = closer.closing();
        let task = tokio::spawn(async move {
            closing.closed().await;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        });
        let start = tokio::time::Instant::now();
        closer.close().await;
        assert_eq!(start.elapsed().as_secs(), 1);
        task.await.unwrap();
        assert!(closer.closing().is_closed());
        closer.close().await;
    }
}
