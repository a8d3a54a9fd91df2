#!/bin/sh
# Builds the modules of filters/ to filters/target/modules/NAME.wasm: with this Rust, if it has or can add its target for
# WebAssembly, else with the compiler of Debian's packages, which brings the sources of the standard library.
# WASM_RUST=target or WASM_RUST=debian takes that way and no other.
. "$(dirname "$0")/lib.sh"

TARGET=wasm32-unknown-unknown
PACKAGES="rustc-web cargo-web rust-web-src lld-19"

has_target() { [ -d "$(rustc --print sysroot 2>/dev/null)/lib/rustlib/$TARGET/lib" ]; }

add_target() {
    command -v rustup >/dev/null || return 1
    say "adding Rust's target $TARGET"
    timeout 120 rustup --quiet target add "$TARGET"
}

has_packages() {
    for package in $PACKAGES; do
        dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || return 1
    done
}

case ${WASM_RUST:=} in
target) has_target || add_target || fail "this Rust cannot add its target $TARGET" ;;
debian) has_packages || install $PACKAGES ;;
'')
    if has_target; then
        WASM_RUST=target
    elif has_packages; then
        WASM_RUST=debian
    elif add_target; then
        WASM_RUST=target
    else
        install $PACKAGES
        WASM_RUST=debian
    fi
    ;;
*) fail "WASM_RUST must be target or debian, is $WASM_RUST" ;;
esac

# A folder for each way, or they would undo each other's work.
cd "$ROOT/filters"
built=target/$WASM_RUST
if [ "$WASM_RUST" = target ]; then
    cargo build --locked --quiet --release --target "$TARGET" --target-dir "$built"
else
    [ -d "$built" ] || say "building the modules, and Rust's standard library for them (a minute or two)"
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19 \
        /usr/bin/cargo build --locked --quiet --release --target "$TARGET" --target-dir "$built" -Zbuild-std=std,panic_abort
fi

# Only what is new is put there, and whole: a proxy may be watching.
modules=target/modules
mkdir -p "$modules"
for manifest in */Cargo.toml; do
    grep -q cdylib "$manifest" || continue
    module=${manifest%/*}.wasm
    cmp -s "$built/$TARGET/release/$module" "$modules/$module" && continue
    cp "$built/$TARGET/release/$module" "$modules/.$module"
    mv "$modules/.$module" "$modules/$module"
done
