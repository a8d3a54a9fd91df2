//! From an address to a byte stream that is ready for HTTP.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{Config, Tls, TlsError};
use crate::registry::{Address, Protocol};
use crate::table::Endpoint;

/// Which step to an endpoint failed. Nothing of a call was sent, so trying elsewhere is always safe.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host name has no address.
    #[error("cannot look up `{0}`: {1}")]
    Resolve(String, #[source] io::Error),
    /// No connection came about.
    #[error("cannot connect: {0}")]
    Tcp(#[source] io::Error),
    /// It took longer than `connect_timeout`.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// The TLS settings cannot be used.
    #[error("TLS settings: {0}")]
    TlsSettings(#[from] TlsError),
    /// The endpoint and we found no common ground in TLS.
    #[error("TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    /// The host of the registration cannot stand in a certificate; set `tls.server_name`.
    #[error("`{0}` cannot be checked against a certificate; set `tls.server_name` for this service")]
    ServerName(String),
    /// The endpoint answered the HTTP handshake with something else.
    #[error("HTTP handshake failed: {0}")]
    Http(String),
    /// The task that connected was ended.
    #[error("the connection attempt was given up")]
    Abandoned,
}

/// A connection's bytes, plain or by TLS.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects within `connect_timeout`, by TLS offering `protocol`, or either if there is none. Cancelling it closes what was opened.
pub(super) async fn connect(
    address: &Address,
    wants_tls: bool,
    protocol: Option<Protocol>,
    config: &Config,
) -> Result<Stream, ConnectError> {
    let steps = async {
        let tcp = tcp(address, config).await?;
        if wants_tls { tls(tcp, address, protocol, config).await } else { Ok(Stream::Plain(tcp)) }
    };
    let within = config.connect_timeout;
    tokio::time::timeout(within, steps).await.unwrap_or(Err(ConnectError::Timeout(within)))
}

/// Whether a TCP connection to this endpoint comes about within `connect_timeout`. It is closed at once.
///
/// # Errors
///
/// Why it does not.
pub async fn reach(endpoint: &Endpoint, config: &Config) -> Result<(), ConnectError> {
    connect(endpoint.address(), false, None, config).await.map(drop)
}

async fn tcp(address: &Address, config: &Config) -> Result<TcpStream, ConnectError> {
    let found: Vec<SocketAddr> = match address.host().parse() {
        Ok(ip) => vec![SocketAddr::new(ip, address.port())],
        Err(_) => tokio::net::lookup_host((address.host(), address.port()))
            .await
            .map_err(|error| ConnectError::Resolve(address.host().to_owned(), error))?
            .collect(),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in found {
        match TcpStream::connect(candidate).await {
            Ok(stream) => {
                prepare(&stream, config.keep_alive_timeout).map_err(ConnectError::Tcp)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Tcp(last))
}

/// Small frames leave at once, and a peer that stopped to acknowledge is noticed without a ping.
fn prepare(stream: &TcpStream, timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(60)))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(timeout))?;
    #[cfg(not(target_os = "linux"))]
    let _ = timeout;
    Ok(())
}

async fn tls(
    tcp: TcpStream,
    address: &Address,
    protocol: Option<Protocol>,
    config: &Config,
) -> Result<Stream, ConnectError> {
    let tls = match &config.tls {
        Some(tls) => tls,
        None => Tls::system()?,
    };
    let name = match &tls.server_name {
        Some(name) => name.clone(),
        None => ServerName::try_from(address.host().to_owned())
            .map_err(|_| ConnectError::ServerName(address.host().to_owned()))?,
    };
    let stream = TlsConnector::from(tls.client(protocol)).connect(name, tcp).await.map_err(ConnectError::Tls)?;
    Ok(Stream::Tls(Box::new(stream)))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Stream::Tls(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(s) => s.is_write_vectored(),
            Stream::Tls(s) => s.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_flush(cx),
            Stream::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
