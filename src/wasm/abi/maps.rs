//! Header and trailer maps: what is in them, and how they are encoded for a module.
//!
//! The heads of requests and responses have names of their own for what is no header: `:authority`, `:method`, `:path`,
//! `:scheme` and `:status`. A `Host` is shown as `:authority`.

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, request};

use super::memory::{Answer, Status, Value};
use crate::wasm::exchange::Exchange;
use crate::wasm::host::Host;

/// The most that a module may set at once: proxy-wasm's reference host takes no more either.
const MOST_PAIRS: usize = 1_024;

/// proxy-wasm's numbers for maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Map {
    RequestHeaders,
    RequestTrailers,
    ResponseHeaders,
    ResponseTrailers,
    GrpcInitial,
    GrpcTrailing,
    CallHeaders,
    CallTrailers,
}

impl Map {
    pub(super) fn of(number: i32) -> Answer<Map> {
        use Map::{
            CallHeaders, CallTrailers, GrpcInitial, GrpcTrailing, RequestHeaders, RequestTrailers, ResponseHeaders,
            ResponseTrailers,
        };
        let all = [
            RequestHeaders,
            RequestTrailers,
            ResponseHeaders,
            ResponseTrailers,
            GrpcInitial,
            GrpcTrailing,
            CallHeaders,
            CallTrailers,
        ];
        usize::try_from(number).ok().and_then(|n| all.get(n).copied()).ok_or(Status::BadArgument)
    }
}

