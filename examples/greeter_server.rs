//! A gRPC server that registers itself, and leaves in good order.
//!
//!     cargo run --example greeter_server -- one
//!
//! Where etcd is, it finds as `waypost::Manager::connect` says, or in `WAYPOST_ETCD_ENDPOINTS`.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program that talks to whoever started it")]

use std::error::Error;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tonic::{Request, Response, Status};
use waypost::{Manager, registry::Protocol};

use greeter::greeter_server::{Greeter, GreeterServer};
use greeter::{HelloReply, HelloRequest};

#[allow(unreachable_pub, missing_docs, clippy::allow_attributes_without_reason, reason = "generated from a proto file")]
mod greeter {
    tonic::include_proto!("waypost.demo");
}

/// An instance, which says its name.
struct Instance(String);

#[tonic::async_trait]
impl Greeter for Instance {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let message = format!("hello {}, I am {}", request.into_inner().name, self.0);
        Ok(Response::new(HelloReply { message, instance: self.0.clone() }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "one".to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let mut terminate = signal(SignalKind::terminate())?;

    let manager = Manager::connect()?;
    let registry = manager.registry();
    let registration = registry.register("greeter", &name, &address).protocol(Protocol::Http2).await?;
    eprintln!("{name} listens on {address} and is registered as {}", registration.keys()[0]);

    let mut routes = tonic::service::Routes::new(GreeterServer::new(Instance(name)));
    let serving = serve(listener, &mut routes);
    tokio::select! {
        ended = serving => ended?,
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    // First the registration, so that nobody calls a server that is gone.
    manager.close().await;
    eprintln!("no longer registered");
    Ok(())
}

/// Serves HTTP/2 connections. With tonic's feature `server`, `tonic::transport::Server` does this.
async fn serve(listener: TcpListener, routes: &mut tonic::service::Routes) -> Result<(), Box<dyn Error>> {
    loop {
        let (stream, _) = listener.accept().await?;
        let service = hyper_util::service::TowerToHyperService::new(routes.clone());
        let io = hyper_util::rt::TokioIo::new(stream);
        let connection = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
        tokio::spawn(connection.serve_connection(io, service));
    }
}
