//! What each kind of key decodes to, from all formats and from hostile hands.

use super::*;
use crate::registry::Protocol;

fn kv(key: &str, value: impl AsRef<[u8]>, lease: i64) -> KeyValue {
    KeyValue {
        key: key.as_bytes().to_vec(),
        value: value.as_ref().to_vec(),
        lease,
        mod_revision: 7,
        create_revision: 5,
    }
}

fn decode(format: FormatName, key: &str, value: impl AsRef<[u8]>, lease: i64) -> Decoded {
    Decoder::new("/services/", format, None).decode(&kv(key, value, lease))
}

fn auto(key: &str, value: impl AsRef<[u8]>) -> Decoded {
    decode(FormatName::Auto, key, value, 0)
}

#[track_caller]
fn instance(decoded: Decoded) -> Instance {
    match decoded {
        Decoded::Instances(mut list) if list.len() == 1 => list.remove(0),
        other => panic!("one instance expected: {other:?}"),
    }
}

/// Checks what can be said in a line: service, id, address, protocol, tls, weight.
#[track_caller]
fn check(decoded: Decoded, expected: &str) {
    let i = match decoded {
        Decoded::Flawed(mut list, _) if list.len() == 1 => list.remove(0),
        other => instance(other),
    };
    let protocol = i.protocol.map_or("-".into(), |p| p.to_string());
    let tls = i.tls.map_or("-".into(), |t| t.to_string());
    assert_eq!(format!("{} {} {} {protocol} {tls} {}", i.service, i.id, i.address, i.weight), expected);
}

#[track_caller]
fn unreadable(decoded: Decoded, why: &str) {
    let Decoded::Unreadable(reason) = decoded else { panic!("unreadable expected: {decoded:?}") };
    assert!(reason.contains(why), "{reason}");
    assert!(reason.len() < 1000 && !reason.contains(char::is_control), "{reason}");
}

#[test]
fn raw_and_url_values_are_read() {
    for (value, expected) in [
        ("10.0.0.1:8080", "10.0.0.1:8080 - -"),
        (" 10.0.0.1:8080\n", "10.0.0.1:8080 - -"),
        ("[::1]:50051", "[::1]:50051 - -"),
        ("pod-1.pay:1", "pod-1.pay:1 - -"),
        ("grpc://10.0.0.1:9000", "10.0.0.1:9000 http2 false"),
        ("GRPCS://10.0.0.1:9000/", "10.0.0.1:9000 http2 true"),
        ("h2c://[fe80::1]:9000", "[fe80::1]:9000 http2 false"),
        ("http://10.0.0.1/api?x=1", "10.0.0.1:80 http1 false"),
        ("https://[::1]/", "[::1]:443 http1 true"),
        ("https://pay.example:8443#a", "pay.example:8443 http1 true"),
    ] {
        check(auto("/services/pay/1", value), &format!("pay 1 {expected} 1"));
    }
    for (value, why) in [
        ("10.0.0.1", "no port"),
        ("grpc://10.0.0.1", "no port"),
        ("http://::1:80", "bad host"),
        ("http://user:secret@host:80", "bad host"),
        ("tcp://10.0.0.1:80", "scheme is `tcp`"),
        ("http:// <script>:80", "bad host"),
        ("10.0.0.1:80,10.0.0.2:80", "bad host"),
        ("\u{1b}[31m:80", "bad host"),
        ("", "empty"),
        ("  \n", "empty"),
    ] {
        unreadable(auto("/services/pay/1", value), why);
    }
}