/// A map with what stands before its headers.
enum View<'a> {
    Request(&'a request::Parts),
    Response(StatusCode, &'a HeaderMap),
    Plain(&'a HeaderMap),
}

/// Shows a map to `look`; `None` if there is none now.
fn view<T>(host: &Host, map: Map, look: impl FnOnce(View<'_>) -> T) -> Option<T> {
    match map {
        Map::GrpcInitial | Map::CallHeaders => {
            let reply = host.reply.as_ref()?;
            Some(look(match reply.status {
                Some(status) => View::Response(status, &reply.headers),
                None => View::Plain(&reply.headers),
            }))
        }
        Map::GrpcTrailing | Map::CallTrailers => Some(look(View::Plain(&host.reply.as_ref()?.trailers))),
        _ => host.with(|exchange| match map {
            Map::RequestHeaders => exchange.request.as_ref().map(|head| look(View::Request(head))),
            Map::ResponseHeaders => {
                exchange.response.as_ref().map(|head| look(View::Response(head.status, &head.headers)))
            }
            Map::RequestTrailers => exchange.request_trailers.as_ref().map(|map| look(View::Plain(map))),
            _ => exchange.response_trailers.as_ref().map(|map| look(View::Plain(map))),
        })?,
    }
}

impl View<'_> {
    fn headers(&self) -> &HeaderMap {
        match self {
            View::Request(head) => &head.headers,
            View::Response(_, headers) | View::Plain(headers) => headers,
        }
    }

    fn pseudo(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let pairs = match self {
            View::Request(head) => [
                (":authority", authority(head)),
                (":method", Some(head.method.as_str().into())),
                (":path", Some(path(head).into())),
                (":scheme", Some(scheme(head).into())),
            ],
            View::Response(status, _) => {
                [(":status", Some(status.as_str().into())), ("", None), ("", None), ("", None)]
            }
            View::Plain(_) => [const { ("", None) }; 4],
        };
        pairs.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// All headers but a request's `Host`, which stands before them.
    fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let is_request = matches!(self, View::Request(_));
        self.headers().iter().filter(move |(name, _)| !is_request || *name != HOST)
    }
}

fn authority(head: &request::Parts) -> Option<Value> {
    match head.uri.authority() {
        Some(authority) => Some(authority.as_str().into()),
        None => head.headers.get(HOST).cloned().map(Value::Header),
    }
}

fn path(head: &request::Parts) -> &str {
    head.uri.path_and_query().map_or("/", PathAndQuery::as_str)
}

fn scheme(head: &request::Parts) -> &str {
    head.uri.scheme_str().unwrap_or("http")
}

/// How many pairs a map has.
pub(super) fn size(host: &Host, map: Map) -> usize {
    view(host, map, |view| view.pseudo().count() + view.fields().count()).unwrap_or(0)
}

/// The value of a key. Several values are joined by commas, as HTTP has it; of `set-cookie` it is the first.
pub(super) fn get(host: &Host, map: Map, key: &[u8]) -> Answer<Value> {
    view(host, map, |view| {
        if key.first() == Some(&b':') {
            return view.pseudo().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(key)).map(|(_, value)| value);
        }
        let key = std::str::from_utf8(key).ok()?;
        if matches!(view, View::Request(_)) && key.eq_ignore_ascii_case("host") {
            return view.pseudo().next().filter(|(name, _)| *name == ":authority").map(|(_, value)| value);
        }
        let mut values = view.headers().get_all(key).iter();
        let (first, second) = (values.next()?, values.next());
        if second.is_none() || key.eq_ignore_ascii_case("set-cookie") {
            return Some(Value::Header(first.clone()));
        }
        let mut joined = first.as_bytes().to_vec();
        for value in second.into_iter().chain(values) {
            joined.extend_from_slice(b",");
            joined.extend_from_slice(value.as_bytes());
        }
        Some(Value::Vec(joined))
    })
    .flatten()
    .ok_or(Status::NotFound)
}

/// The whole map as a module reads it. Without one it is an empty map, which no SDK stumbles over.
pub(super) fn encode(host: &Host, map: Map) -> Vec<u8> {
    view(host, map, |view| {
        let pseudo: Vec<_> = view.pseudo().collect();
        let own = pseudo.iter().map(|(name, value)| (name.as_bytes(), value.as_ref()));
        let fields = view.fields().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        encode_pairs(&own.chain(fields).collect::<Vec<_>>())
    })
    .unwrap_or_else(|| vec![0; 4])
}

/// Pairs as proxy-wasm has them: a count, the lengths, then names and values, each with a zero after it.
pub(in crate::wasm) fn encode_pairs(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let bytes = pairs.iter().fold(4, |len, (key, value)| len + key.len() + value.len() + 10);
    let mut encoded = Vec::with_capacity(bytes);
    encoded.extend_from_slice(&(pairs.len() as u32).to_le_bytes());
    for (key, value) in pairs {
        encoded.extend_from_slice(&(key.len() as u32).to_le_bytes());
        encoded.extend_from_slice(&(value.len() as u32).to_le_bytes());
    }
    for text in pairs.iter().flat_map(|(key, value)| [key, value]) {
        encoded.extend_from_slice(text);
        encoded.push(0);
    }
    encoded
}

/// Reads pairs. Nothing at all, or one zero, is an empty map.
pub(super) fn decode_pairs(bytes: &[u8]) -> Answer<Vec<(&[u8], &[u8])>> {
    if bytes.len() <= 1 {
        return Ok(Vec::new());
    }
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let count = number(0).ok_or(Status::BadArgument)?;
    if count > MOST_PAIRS {
        return Err(Status::BadArgument);
    }
    let mut at = 4 + count * 8;
    let mut next = |len: usize| {
        let text = bytes.get(at..at.saturating_add(len))?;
        at = at.saturating_add(len).saturating_add(1);
        Some(text)
    };
    (0..count)
        .map(|n| Some((next(number(4 + n * 8)?)?, next(number(8 + n * 8)?)?)))
        .collect::<Option<_>>()
        .ok_or(Status::BadArgument)
}

/// The headers of pairs, without what stands before them.
pub(super) fn headers_of(pairs: &[(&[u8], &[u8])]) -> Answer<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(pairs.len());
    for (key, value) in pairs.iter().filter(|(key, _)| key.first() != Some(&b':')) {
        headers.append(name(key)?, header_value(value)?);
    }
    Ok(headers)
}

fn name(key: &[u8]) -> Answer<HeaderName> {
    HeaderName::from_bytes(key).map_err(|_| Status::BadArgument)
}

fn header_value(value: &[u8]) -> Answer<HeaderValue> {
    HeaderValue::from_bytes(value).map_err(|_| Status::BadArgument)
}

