//! The watch stream. It pulls what happened when it is woken, and only as fast as the client reads; nothing queues up
//! for a slow one.

use std::collections::VecDeque;
use std::sync::Arc;

use etcd_client::proto::{PbWatchRequest, PbWatchRequestUnion, PbWatchResponse, PbWatchService};
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::{Request, Response, Status, Streaming};

use super::{Responses, Service};
use crate::embedded::error::Error;
use crate::embedded::shared::{Shared, Signal};
use crate::embedded::watchers::{Ask, Watchers};

#[tonic::async_trait]
impl PbWatchService for Service {
    type WatchStream = Responses<PbWatchResponse>;

    async fn watch(&self, request: Request<Streaming<PbWatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let stream = Stream::new(self.0.clone(), request.into_inner());
        let responses = unfold(Some(stream), |stream| async {
            let mut stream = stream?;
            match stream.next().await {
                Some(Ok(response)) => Some((Ok(response), Some(stream))),
                // An error is the last thing that a stream says.
                Some(Err(status)) => Some((Err(status), None)),
                None => None,
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

struct Stream {
    shared: Arc<Shared>,
    requests: Streaming<PbWatchRequest>,
    /// The client may ask for more.
    open: bool,
    signal: watch::Receiver<Signal>,
    /// The number under which this stream began.
    number: u64,
    watchers: Watchers,
    ready: VecDeque<PbWatchResponse>,
    /// The client asked for progress, and has its answer when it knows everything.
    progress_asked: bool,
    notices: Interval,
}

impl Stream {
    fn new(shared: Arc<Shared>, requests: Streaming<PbWatchRequest>) -> Self {
        let signal = shared.subscribe();
        let number = signal.borrow().watches;
        let interval = shared.config.progress_notify;
        let mut notices = interval_at(Instant::now() + interval, interval);
        notices.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Stream {
            shared,
            requests,
            open: true,
            signal,
            number,
            watchers: Watchers::default(),
            ready: VecDeque::new(),
            progress_asked: false,
            notices,
        }
    }

    /// The next response; none when the client is gone. Cancel-safe.
    async fn next(&mut self) -> Option<Result<PbWatchResponse, Status>> {
        loop {
            let Signal { stalled, watches, .. } = *self.signal.borrow_and_update();
            if watches != self.number {
                return Some(Err(Error::Stopped.into()));
            }
            if !stalled {
                if let Some(response) = self.ready.pop_front() {
                    return Some(Ok(response));
                }
                if self.catch_up() {
                    continue;
                }
            }
            tokio::select! {
                request = self.requests.message(), if self.open && !stalled => match request {
                    Ok(Some(request)) => self.take(request),
                    // It asks for nothing more, and still listens.
                    Ok(None) => self.open = false,
                    Err(_) => return None,
                },
                changed = self.signal.changed() => if changed.is_err() {
                    return Some(Err(Error::Stopped.into()));
                },
                _ = self.notices.tick(), if !stalled => self.ready.extend(self.watchers.notices(&self.shared.read())),
            }
        }
    }

    /// Takes what happened since the last time; false if there is nothing to say.
    fn catch_up(&mut self) -> bool {
        let view = {
            let store = self.shared.read();
            let view = self.watchers.view(&store);
            if view.is_none() && std::mem::take(&mut self.progress_asked) {
                self.ready.push_back(Watchers::progress(&store));
                return true;
            }
            view
        };
        let Some(view) = view else { return false };
        self.ready.extend(self.watchers.tell(&view));
        true
    }

    fn take(&mut self, request: PbWatchRequest) {
        match request.request_union {
            Some(PbWatchRequestUnion::CreateRequest(create)) => {
                let (no_puts, no_deletes) = (0, 1);
                let ask = Ask {
                    id: create.watch_id,
                    puts: !create.filters.contains(&no_puts),
                    deletes: !create.filters.contains(&no_deletes),
                    key: create.key,
                    range_end: create.range_end,
                    start_revision: create.start_revision,
                    previous: create.prev_kv,
                    progress: create.progress_notify,
                    fragments: create.fragment,
                };
                self.ready.push_back(self.watchers.create(ask, &self.shared.read()));
            }
            Some(PbWatchRequestUnion::CancelRequest(cancel)) => {
                self.ready.extend(self.watchers.cancel(cancel.watch_id, &self.shared.read()));
            }
            Some(PbWatchRequestUnion::ProgressRequest(_)) => self.progress_asked = true,
            None => {}
        }
    }
}
