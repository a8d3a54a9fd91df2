#!/bin/sh
# What building Waypost needs besides Rust: protoc, a C compiler for the TLS library.
. "$(dirname "$0")/lib.sh"

missing=
command -v cc >/dev/null || missing="$missing gcc libc6-dev"
command -v protoc >/dev/null || missing="$missing protobuf-compiler"
[ -z "$missing" ] || install $missing
command -v cargo >/dev/null || fail "Rust is missing: install it with rustup (1.95 or newer), then try again"
