//! The embedded etcd, in this process.

use tokio::net::TcpListener;
use waypost::embedded::Server;

/// Starts one on a free port.
pub async fn start() -> Server {
    Server::start(TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap()
}
