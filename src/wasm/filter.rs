//! A filter as one worker has it: its instance, its ticks, and the calls that it makes.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::bound::{Bound, Live};
use super::fault::Fault;
use super::host::{Callout, Reply};
use super::vm::Vm;

/// Makes a call that a module wants made; `None` for no answer.
pub type CallOut = Rc<dyn Fn(&Callout) -> std::pin::Pin<Box<dyn Future<Output = Option<Reply>>>>>;

/// The shortest time between two ticks.
const SHORTEST_TICK: Duration = Duration::from_millis(10);

/// One filter of one worker. It must be made and used in a runtime that takes local tasks.
pub struct Filter {
    pub(super) live: RefCell<Live>,
    call_out: CallOut,
    ticking: RefCell<Option<Ticking>>,
}

/// Ends its task when dropped.
struct Ticking {
    period: Duration,
    task: AbortHandle,
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Filter {
    /// Takes over an instance.
    pub fn new(bound: Arc<Bound>, call_out: CallOut) -> Rc<Self> {
        let live = RefCell::new(Live::new(bound));
        let filter = Rc::new(Filter { live, call_out, ticking: RefCell::default() });
        filter.with(|_| Ok(()));
        filter
    }

    /// What it is an instance of.
    pub fn bound(&self) -> Arc<Bound> {
        self.live.borrow().bound().clone()
    }

    pub(super) fn name(&self) -> Arc<str> {
        self.live.borrow().bound().module().name().clone()
    }

    /// Asks the instance something. `None` if there is none, or it failed.
    pub(super) fn with<T>(self: &Rc<Self>, ask: impl FnOnce(&mut Vm) -> Result<T, Fault>) -> Option<T> {
        let mut live = self.live.borrow_mut();
        let vm = live.vm()?;
        let answer = ask(vm);
        let (callouts, period, wrong) = (vm.callouts(), vm.period(), vm.wrong());
        wrong.iter().for_each(|fault| live.failed(fault));
        let answer = answer.map_err(|fault| live.failed(&fault)).ok();
        drop(live);
        for callout in callouts {
            self.call(callout);
        }
        self.keep_ticking(period);
        answer
    }

    /// Makes a call, and says what came of it to the instance that wanted it.
    fn call(self: &Rc<Self>, callout: Callout) {
        let filter = Rc::downgrade(self);
        let reply = (self.call_out)(&callout);
        tokio::task::spawn_local(async move {
            let reply = reply.await;
            if let Some(filter) = filter.upgrade() {
                filter.with(|vm| vm.reply(&callout, reply));
            }
        });
    }

    fn keep_ticking(self: &Rc<Self>, period: Option<Duration>) {
        let mut ticking = self.ticking.borrow_mut();
        if ticking.as_ref().map(|ticking| ticking.period) == period {
            return;
        }
        *ticking = period.map(|period| {
            let task = tokio::task::spawn_local(tick(Rc::downgrade(self), period.max(SHORTEST_TICK))).abort_handle();
            Ticking { period, task }
        });
    }
}

async fn tick(filter: Weak<Filter>, period: Duration) {
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(filter) = filter.upgrade() else { return };
        filter.with(Vm::tick);
    }
}
