#!/bin/sh
# What building Waypost needs besides Rust: a C compiler for the TLS library, and protoc with the types that come with it.
. "$(dirname "$0")/lib.sh"

protoc_works() {
    probe=$(mktemp -d)
    echo 'syntax = "proto3"; import public "google/protobuf/descriptor.proto";' >"$probe/probe.proto"
    protoc --proto_path="$probe" --descriptor_set_out=/dev/null "$probe/probe.proto" 2>/dev/null
    works=$?
    rm -r "$probe"
    return $works
}

missing=
command -v cc >/dev/null || missing="gcc libc6-dev"
# Debian keeps those types in a package that its protoc only recommends.
protoc_works || missing="$missing protobuf-compiler libprotobuf-dev"
[ -z "$missing" ] || install $missing
command -v cargo >/dev/null || fail "Rust is missing: install it with rustup (1.95 or newer), then try again"
