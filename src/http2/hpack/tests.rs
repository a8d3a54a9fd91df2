use bytes::BytesMut;
use http::{HeaderName, HeaderValue};

use super::table::STATIC;
use super::{Decoder, Encoder, Field, Pseudo, encode, huffman};

impl Field {
    fn text(&self) -> String {
        match self {
            Self::Authority(authority) => format!(":authority: {authority}"),
            Self::Method(method) => format!(":method: {method}"),
            Self::Path(path) => format!(":path: {path}"),
            Self::Scheme(scheme) => format!(":scheme: {scheme}"),
            Self::Status(status) => format!(":status: {}", status.as_str()),
            Self::Regular(name, value) => {
                let mark = if value.is_sensitive() { " (sensitive)" } else { "" };
                format!("{name}: {}{mark}", value.as_bytes().escape_ascii())
            }
            Self::Malformed => "malformed".into(),
        }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The fields of a block, one a line, or `None` if it is invalid.
fn decode(decoder: &mut Decoder, block: &[u8]) -> Option<String> {
    let mut lines = Vec::new();
    decoder.decode(block, &mut |field, _| lines.push(field.text())).ok().map(|()| lines.join("\n"))
}

fn decode_new(hex: &str) -> Option<String> {
    decode(&mut Decoder::new(), &bytes(hex))
}

/// A literal that is not indexed; neither string is longer than 126 bytes.
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0, name.len() as u8], name, &[value.len() as u8], value].concat()
}

/// Numbers that only look random, so that failures can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn bytes(&mut self, most: usize, of: &[u8]) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| of[self.below(of.len())]).collect()
    }
}

/// Codes a string by the definition: canonical codes, in the order of lengths and symbols.
fn huffman(raw: &[u8]) -> Vec<u8> {
    let mut symbols: Vec<usize> = (0..256).collect();
    symbols.sort_by_key(|symbol| huffman::LENGTHS[*symbol]);
    let mut codes = vec![String::new(); 256];
    let (mut code, mut length) = (0_u32, 0);
    for symbol in symbols {
        code <<= huffman::LENGTHS[symbol] - length;
        length = huffman::LENGTHS[symbol];
        codes[symbol] = format!("{code:0width$b}", width = usize::from(length));
        code += 1;
    }
    let mut bits: String = raw.iter().map(|byte| codes[usize::from(*byte)].as_str()).collect();
    bits.push_str(&"1".repeat((8 - bits.len() % 8) % 8));
    bits.as_bytes().chunks(8).map(|bits| u8::from_str_radix(str::from_utf8(bits).unwrap(), 2).unwrap()).collect()
}

#[test]
fn literals_of_appendix_c2() {
    assert_eq!(
        decode_new("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572").unwrap(),
        "custom-key: custom-header"
    );
    assert_eq!(decode_new("040c 2f73 616d 706c 652f 7061 7468").unwrap(), ":path: /sample/path");
    assert_eq!(decode_new("1008 7061 7373 776f 7264 0673 6563 7265 74").unwrap(), "password: secret (sensitive)");
    assert_eq!(decode_new("82").unwrap(), ":method: GET");
}

#[test]
fn requests_of_appendices_c3_and_c4() {
    let raw = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let expected = [
        (":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com", 57),
        (":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache", 110),
        (
            ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value",
            164,
        ),
    ];
    for blocks in [raw, coded] {
        let mut decoder = Decoder::new();
        for (block, (fields, size)) in blocks.iter().zip(expected) {
            assert_eq!(decode(&mut decoder, &bytes(block)).unwrap(), fields);
            assert_eq!(decoder.table_size(), size);
        }
    }
}

#[test]
fn responses_of_appendices_c5_and_c6() {
    let raw = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d \
         546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f \
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b \
         2076 6572 7369 6f6e 3d31",
    ];
    let coded = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 \
         8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 \
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let same = "cache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com";
    let expected = [
        (format!(":status: 302\n{same}"), 222),
        (format!(":status: 307\n{same}"), 222),
        (
            ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n\
             location: https://www.example.com\ncontent-encoding: gzip\n\
             set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
                .to_owned(),
            215,
        ),
    ];
    for blocks in [raw, coded] {
        let mut decoder = Decoder::with_limit(256);
        for (block, (fields, size)) in blocks.iter().zip(&expected) {
            assert_eq!(decode(&mut decoder, &bytes(block)).unwrap(), *fields);
            assert_eq!(decoder.table_size(), *size);
        }
    }
}

#[test]
fn sizes_are_counted() {
    let mut sizes = Vec::new();
    let mut decoder = Decoder::new();
    decoder.decode(&bytes("82 4001 6102 6262 be 0001 4100"), &mut |_, size| sizes.push(size)).unwrap();
    assert_eq!(sizes, [42, 35, 35, 33]);
}

