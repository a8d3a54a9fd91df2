#!/bin/sh
# Formatting, clippy and docs with warnings as errors, the modules' own tests, and each Cargo feature checked alone.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

run() {
    say "+ $*"
    "$@"
}

run cargo fmt --check
run cargo fmt --check --manifest-path tests/guests/rust/Cargo.toml
run cargo clippy --locked --all-targets -- --deny warnings
run cargo clippy --locked --test interop -- --deny warnings
RUSTDOCFLAGS="--deny warnings" run cargo doc --locked --no-deps

# The modules: a workspace of its own.
modules=filters/Cargo.toml
run cargo fmt --all --check --manifest-path "$modules"
run cargo clippy --locked --workspace --all-targets --manifest-path "$modules" -- --deny warnings
RUSTDOCFLAGS="--deny warnings" run cargo doc --locked --no-deps --workspace --manifest-path "$modules"
run cargo test --locked --quiet --workspace --manifest-path "$modules"

run cargo check --locked --no-default-features
# Every feature of Cargo.toml, so that a new one can't be forgotten.
for feature in $(sed -n '/^\[features\]/,/^\[/s/^\([a-z][a-z-]*\) *=.*/\1/p' Cargo.toml); do
    [ "$feature" = default ] || run cargo check --locked --no-default-features --features "$feature"
done