/// A change of one key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change<'a> {
    Add(&'a [u8]),
    Replace(&'a [u8]),
    Remove,
}

/// Changes one key. Only what is on its way can be changed; other maps are as they came.
pub(super) fn change(exchange: &mut Exchange, map: Map, key: &[u8], change: Change<'_>) -> Answer {
    let is_host = map == Map::RequestHeaders && key.eq_ignore_ascii_case(b"host");
    if is_host || key.first() == Some(&b':') {
        return match change {
            Change::Add(value) | Change::Replace(value) => {
                set_pseudo(exchange, map, if is_host { b":authority" } else { key }, value)
            }
            // A head cannot be without these.
            Change::Remove => Ok(()),
        };
    }
    let headers = match map {
        Map::RequestHeaders => &mut exchange.request.as_mut().ok_or(Status::BadArgument)?.headers,
        Map::ResponseHeaders => &mut exchange.response.as_mut().ok_or(Status::BadArgument)?.headers,
        Map::RequestTrailers => exchange.request_trailers.get_or_insert_default(),
        Map::ResponseTrailers => exchange.response_trailers.get_or_insert_default(),
        _ => return Err(Status::BadArgument),
    };
    let key = name(key)?;
    match change {
        Change::Add(value) => drop(headers.append(key, header_value(value)?)),
        Change::Replace(value) => drop(headers.insert(key, header_value(value)?)),
        Change::Remove => drop(headers.remove(key)),
    }
    Ok(())
}

/// Puts these pairs in the place of all that a map has.
pub(super) fn set(exchange: &mut Exchange, map: Map, pairs: &[(&[u8], &[u8])]) -> Answer {
    let mut headers = headers_of(pairs)?;
    let place = match map {
        Map::RequestHeaders => {
            let head = exchange.request.as_mut().ok_or(Status::BadArgument)?;
            // What `:authority` stands for stays until it is set.
            if let Some(host) = head.headers.get(HOST).filter(|_| !headers.contains_key(HOST)) {
                headers.insert(HOST, host.clone());
            }
            &mut head.headers
        }
        Map::ResponseHeaders => &mut exchange.response.as_mut().ok_or(Status::BadArgument)?.headers,
        Map::RequestTrailers => exchange.request_trailers.get_or_insert_default(),
        Map::ResponseTrailers => exchange.response_trailers.get_or_insert_default(),
        _ => return Err(Status::BadArgument),
    };
    *place = headers;
    for (key, value) in pairs.iter().filter(|(key, _)| key.first() == Some(&b':')) {
        set_pseudo(exchange, map, key, value)?;
    }
    Ok(())
}

fn set_pseudo(exchange: &mut Exchange, map: Map, key: &[u8], value: &[u8]) -> Answer {
    match (map, key) {
        (Map::RequestHeaders, _) => {
            let head = exchange.request.as_mut().ok_or(Status::BadArgument)?;
            set_in_request(head, key, value).ok_or(Status::BadArgument)
        }
        (Map::ResponseHeaders, b":status") => {
            let head = exchange.response.as_mut().ok_or(Status::BadArgument)?;
            let status = StatusCode::from_bytes(value).ok().filter(|status| (200..600).contains(&status.as_u16()));
            head.status = status.ok_or(Status::BadArgument)?;
            Ok(())
        }
        _ => Err(Status::BadArgument),
    }
}

fn set_in_request(head: &mut request::Parts, key: &[u8], value: &[u8]) -> Option<()> {
    let mut parts = head.uri.clone().into_parts();
    match key {
        b":method" => {
            // CONNECT is not carried, whoever asks for it.
            head.method = Method::from_bytes(value).ok().filter(|method| method != Method::CONNECT)?;
            return Some(());
        }
        b":authority" => {
            let authority = Authority::try_from(value).ok()?;
            if head.headers.contains_key(HOST) || parts.authority.is_none() {
                head.headers.insert(HOST, HeaderValue::from_bytes(value).ok()?);
            }
            if parts.authority.is_none() {
                return Some(());
            }
            parts.authority = Some(authority);
        }
        b":path" => parts.path_and_query = Some(PathAndQuery::try_from(value).ok()?),
        // Which scheme an endpoint is called by is for its registration to say.
        b":scheme" => {
            Scheme::try_from(value).ok()?;
            return Some(());
        }
        _ => return None,
    }
    head.uri = Uri::from_parts(parts).ok()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_encoded_and_read_back() {
        let pairs: [(&[u8], &[u8]); 3] = [(b"a", b"1"), (b"long-name", b""), (b"a", b"2")];
        let encoded = encode_pairs(&pairs);
        assert_eq!(encoded[..4], [3, 0, 0, 0]);
        assert_eq!(encoded.len(), 4 + 24 + (1 + 1 + 2) + (9 + 2) + (1 + 1 + 2));
        assert_eq!(decode_pairs(&encoded).unwrap(), pairs);
        assert_eq!(decode_pairs(&[]).unwrap(), []);
        assert_eq!(decode_pairs(&[0]).unwrap(), []);
        assert_eq!(decode_pairs(&[0; 4]).unwrap(), []);
    }

    #[test]
    fn broken_pairs_are_refused() {
        let good = encode_pairs(&[(&b"key"[..], &b"value"[..])]);
        for cut in 2..good.len() - 1 {
            assert_eq!(decode_pairs(&good[..cut]), Err(Status::BadArgument), "{cut}");
        }
        let mut lies = good.clone();
        lies[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode_pairs(&lies), Err(Status::BadArgument));
        assert_eq!(decode_pairs(&u32::MAX.to_le_bytes()), Err(Status::BadArgument));
    }
}
