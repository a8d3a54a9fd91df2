//! gRPC's framing, by hand: the test service carries bytes, so no generated code is needed on either side.

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;

/// The path of the test service; its methods are `Unary`, `Client`, `Server`, `Bidi` and `Cancelled`.
pub const ECHO: &str = "/waypost.test.Echo/";

/// One message, framed.
pub fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

/// Takes the first whole message off `buffer`.
pub fn take_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(buffer.get(1..5)?.try_into().unwrap()) as usize;
    assert_eq!(buffer[0], 0, "nobody here compresses");
    if buffer.len() < 5 + length {
        return None;
    }
    let mut message = buffer.split_to(5 + length);
    Some(message.split_off(5).freeze())
}

/// All messages of a whole body.
pub fn messages(body: &[u8]) -> Vec<Bytes> {
    let mut buffer = BytesMut::from(body);
    let all = std::iter::from_fn(|| take_message(&mut buffer)).collect();
    assert!(buffer.is_empty(), "half a message at the end: {buffer:?}");
    all
}

/// A header's text, or nothing.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

/// A header's number, or nothing.
pub fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name).map(|value| value.parse().unwrap())
}