#[test]
fn every_symbol_is_decoded() {
    let mut out = Vec::new();
    for symbol in 0..=255 {
        for length in 1..=9 {
            let raw = vec![symbol; length];
            huffman::decode(&huffman(&raw), &mut out).unwrap();
            assert_eq!(out, raw);
        }
    }
    let mut random = Random(1);
    let all: Vec<u8> = (0..=255).collect();
    for _ in 0..2_000 {
        let raw = random.bytes(100, &all);
        huffman::decode(&huffman(&raw), &mut out).unwrap();
        assert_eq!(out, raw);
    }
}

#[test]
fn bad_huffman_strings() {
    // Padding of 8 bits; of zeros; of ones and a zero; half a code; EOS; EOS behind a symbol.
    for bad in ["ff", "1fff", "18", "1e", "fe", "fffffffc", "ffffffff", "1fffffffff"] {
        assert!(huffman::decode(&bytes(bad), &mut Vec::new()).is_err(), "{bad}");
    }
    assert!(huffman::decode(&[], &mut vec![1]).is_ok());
}

#[test]
fn invalid_blocks() {
    for (bad, why) in [
        ("80", "index 0"),
        ("be", "index past the end"),
        ("7e0161", "name past the end"),
        ("ff", "index cut off"),
        ("ff80", "index cut off later"),
        ("ff8080808010", "index too large"),
        ("ff808080808000", "index too long"),
        ("00", "no name"),
        ("000161", "no value"),
        ("00016102", "value cut off"),
        ("0001617fffffffff0f", "value of a vast length"),
        ("3fe21f", "limit too large"),
        ("8220", "size update behind a field"),
        ("202020", "three size updates"),
        ("00016181ff", "bad Huffman code"),
    ] {
        assert!(decode_new(bad).is_none(), "{why}");
    }
    assert_eq!(decode_new("203fe11f82").unwrap(), ":method: GET");
    assert_eq!(decode_new("").unwrap(), "");
}

#[test]
fn malformed_fields() {
    #[rustfmt::skip]
    let fields = [
        ": v", "Upper: v", "sp ace: v", "n: a\nb", "n: v\r", "n: a\0b", "n: \x7f", ":unknown: v", ":path: ",
        ":path: p", ":path: *p", ":path: /p#fragment", ":path: /a b", ":authority: ", ":authority: a/b", ":scheme: a b",
        ":method: ", ":method: A B", ":status: 20", ":status: 2000", ":status: 099",
    ];
    for field in fields {
        let (name, value) = field.split_once(": ").unwrap();
        let block = [literal(name.as_bytes(), value.as_bytes()), vec![0x82]].concat();
        assert_eq!(decode(&mut Decoder::new(), &block).unwrap(), "malformed\n:method: GET", "{field}");
    }
    // White space around a value is no part of it.
    assert_eq!(decode(&mut Decoder::new(), &literal(b"n", b" \tv w\t ")).unwrap(), "n: v w");
    assert_eq!(decode_new("81").unwrap(), "malformed");
    assert_eq!(decode(&mut Decoder::new(), &literal(b":path", b"*")).unwrap(), ":path: *");
}

#[test]
fn names_of_malformed_entries_are_used() {
    // `n` with a bad value, and `N`, both indexed; the first again; then a good value for each, by its name's index.
    assert_eq!(
        decode_new("40016e010a 40014e0176 bf 7f000176 7f000176").unwrap(),
        "malformed\nmalformed\nmalformed\nn: v\nmalformed"
    );
    assert_eq!(decode_new("40016e010a 7e0176 be").unwrap(), "malformed\nn: v\nn: v");
}

#[test]
fn an_entry_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::with_limit(40);
    assert_eq!(decode(&mut decoder, &bytes("4001610162 be")).unwrap(), "a: b\na: b");
    // The name comes from the entry that goes.
    assert_eq!(decode(&mut decoder, &bytes("7e08 6262626262626262")).unwrap(), "a: bbbbbbbb");
    assert_eq!(decoder.table_size(), 0);
    assert!(decode(&mut decoder, &bytes("be")).is_none());
}

#[test]
fn every_static_name_is_found() {
    for (index, (name, _)) in STATIC.iter().enumerate().skip(14) {
        assert_eq!(encode::static_index(name), index + 1);
    }
    for name in ["a", "accepts", "x-request-id", "grpc-status"] {
        assert_eq!(encode::static_index(name), 0);
    }
}

fn block(encoder: &mut Encoder, name: &str, value: &HeaderValue) -> Vec<u8> {
    let mut out = BytesMut::new();
    encoder.begin(&mut out);
    encoder.field(&HeaderName::try_from(name).unwrap(), value, &mut out);
    out.to_vec()
}

