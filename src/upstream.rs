//! Connections to endpoints: how they are made, shared, kept alive and ended. Knows nothing of routes, pickers or
//! clients, so that whoever calls an endpoint can use it.

mod ask;
mod carry;
mod config;
mod connect;
mod detect;
mod http1;
mod http2;
mod pool;
mod tls;
mod trial;

pub use ask::{AskError, ask, ask_with};
pub use carry::{Answer, BrokeOff, Unanswered, Upload, carry};
pub use config::{Config, Limits};
pub use connect::{ConnectError, reach};
pub use detect::detect;
pub use http1::Http1;
pub use http2::{Http2, Sent, StreamPermit};
pub use pool::{Connecting, Pool, Ready, SharedConnecting};
pub use tls::{Tls, TlsError};
pub use trial::Trials;
