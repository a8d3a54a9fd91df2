//! How the tests write modules: as text, over what all of them have in common. The tests of the whole proxy use this file
//! as well.

use std::fmt::Write;

/// What stands before the text of each module.
const PRELUDE: &str = include_str!("prelude.wat");
/// Where texts begin in a module's memory.
const TEXTS: usize = 1_024;

/// The mark of filters.
pub(crate) const FILTER: &str = "(func (export \"proxy_abi_version_0_2_1\"))";
/// The mark of policies.
pub(crate) const POLICY: &str = "(func (export \"waypost_policy_abi_1\"))";

/// A filter: the prelude, the mark, and `text`.
pub(crate) fn filter(text: &str) -> Vec<u8> {
    assemble(&format!("(module {PRELUDE} {FILTER} {text})"))
}

/// A policy.
pub(crate) fn policy(text: &str) -> Vec<u8> {
    assemble(&format!("(module {PRELUDE} {POLICY} {text})"))
}

/// A whole module; `@"text"` stands for where the text is and how long.
pub(crate) fn assemble(text: &str) -> Vec<u8> {
    let (mut code, mut data, mut at) = (String::new(), String::new(), TEXTS);
    let mut parts = text.split("@\"");
    code.push_str(parts.next().unwrap());
    for part in parts {
        let (literal, rest) = part.split_once('"').expect("a text that ends");
        let len = length(literal);
        write!(code, "(i32.const {at}) (i32.const {len}){rest}").unwrap();
        write!(data, "(data (i32.const {at}) \"{literal}\") ").unwrap();
        at += len;
    }
    let end = code.rfind(')').unwrap();
    code.insert_str(end, &data);
    wat::parse_str(&code).unwrap_or_else(|error| panic!("{error}"))
}

/// The bytes of a literal: `\` and two digits are one.
fn length(literal: &str) -> usize {
    literal.len() - 2 * literal.matches('\\').count()
}
