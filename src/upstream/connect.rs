//! From an address to a byte stream that is ready for HTTP.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
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
    /// The HTTP handshake broke off.
    #[error("HTTP handshake failed: {0}")]
    Http(String),
    /// It took the connection, and then no HTTP/2 SETTINGS came in what was left of `connect_timeout`.
    #[error(
        "it accepts connections, but sends no HTTP/2 SETTINGS within {0:?}; see that it is not stuck, and that it speaks HTTP/2"
    )]
    Silent(Duration),
    /// It closed the connection before its HTTP/2 SETTINGS came.
    #[error(
        "it closes connections before it sends HTTP/2 SETTINGS; see that it speaks HTTP/2, and without TLS unless its registration asks for it"
    )]
    Closed,
    /// It answered HTTP/2 with HTTP/1.
    #[error("it answers in HTTP/1.1 and not in HTTP/2; say so in its registration or with `protocol: http1`")]
    Http1,
    /// It answered HTTP/2 with something else.
    #[error("it answers with something that is not HTTP/2; {0}")]
    NotHttp2(&'static str),
    /// The task that connected was ended.
    #[error("the connection attempt was given up")]
    Abandoned,
}

/// A connection's bytes, plain or by TLS.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) io: Io,
    /// Who wants to know how it begins what it says.
    listener: Option<oneshot::Sender<Beginning>>,
}

#[derive(Debug)]
pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The first bytes that came from an endpoint, zeros after them.
pub(super) type Beginning = [u8; 8];

impl Stream {
    fn new(io: Io) -> Self {
        Stream { io, listener: None }
    }

    /// Tells, once something has been read, how it begins.
    pub(super) fn beginning(&mut self) -> oneshot::Receiver<Beginning> {
        let (listener, beginning) = oneshot::channel();
        self.listener = Some(listener);
        beginning
    }
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
        if wants_tls { tls(tcp, address, protocol, config).await } else { Ok(Stream::new(Io::Plain(tcp))) }
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
    Ok(Stream::new(Io::Tls(Box::new(stream))))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = match &mut this.io {
            Io::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Io::Tls(s) => Pin::new(s).poll_read(cx, buf),
        };
        if let (Some(_), Some(new @ [_, ..])) = (&this.listener, buf.filled().get(before..)) {
            let mut beginning = Beginning::default();
            let length = new.len().min(beginning.len());
            beginning[..length].copy_from_slice(&new[..length]);
            // Whoever wanted to know may have given up.
            let _ = this.listener.take().map(|listener| listener.send(beginning));
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Io::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Io::Tls(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(s) => s.is_write_vectored(),
            Io::Tls(s) => s.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(s) => Pin::new(s).poll_flush(cx),
            Io::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Io::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
