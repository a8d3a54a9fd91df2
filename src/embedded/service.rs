//! The services of the API: each request is checked, done in the store, and answered.

pub(super) mod auth;
mod cluster;
mod kv;
mod lease;
mod watch;

use std::pin::Pin;
use std::sync::Arc;

use etcd_client::proto::{PbClusterServer, PbKvServer, PbLeaseServer, PbMaintenanceServer, PbWatchServer};
use futures_util::Stream;
use prost::Message;
use tonic::Status;
use tonic::service::Routes;

use super::error::Error;
use super::shared::Shared;

/// The largest request, in bytes; etcd's default.
const MAX_REQUEST: usize = 3 << 19;
/// What the server reads at all: larger ones get their error from the gRPC library.
const MAX_MESSAGE: usize = MAX_REQUEST + (512 << 10);

/// Implements every service.
#[derive(Debug, Clone)]
struct Service(Arc<Shared>);

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The services behind their paths.
pub(super) fn routes(shared: &Arc<Shared>) -> Routes {
    let service = || Service(shared.clone());
    Routes::new(PbKvServer::new(service()).max_decoding_message_size(MAX_MESSAGE))
        .add_service(PbWatchServer::new(service()).max_decoding_message_size(MAX_MESSAGE))
        .add_service(PbLeaseServer::new(service()).max_decoding_message_size(MAX_MESSAGE))
        .add_service(PbClusterServer::new(service()).max_decoding_message_size(MAX_MESSAGE))
        .add_service(PbMaintenanceServer::new(service()).max_decoding_message_size(MAX_MESSAGE))
        .prepare()
}

fn check_size(request: &impl Message) -> Result<(), Error> {
    if request.encoded_len() > MAX_REQUEST { Err(Error::TooLarge) } else { Ok(()) }
}
