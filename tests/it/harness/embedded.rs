//! The embedded etcd, in this process.

use tokio::net::TcpListener;
use waypost::embedded::{Config, Server};

/// Starts one on a free port.
pub async fn start() -> Server {
    with(Config::default()).await
}

/// The same, otherwise configured.
pub async fn with(config: Config) -> Server {
    Server::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), config).unwrap()
}
