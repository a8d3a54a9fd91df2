//! Finds out what an endpoint speaks when nobody says: a raw `host:port` in etcd may be a gRPC server or a web server.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::{Io, connect};
use super::{Config, ConnectError};
use crate::registry::Protocol;
use crate::table::Endpoint;

/// The connection preface of RFC 9113 section 3.4: a fixed text that HTTP/1.1 refuses, and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What the endpoint speaks: over TLS what it agrees to, else HTTP/2 if it greets as RFC 9113 has it, with a SETTINGS
/// frame. The answer is kept with the endpoint until a connect fails. Cancellation-safe.
///
/// # Errors
///
/// If it cannot be connected to.
pub async fn detect(endpoint: &Endpoint, config: &Config) -> Result<Protocol, ConnectError> {
    if let Some(known) = endpoint.state.detected() {
        return Ok(known);
    }
    let mut stream = connect(endpoint.address(), config.wants_tls(endpoint), None, config).await?;
    let http2 = match &stream.io {
        Io::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        Io::Plain(_) => {
            let greeting = tokio::time::timeout(config.connect_timeout, async {
                stream.write_all(PREFACE).await?;
                let mut header = [0; 9];
                stream.read_exact(&mut header).await.map(|_| header)
            });
            // Its fourth byte is the type of a frame, 4 that of SETTINGS; the last four are the stream, 0.
            matches!(greeting.await, Ok(Ok([_, _, _, 4, _, 0, 0, 0, 0])))
        }
    };
    let protocol = if http2 { Protocol::Http2 } else { Protocol::Http1 };
    endpoint.state.set_detected(protocol);
    Ok(protocol)
}
