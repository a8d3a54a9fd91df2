//! The OpenAPI document says of every answer what it is, and no more.

use serde_json::{Map, Value};

use super::{shows, view};
use crate::harness::{Backend, Etcd, Version, Waypost, client};

/// What is wrong with a value by a schema of the document: types, fields that lack, fields that nobody announced.
fn check(document: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let place = reference.strip_prefix('#').unwrap();
        return check(document, document.pointer(place).expect(reference), value, at, wrong);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = |schema: &Value| {
            let mut wrong = Vec::new();
            check(document, schema, value, at, &mut wrong);
            wrong.is_empty()
        };
        if !any.iter().any(fits) {
            wrong.push(format!("{at}: {value} is none of {any:?}"));
        }
        return;
    }
    let types = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.iter().any(|t| t == kind || t == "number" && kind == "integer") {
        wrong.push(format!("{at}: {value} is no {types:?}"));
        return;
    }
    if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
        wrong.push(format!("{at}: {value} is none of {words:?}"));
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        check(document, &schema["items"], item, &format!("{at}[{n}]"), wrong);
    }
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    for (name, field) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        match properties.get(name).or_else(|| Some(&schema["additionalProperties"]).filter(|more| more.is_object())) {
            Some(schema) => check(document, schema, field, &at, wrong),
            None => wrong.push(format!("{at} is not in the document")),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter(|_| value.is_object()) {
        if value.get(name.as_str().unwrap()).is_none() {
            wrong.push(format!("{at}: {name} is missing"));
        }
    }
}

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let etcd = Etcd::start(Version::Wheel).await;
    let backend = Backend::h2c("one").await;
    let lease = etcd.grant(60).await;
    let value = format!("{{\"address\":\"{}\",\"zone\":\"a\",\"tags\":[\"t\"],\"more\":\"x\"}}", backend.address);
    etcd.put_leased("/services/greeter/one", &value, &lease).await;
    etcd.put("/services/greeter/two", "nothing").await;
    let routes = "routing: {routes: [{match: {host: x}, service: greeter}]}\n";
    let waypost = Waypost::on(&etcd, routes).await;
    let _first = etcd.etcdctl(0).start(&["lock", "/locks/a"]);
    shows(&waypost, "locks", "/locks/rows/0/waiting", 0).await;
    let _second = etcd.etcdctl(0).start(&["lock", "/locks/a"]);
    shows(&waypost, "locks", "/locks/rows/0/waiting", 1).await;
    shows(&waypost, "locks", "/locks/rows/0/waiters/0/ttl/granted", 10).await;
    shows(&waypost, "leases", "/leases/rows/0/ttl/late", false).await;
    shows(&waypost, "overview", "/members/0/state", "leader").await;

    let document = view(&waypost, "openapi.json").await;
    let mut wrong = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let name = path.strip_prefix("/api/v1/").unwrap();
        let responses = &operations["get"]["responses"];
        let schema = |status: &str| &responses[status]["content"]["application/json"]["schema"];
        for query in ["?name=greeter", "?name=greeter&sort=-name&limit=1&host=x&path=/&headers=a%3Ab"] {
            check(&document, schema("200"), &view(&waypost, &format!("{name}{query}")).await, name, &mut wrong);
        }
        let (status, text) = client::get(waypost.admin, &format!("{path}?limit=many")).await.unwrap();
        assert_eq!(status, 400, "{path}");
        check(&document, schema("400"), &serde_json::from_str(&text).unwrap(), name, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(document["paths"].as_object().unwrap().len() == 9);
    for name in ["service?name=nobody", "nothing"] {
        let (status, text) = client::get(waypost.admin, &format!("/api/v1/{name}")).await.unwrap();
        assert!(status == 404 && text.contains("\"error\""), "{text}");
    }
}

#[test]
fn the_check_finds_what_is_wrong() {
    let document = serde_json::json!({});
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"type": "integer"}, "b": {"type": ["string", "null"], "enum": ["x", null]}}
    });
    for (value, count) in [
        (serde_json::json!({"a": 1, "b": null}), 0),
        (serde_json::json!({"a": 1.5}), 1),
        (serde_json::json!({"b": "y", "c": 1}), 3),
        (serde_json::json!([]), 1),
    ] {
        let mut wrong = Vec::new();
        check(&document, &schema, &value, "", &mut wrong);
        assert_eq!(wrong.len(), count, "{value}: {wrong:?}");
    }
}
