//! Endpoints that could not be connected to are tried again in the background, so that no call has to find out.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::connect::connect;
use super::{Config, ConnectError, Http2};
use crate::registry::Protocol;
use crate::table::{Endpoint, Slot};

const FIRST_DELAY: Duration = Duration::from_secs(1);
const LAST_DELAY: Duration = Duration::from_secs(120);

/// The trials that one worker makes. Dropping it ends them.
#[derive(Default)]
pub struct Trials(JoinSet<()>);

impl Trials {
    /// Notes that a connect to this endpoint failed: pickers leave it out while others exist. Whoever notes it first
    /// tries it again after 1 s, then after twice as long each time up to 120 s, jittered, until a connect succeeds,
    /// anyone's, or it leaves the table. Over HTTP/2, if that is the `protocol` that was tried, a connect succeeds when
    /// the endpoint's SETTINGS come. Must run in a tokio runtime.
    pub fn connect_failed(
        &mut self,
        endpoint: &Endpoint,
        slot: &Arc<Slot>,
        config: &Arc<Config>,
        protocol: Option<Protocol>,
    ) {
        while self.0.try_join_next().is_some() {}
        if endpoint.state.mark_unreachable() {
            slot.touch();
            self.0.spawn(keep_trying(endpoint.clone(), slot.clone(), config.clone(), protocol));
        }
    }

    /// Notes that a connect succeeded.
    pub fn connected(endpoint: &Endpoint, slot: &Slot) {
        if endpoint.state.is_unreachable() && endpoint.state.mark_reachable() {
            slot.touch();
        }
    }
}

async fn keep_trying(endpoint: Endpoint, slot: Arc<Slot>, config: Arc<Config>, protocol: Option<Protocol>) {
    let mut delay = FIRST_DELAY;
    while endpoint.state.is_unreachable() {
        tokio::time::sleep(delay.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        // One that left starts afresh when it comes back.
        if slot.endpoints().get(endpoint.id).is_none() || try_once(&endpoint, &config, protocol).await.is_ok() {
            Trials::connected(&endpoint, &slot);
        }
        delay = (delay * 2).min(LAST_DELAY);
    }
}

async fn try_once(endpoint: &Endpoint, config: &Config, protocol: Option<Protocol>) -> Result<(), ConnectError> {
    let (address, tls) = (endpoint.address(), config.wants_tls(endpoint));
    match protocol {
        Some(Protocol::Http2) => Http2::open(address, tls, config).await.map(drop),
        other => connect(address, tls, other, config).await.map(drop),
    }
}
