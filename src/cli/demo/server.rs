//! The process that an instance stands for: it listens, and ends either in good order or at once.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tonic::body::Body;
use tonic::service::Routes;
use tower_service::Service as _;

/// A running server. Dropping it is a crash: its listener and its connections are gone at once.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// What a server answers with.
#[derive(Clone)]
pub(super) enum Application {
    Grpc(Routes),
    /// Says the time and the instance's name, whatever it is asked.
    Clock(String),
}

impl Server {
    pub(super) async fn start(application: Application) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        Ok(Server { address, stop: Some(stop), task: tokio::spawn(serve(listener, application, stopped)) })
    }

    /// Takes no more connections, and ends when the calls under way are done.
    pub(super) async fn stop(mut self) {
        drop(self.stop.take());
        // It ends by itself: what it calls does not panic.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, application: Application, mut stopped: oneshot::Receiver<()>) {
    let builder = Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let application = application.clone();
                let service = service_fn(move |request| answer(application.clone(), request));
                let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
                connections.spawn(graceful.watch(connection));
                while connections.try_join_next().is_some() {}
            }
            _ = &mut stopped => break,
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn answer(application: Application, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    match application {
        Application::Grpc(mut routes) => routes.call(request).await,
        Application::Clock(name) => {
            let seconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() % 86_400);
            let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
            let text = format!("it is {hours:02}:{minutes:02}:{seconds:02} UTC, says {name}\n");
            Ok(Response::new(Body::new(Full::new(Bytes::from(text)))))
        }
    }
}