#[test]
fn fields_enter_the_table_when_they_come_again() {
    let mut encoder = Encoder::new();
    let value = HeaderValue::from_static("v");
    assert_eq!(block(&mut encoder, "user-agent", &value), bytes("0f2b 0176"));
    assert_eq!(block(&mut encoder, "user-agent", &value), bytes("7a 0176"));
    assert_eq!(block(&mut encoder, "user-agent", &value), bytes("be"));
    assert_eq!(block(&mut encoder, "accept-encoding", &HeaderValue::from_static("gzip, deflate")), bytes("90"));
    assert_eq!(block(&mut encoder, "accept", &HeaderValue::from_static("")), bytes("93"));
    for _ in 0..3 {
        assert_eq!(block(&mut encoder, "cookie", &value), bytes("0f11 0176"));
        assert_eq!(block(&mut encoder, "grpc-timeout", &value)[0], 0);
        assert_eq!(block(&mut encoder, "user-agent", &HeaderValue::try_from("v".repeat(1_000)).unwrap())[0], 0x0f);
        let mut out = BytesMut::new();
        encoder.pseudo(Pseudo::Path, b"/p", false, &mut out);
        encoder.pseudo(Pseudo::Status, b"404", false, &mut out);
        assert_eq!(out[..], bytes("04 022f70 8d"));
    }
}

#[test]
fn fields_that_stay_are_all_indexed() {
    let mut encoder = Encoder::new();
    let value = HeaderValue::from_static("v");
    let mut sizes = || (0..10).map(|n| block(&mut encoder, &format!("x-{n}"), &value).len()).sum::<usize>();
    assert_eq!([sizes(), sizes(), sizes()], [70, 70, 10]);
}

#[test]
fn sensitive_values_are_never_indexed() {
    let mut encoder = Encoder::new();
    let mut value = HeaderValue::from_static("v");
    for _ in 0..3 {
        block(&mut encoder, "user-agent", &value);
    }
    value.set_sensitive(true);
    let block = block(&mut encoder, "user-agent", &value);
    assert_eq!(block, bytes("1f2b 0176"));
    assert_eq!(decode(&mut Decoder::new(), &block).unwrap(), "user-agent: v (sensitive)");
}

#[test]
fn the_least_limit_is_told_too() {
    let begin = |encoder: &mut Encoder| {
        let mut out = BytesMut::new();
        encoder.begin(&mut out);
        out.to_vec()
    };
    let mut encoder = Encoder::new();
    encoder.set_limit(65_536);
    assert!(begin(&mut encoder).is_empty());
    encoder.set_limit(100);
    encoder.set_limit(4_096);
    assert_eq!(begin(&mut encoder), bytes("3f45 3fe11f"));
    assert!(begin(&mut encoder).is_empty());
    encoder.set_limit(0);
    assert_eq!(begin(&mut encoder), bytes("20"));
    encoder.set_limit(30);
    assert_eq!(begin(&mut encoder), bytes("3e"));
}

/// A block of random fields, and their text.
fn random_block(random: &mut Random, encoder: &mut Encoder, out: &mut BytesMut) -> String {
    let names = ["accept", "content-type", "cookie", "x-a", "x-bb", "x-some-long-name", "grpc-timeout", "date"];
    let visible: Vec<u8> = (b'!'..=b'~').chain(0x80..=0xff).collect();
    let mut fields = Vec::new();
    encoder.begin(out);
    for _ in 0..random.below(4) {
        let path = format!("/{}", random.below(50));
        encoder.pseudo(Pseudo::Path, path.as_bytes(), random.below(2) == 0, out);
        fields.push(Field::Path(path.parse().unwrap()));
    }
    for _ in 0..random.below(12) {
        let value = match random.below(3) {
            0 => random.bytes(300, &visible),
            1 => vec![b'x'; random.below(400)],
            _ => vec![b'v'; random.below(5)],
        };
        let mut value = HeaderValue::from_bytes(&value).unwrap();
        value.set_sensitive(random.below(10) == 0);
        let name = HeaderName::from_static(names[random.below(names.len())]);
        encoder.field(&name, &value, out);
        fields.push(Field::Regular(name, value));
    }
    fields.iter().map(Field::text).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_encoded_is_decoded() {
    let mut random = Random(2);
    for _ in 0..100 {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let mut limit = 4_096;
        for _ in 0..200 {
            while random.below(8) == 0 {
                limit = random.below(5_000);
                encoder.set_limit(limit);
            }
            let mut out = BytesMut::new();
            let fields = random_block(&mut random, &mut encoder, &mut out);
            assert_eq!(decode(&mut decoder, &out).unwrap(), fields);
            assert!(decoder.table_size() <= limit);
            assert_eq!(decoder.table_size(), encoder.table_size());
        }
    }
}

#[test]
fn nothing_panics() {
    let mut random = Random(3);
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let all: Vec<u8> = (0..=255).collect();
    for round in 0..100_000 {
        let mut block = if round % 4 == 0 {
            random.bytes(64, &all)
        } else {
            let mut out = BytesMut::new();
            random_block(&mut random, &mut encoder, &mut out);
            out.to_vec()
        };
        for _ in 0..random.below(6) {
            if !block.is_empty() {
                let at = random.below(block.len());
                block[at] = random.below(256) as u8;
            }
        }
        let _ = huffman::decode(&block, &mut Vec::new());
        let _ = decoder.decode(&block, &mut |_, size| assert!(size >= 32));
        assert!(decoder.table_size() <= 4_096);
    }
}