#[test]
fn a_named_format_reads_nothing_else() {
    use FormatName::*;
    let values = [(Raw, "a:1"), (Url, "grpc://a:1"), (Go, r#"{"Addr":"a:1"}"#), (Json, r#"{"address":"a:1"}"#)];
    for (format, _) in values {
        for (other, value) in values {
            let decoded = decode(format, "/services/pay/1", value, 0);
            assert_eq!(matches!(decoded, Decoded::Instances(_)), format == other, "{format} of {value}: {decoded:?}");
        }
    }
    for (name, format) in FormatName::ALL {
        assert_eq!((name.parse(), format.to_string()), (Ok(*format), (*name).to_owned()));
    }
    assert!("yaml".parse::<FormatName>().unwrap_err().contains("raw, url, go, json"));
}

#[test]
fn keys_name_service_and_instance() {
    let service = |service: &str| Decoder::new("/services/", FormatName::Auto, Some(service.into()));
    let layout = |layout| Decoder::new("/services/", FormatName::Auto, None).with_layout(layout);
    let plain = || layout(Layout::Auto);
    for (decoder, key, expected) in [
        (plain(), "/services/pay/1", "pay 1"),
        (plain(), "/services/team/pay/1", "team/pay 1"),
        (plain(), "/services/pay/10.0.0.1:80", "pay 10.0.0.1:80"),
        (plain(), "/services/pay", "pay pay"),
        (plain(), "/services/pay/", "pay pay"),
        (plain(), "/services//pay//1", "pay 1"),
        (service("pay"), "/services/1", "pay 1"),
        (service("pay"), "/services/a/b/1", "pay a/b/1"),
        (layout(Layout::Service), "/services/team/pay", "team/pay team/pay"),
        (layout(Layout::Instance), "/services/pay/1", "pay 1"),
        (Decoder::new("", FormatName::Auto, None), "user.rpc/7587", "user.rpc 7587"),
        (Decoder::new("/services", FormatName::Auto, None), "/services/pay/1", "pay 1"),
    ] {
        check(decoder.decode(&kv(key, "a:1", 0)), &format!("{expected} a:1 - - 1"));
    }
    for (decoder, key, lease, why) in [
        (plain(), "/services/10.0.0.1:80", 0, "set `service`"),
        (plain(), "/services/7587", 7587, "set `service`"),
        (layout(Layout::Instance), "/services/pay", 0, "set `service`"),
        (plain(), "/services/", 0, "neither"),
        (plain(), "/other/pay/1", 0, "not below"),
        (Decoder::new("/services", FormatName::Auto, None), "/services-old/pay/1", 0, "not below"),
    ] {
        unreadable(decoder.decode(&kv(key, "a:1", lease)), why);
    }
    check(decode(FormatName::Auto, "/services/user.rpc/7587", "a:1", 7587), "user.rpc 7587 a:1 - - 1");
}

#[test]
fn go_naming_is_read_as_its_own_reader_does() {
    for (value, expected) in [
        (r#"{"Op":0,"Addr":"10.0.0.5:9000","Metadata":null}"#, "10.0.0.5:9000 - - 1"),
        (r#"{"Addr":"10.0.0.5:9000"}"#, "10.0.0.5:9000 - - 1"),
        (r#"{"Op":1,"Addr":"10.0.0.5:9000"}"#, "10.0.0.5:9000 - - 1"),
        (r#"{"addr":"10.0.0.5:9000","METADATA":{"Weight":3}}"#, "10.0.0.5:9000 - - 3"),
        (r#"{"Addr":"[::1]:1","Metadata":{"weight":"5","protocol":"grpcs"}}"#, "[::1]:1 http2 true 5"),
        (r#"{"Addr":"a:1","Metadata":"{\"weight\":2,\"protocol\":\"http\",\"tls\":\"true\"}"}"#, "a:1 http1 true 2"),
        (r#"{"Addr":"a:1","Metadata":{"weight":0}}"#, "a:1 - - 0"),
    ] {
        check(auto("/services/pay/1", value), &format!("pay 1 {expected}"));
    }
    let i = instance(auto(
        "/services/pay/1",
        r#"{"Op":0,"Addr":"a:1","Metadata":{"version":2,"zone":"eu-1","tags":["a",7],"owner":"x","deep":{"b":[1]}}}"#,
    ));
    assert_eq!((i.version.as_str(), i.zone.as_str()), ("2", "eu-1"));
    assert_eq!(i.tags, ["a", "7"]);
    assert_eq!(i.metadata.get("owner").unwrap(), "x");
    assert_eq!(i.metadata.get("deep").unwrap(), r#"{"b":[1]}"#);
    for metadata in [r#""canary""#, r#""[1]""#, "[1]", "3"] {
        let i = instance(auto("/services/pay/1", format!(r#"{{"Addr":"a:1","Metadata":{metadata}}}"#)));
        assert_eq!(i.metadata.get("metadata").unwrap(), metadata.trim_matches('"'));
    }
    unreadable(auto("/services/pay/1", r#"{"Addr":7}"#), "no `Addr` that is text");
    unreadable(auto("/services/pay/1", r#"{"Addr":""}"#), "no port");
}

#[test]
fn what_we_write_reads_back_and_suits_gos_reader() {
    let plain = instance(auto("/services/pay/1", "10.0.0.5:9000"));
    assert_eq!(encode(&plain), r#"{"Addr":"10.0.0.5:9000","Metadata":null,"Op":0}"#);
    let full = Instance {
        weight: 0,
        version: "2".into(),
        zone: "eu \"1\"".into(),
        tags: vec!["a,b".into(), String::new()],
        protocol: Some(Protocol::Http1),
        tls: Some(false),
        metadata: [("owner".into(), "7".into())].into(),
        ..plain.clone()
    };
    for before in [plain, full] {
        let value = encode(&before);
        for format in [FormatName::Auto, FormatName::Go] {
            assert_eq!(instance(decode(format, "/services/pay/1", &value, 0)), before);
        }
        // Its struct: Op a number, Addr a string, Metadata anything that Go can compare.
        let fields: Map<String, Value> = serde_json::from_str(&value).unwrap();
        assert!(fields["Op"] == 0 && fields["Addr"].is_string());
        assert!(fields["Metadata"].is_null() || fields["Metadata"].is_string());
    }
}

#[test]
fn plain_json_is_read() {
    for (key, value, expected) in [
        ("pay/1", r#"{"address":"10.0.0.1:80"}"#, "pay 1 10.0.0.1:80 - - 1"),
        ("pay/1", r#"{"address":"grpc://10.0.0.1:80","weight":"7"}"#, "pay 1 10.0.0.1:80 http2 false 7"),
        ("pay/1", r#"{"address":"10.0.0.1","port":80}"#, "pay 1 10.0.0.1:80 - - 1"),
        ("pay/1", r#"{"address":"http://10.0.0.1","port":8080}"#, "pay 1 10.0.0.1:8080 http1 false 1"),
        ("pay/1", r#"{"address":"10.0.0.1:81","port":80}"#, "pay 1 10.0.0.1:81 - - 1"),
        ("pay/1", r#"{"host":"10.0.0.1","port":"80","id":"a","weight":2.0}"#, "pay a 10.0.0.1:80 - - 2"),
        ("pay/1", r#"{"host":"::1","port":80,"id":9}"#, "pay 9 [::1]:80 - - 1"),
        ("pay/1", r#"{"host":"[::1]","port":80,"name":"other"}"#, "pay 1 [::1]:80 - - 1"),
        ("pay/1", r#"{"host":"a:1","port":null}"#, "pay 1 a:1 - - 1"),
        ("pay", r#"{"address":"a:1","name":"other"}"#, "pay pay a:1 - - 1"),
        ("5f2c", r#"{"address":"a:1","name":"pay","id":"5f2c"}"#, "pay 5f2c a:1 - - 1"),
        ("10.0.0.1:80", r#"{"address":"10.0.0.1:80","name":"pay"}"#, "pay 10.0.0.1:80 10.0.0.1:80 - - 1"),
        (
            "pay/1",
            r#"{"address":"a:1","protocol":"h2c","tls":true,"metadata":{"tls":false,"weight":3}}"#,
            "pay 1 a:1 http2 true 3",
        ),
    ] {
        check(auto(&format!("/services/{key}"), value), expected);
    }
    let i = instance(auto(
        "/services/pay/1",
        r#"{"address":"a:1","name":"pay-1","version":"v2","tags":"a, b,","zone":null,"metadata":{"zone":"z"},"x":1}"#,
    ));
    assert_eq!((i.version.as_str(), i.zone.as_str()), ("v2", "z"));
    assert_eq!(i.tags, ["a", "b"]);
    assert_eq!(i.metadata, [("name".into(), "pay-1".into()), ("x".into(), "1".into())].into());
    for (value, why) in [
        ("{}", "none of `Addr`"),
        ("{", "not a JSON object"),
        (r#"{"address":"a:1"} trailing"#, "not a JSON object"),
        (r#"{"address":["a:1"]}"#, "that is text"),
        (r#"{"host":"a"}"#, "no port"),
        (r#"{"host":"a","port":0}"#, "port is `0`"),
        (r#"{"host":"a","port":-1}"#, "port is `-1`"),
        (r#"{"host":"<b>","port":1}"#, "no port"),
        (r#"{"address":"a:1","weight":1e999}"#, "not a JSON object"),
    ] {
        unreadable(auto("/services/pay/1", value), why);
    }
    unreadable(auto("/services/10.0.0.1:80", r#"{"address":"10.0.0.1:80"}"#), "set `service`");
}

#[test]
fn an_unusable_part_takes_its_default_and_is_told() {
    for (field, why) in [
        (r#""weight":-1"#, "its weight is `-1`"),
        (r#""weight":1.5"#, "its weight is `1.5`"),
        (r#""weight":4294967296"#, "its weight is `4294967296`"),
        (r#""weight":"NaN""#, "its weight is `NaN`"),
        (r#""weight":"inf""#, "its weight is `inf`"),
        (r#""weight":true"#, "its weight is `true`"),
        (r#""weight":{}"#, "its weight is `{}`"),
        (r#""protocol":"thrift""#, "its protocol is `thrift`"),
        (r#""tls":"perhaps""#, "its tls is `perhaps`"),
        (r#""tls":1,"weight":"heavy""#, "its tls is `1`, not true or false; it is ignored; its weight is `heavy`"),
    ] {
        let Decoded::Flawed(list, reason) = auto("/services/pay/1", format!(r#"{{"address":"a:1",{field}}}"#)) else {
            panic!("{field} should be told");
        };
        assert!(reason.starts_with(why), "{reason}");
        assert_eq!((list.len(), list[0].weight, list[0].protocol, list[0].tls), (1, 1, None, None));
    }
    let heaviest = instance(auto("/services/pay/1", r#"{"address":"a:1","weight":4294967295}"#));
    assert_eq!(heaviest.weight, u32::MAX);
}

#[test]
fn locks_elections_and_markers_are_no_instances() {
    let uuid = *b"\x9a\x1c\x5e\x00\xd4\x11\x11\xee\xbe\x56\x02\x42\xac\x12\x00\x02";
    for (key, value, lease, what) in [
        ("/services/pay/694d", &b""[..], 0x694d, "a contender for a lock"),
        ("/services/a/b//694d", b"", 0x694d, "a contender for a lock"),
        ("/services/key___lock/694d", b"", 0x694d, "a contender for a lock"),
        ("/services/lead/694d", b"10.0.0.1:80", 0x694d, "a candidate of an election"),
        ("/services/election/lead/7587", b"10.0.0.1:80", 7587, "a candidate of an election"),
        ("/services/rw/write/1720000000000000000", b"", 5, "a contender for a read-write lock"),
        ("/services/locks/pay", &uuid, 5, "a lock"),
        ("/services/", b"init_dir", 0, "a directory marker"),
        ("/services/pay/", b"", 0, "a directory marker"),
        ("/services/rpc", b"rpcx_path", 0, "a directory of rpcx"),
        ("/services/rpc/Arith", b"Arith", 0, "a directory of rpcx"),
        ("/services/org.Pay/providers", b"", 0, "a directory of Dubbo"),
        ("/services/org.Pay/providers", b"-1234", 0, "a directory of Dubbo"),
        ("/services/org.Pay/consumers/tri%3A%2F%2F10.0.0.1%2Forg.Pay", b"", 0, "a consumer or a rule of Dubbo"),
    ] {
        assert_eq!(decode(FormatName::Auto, key, value, lease), Decoded::NotAnInstance(what), "{key}");
    }
    // What is named raw is raw, but a lock has nothing to read.
    check(decode(FormatName::Raw, "/services/pay/694d", "a:1", 0x694d), "pay 694d a:1 - - 1");
    assert!(matches!(decode(FormatName::Raw, "/services/pay/694d", "", 0x694d), Decoded::NotAnInstance(_)));
    // Neither the value that repeats the key, nor the number of another lease, is a mark.
    check(auto("/services/pay/10.0.0.1:80", "10.0.0.1:80"), "pay 10.0.0.1:80 10.0.0.1:80 - - 1");
    check(decode(FormatName::Auto, "/services/pay/694d", "a:1", 5), "pay 694d a:1 - - 1");
}

#[test]
fn other_systems_are_named() {
    for (key, value, system) in [
        ("pay/5f2c", r#"{"id":"5f2c","name":"pay","version":"","metadata":null,"endpoints":["grpc://a:1"]}"#, "Kratos"),
        ("pay/pay-1", r#"{"name":"pay","nodes":[{"id":"pay-1","address":"a:1"}]}"#, "go-micro"),
        ("pay/a:1", r#"{"network":"tcp","address":"a:1","weight":10,"tags":null}"#, "Kitex or Hertz"),
        ("pay/a:1", r#"{"ServiceName":"pay","Host":"a","Port":1}"#, "Dubbo"),
        ("pay/a:1", r#"{"serviceName":"pay","host":"a","port":1,"enabled":true}"#, "Dubbo"),
        ("pay:1/a:1", r#"{"serviceName":"pay","serviceHost":"a","servicePort":1}"#, "a Java RPC framework"),
        ("1", r#"{"nodes":{"a:80":1},"type":"roundrobin"}"#, "APISIX"),
        ("1", r#"{"upstream":{"nodes":[]}}"#, "APISIX"),
        ("info/n1", r#"{"sender":"n1","instanceID":"x","services":[]}"#, "Moleculer"),
        ("org.Pay/providers/tri%3A%2F%2F10.0.0.1%3A20000%2Forg.Pay", "", "Dubbo"),
        ("Arith/tcp@10.0.0.1:8972", "", "rpcx"),
        ("http/services/pay/loadbalancer/servers/0/url", "http://a:1", "Traefik"),
    ] {
        unreadable(auto(&format!("/services/{key}"), value), &format!("by {system},"));
    }
    check(
        decode(FormatName::Json, "/services/pay/a:1", r#"{"network":"tcp","address":"a:1","weight":10}"#, 0),
        "pay a:1 a:1 - - 10",
    );
}

#[test]
fn hostile_keys_and_values_do_no_harm() {
    let long = "x".repeat(1 << 20);
    let nested = |n: usize| format!("{}{}", r#"{"Metadata":"#.repeat(n), "}".repeat(n));
    for (value, why) in [
        (long.clone(), "no port"),
        (format!("{long}:80"), "bad host"),
        (format!("h:{}", "9".repeat(1 << 20)), "bad port"),
        (format!("{long}://h:80"), "its scheme is"),
        (format!(r#"{{"Addr":"{long}:80"}}"#), "bad host"),
        (format!(r#"{{"host":"h","port":"{long}"}}"#), "its port is"),
        (nested(100_000), "not a JSON object"),
        (format!("\"{long}\""), "no port"),
        ("k8s\0".into(), "no port"),
    ] {
        unreadable(auto("/services/pay/1", value), why);
    }
    unreadable(decode(FormatName::Go, "/services/pay/1", format!("\"{long}\""), 0), "not a JSON object");
    unreadable(auto("/services/pay/1", b"\xff\xfe"), "not UTF-8");
    unreadable(auto(&format!("/services/{long}/1"), "a:1"), "longer than 255 bytes");
    unreadable(auto("/services/p\u{1b}[2Jay/1", "a:1"), "control characters");
    let key = KeyValue { key: b"/services/\xff/1".to_vec(), ..kv("", "a:1", 0) };
    unreadable(Decoder::new("/services/", FormatName::Auto, None).decode(&key), "its key is not UTF-8");

    let Decoded::Flawed(_, reason) =
        auto("/services/pay/1", format!(r#"{{"address":"a:1","weight":"{long}","tls":"{long}","protocol":"{long}"}}"#))
    else {
        panic!("flaws expected");
    };
    assert!(reason.len() < 1000);
    // Deep but legal metadata, markup and control characters are data.
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let i = instance(auto("/services/<b>/1", format!(r#"{{"Addr":"a:1","Metadata":{{"a":{deep},"b":"\u0007<i>"}}}}"#)));
    assert_eq!((i.service.as_str(), i.metadata["b"].as_str()), ("<b>", "\u{7}<i>"));
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = fastrand::Rng::with_seed(42);
    let pieces: &[&[u8]] = &[
        b"/services/",
        b"/",
        b"pay",
        b"7587",
        b"1da3",
        b"{",
        b"}",
        b"\"Addr\"",
        b"\"address\"",
        b":",
        b",",
        b"\"",
        b"[",
        b"]",
        b"::1",
        b"://",
        b"http",
        b"\\u00",
        b"\xff",
        b"\0",
        b"nodes",
        b"@",
        b"%3A%2F%2F",
        b"providers",
        b" ",
        b"-1",
        b"null",
        "é".as_bytes(),
    ];
    let mut text =
        |most| (0..random.usize(..most)).flat_map(|_| pieces[random.usize(..pieces.len())].to_vec()).collect();
    for n in 0..100_000 {
        let (key, value): (Vec<u8>, Vec<u8>) = (text(8), text(16));
        let (_, format) = FormatName::ALL[n % FormatName::ALL.len()];
        let prefix = if n % 2 == 0 { "/services/" } else { "" };
        Decoder::new(prefix, format, None).decode(&KeyValue { key, lease: 7587, ..kv("", value, 0) });
    }
}
