#!/bin/sh
# Filters and policies that the tests load, built into .tools/guests (what each does: tests/guests/README.md):
#   rust, assemblyscript           ours, on the published SDKs
#   c, zig                         ours, policies without an SDK
#   rust_sdk_*                     the examples in a published release of the SDK for Rust
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/wasm.sh"

ZIG=0.17.1

sources=$ROOT/tests/guests
compiler="$(rustc --version) ${WASM_RUST:-}"
guests=$TOOLS/guests
mkdir -p "$guests/build"

wanted="$(folder_fingerprint "$sources/rust") $compiler"
if ! is_done guest-rust "$wanted" || ! [ -f "$guests/rust.wasm" ]; then
    say "building tests/guests/rust into .tools/guests"
    cargo_wasm "$sources/rust" "$TOOLS/wasm"
    cp "$WASM_BUILT/guest_rust.wasm" "$guests/rust.wasm"
    mark_done guest-rust "$wanted"
fi

examples="hello_world http_auth_random http_body http_config http_headers"
wanted="$(folder_fingerprint "$sources/published") $compiler"
if ! is_done guest-published "$wanted" || ! [ -f "$guests/rust_sdk_http_headers.wasm" ]; then
    say "building the examples of the SDK for Rust into .tools/guests"
    rm -rf "$guests/build/rust_sdk"
    fetched=$(cd "$sources/published" && cargo metadata --locked --format-version 1 |
        sed -n 's/.*"manifest_path":"\([^"]*\/proxy-wasm-0\.1\.4\)\/Cargo.toml".*/\1/p')
    cp -r "$fetched" "$guests/build/rust_sdk"
    # A workspace of its own, or Cargo takes it for a part of ours, which lies around it; and what the compiler of today thinks of
    # it is not ours to mend. Its own Cargo.lock holds.
    printf '\n[workspace]\n[lints.rust]\nwarnings = "allow"\n' >>"$guests/build/rust_sdk/Cargo.toml"
    cargo_wasm "$guests/build/rust_sdk" "$TOOLS/wasm" --examples
    for name in $examples; do cp "$WASM_BUILT/examples/$name.wasm" "$guests/rust_sdk_$name.wasm"; done
    mark_done guest-published "$wanted"
fi

wanted="$(folder_fingerprint "$sources/assemblyscript") $(node --version)"
if ! is_done guest-assemblyscript "$wanted" || ! [ -f "$guests/assemblyscript.wasm" ]; then
    say "building tests/guests/assemblyscript into .tools/guests"
    rm -rf "$guests/build/assemblyscript"
    cp -r "$sources/assemblyscript" "$guests/build/assemblyscript"
    (
        cd "$guests/build/assemblyscript"
        npm ci --silent --no-audit --no-fund --ignore-scripts
        node_modules/.bin/asc --config asconfig.json --outFile "$guests/assemblyscript.wasm"
    )
    mark_done guest-assemblyscript "$wanted"
fi

wanted="$(folder_fingerprint "$sources/c") $(folder_fingerprint "$sources/zig") $ZIG"
if ! is_done guest-policies "$wanted" || ! [ -f "$guests/c.wasm" ] || ! [ -f "$guests/zig.wasm" ]; then
    if ! is_done zig "$ZIG"; then
        say "installing Zig $ZIG, which compiles C as well, into .tools/zig"
        rm -rf "$TOOLS/zig"
        "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$TOOLS/zig" "ziglang==$ZIG"
        mark_done zig "$ZIG"
    fi
    say "building tests/guests/c and tests/guests/zig into .tools/guests"
    zig=$TOOLS/zig/ziglang/zig
    export ZIG_GLOBAL_CACHE_DIR="$TOOLS/zig/cache" ZIG_LOCAL_CACHE_DIR="$TOOLS/zig/cache"
    "$zig" cc -target wasm32-freestanding -O2 -Wall -Werror -nostdlib -Wl,--no-entry -Wl,--strip-all \
        -o "$guests/c.wasm" "$sources/c/policy.c"
    "$zig" build-exe "$sources/zig/policy.zig" -target wasm32-freestanding -fno-entry -rdynamic -O ReleaseSmall -fstrip \
        -femit-bin="$guests/zig.wasm"
    mark_done guest-policies "$wanted"
fi
