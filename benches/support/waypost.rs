//! The real proxy in front of a real etcd, and a client that calls through it.

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{Folder, Process, free_address, until};

/// A running proxy with one worker and otherwise its defaults.
pub(crate) struct Waypost {
    pub(crate) process: Process,
    pub(crate) admin: SocketAddr,
    client: SendRequest<Bytes>,
}

impl Waypost {
    /// Starts it on an etcd, with `more` lines of configuration, and waits until it is ready.
    pub(crate) async fn start(folder: &Folder, etcd: &str, more: &str) -> Result<Self, Box<dyn Error>> {
        let (data, admin) = (free_address()?, free_address()?);
        let config = folder.path().join(format!("waypost-{}.yaml", data.port()));
        let lines = [
            format!("proxy: {{listen: {data}, workers: 1}}"),
            format!("admin: {{listen: {admin}, token_file: {}}}", folder.path().join("token").display()),
            format!("etcd: {{endpoints: [{etcd}]}}"),
            more.to_owned(),
        ];
        fs::write(&config, lines.join("\n"))?;
        let args = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
        let process = Process::start(folder, env!("CARGO_BIN_EXE_waypost"), args)?;
        let ready = async || page(admin, "/readyz").await.ok()?.starts_with("HTTP/1.1 200").then_some(());
        until("waypost is ready", ready).await.map_err(|error| process.failed(&*error))?;
        let stream = TcpStream::connect(data).await?;
        stream.set_nodelay(true)?;
        let (client, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Waypost { process, admin, client })
    }

    /// What all threads have run so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration, Box<dyn Error>> {
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let stat = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanos += stat.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// A page of the admin server, head included.
    pub(crate) async fn page(&self, path: &str) -> Result<String, Box<dyn Error>> {
        page(self.admin, path).await
    }

    /// Makes one unary call. True if a server answered it, and not the proxy itself: only a server sends a message.
    pub(crate) async fn call(&self, service: &str) -> Result<bool, Box<dyn Error>> {
        let mut client = self.client.clone().ready().await?;
        let request = Request::post(format!("http://{service}/bench.Echo/Call"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (response, mut send) = client.send_request(request, false)?;
        // The proxy may have refused the call already; then its answer says so.
        send.send_data(Bytes::from_static(&[0; 5]), true).ok();
        let mut body = response.await?.into_body();
        let mut bytes = 0;
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            bytes += data.len();
        }
        Ok(bytes > 0)
    }
}

async fn page(admin: SocketAddr, path: &str) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
