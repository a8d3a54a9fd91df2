# Sourced after lib.sh by the set-up scripts that build modules in Rust.

WASM=wasm32-unknown-unknown
# One target folder for all of them: what they share is built once; Debian's way, even the standard library.
WASM_BUILT=$TOOLS/wasm/$WASM/release

has_wasm() { [ -d "$(rustc --print target-libdir --target $WASM 2>/dev/null)" ]; }

# Builds a workspace for wasm32 into $WASM_BUILT: cargo_wasm FOLDER ARGUMENT...
# With the target that the installed Rust has or that rustup can add; else with Debian's own Rust, which builds the standard
# library from its sources.
cargo_wasm() {
    folder=$1
    shift
    # Since 1.96 Rust refuses imports that name no module, which is how older releases of the SDK import from their host.
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS=-Clink-arg=--allow-undefined
    set -- build --locked --release --target $WASM --target-dir "$TOOLS/wasm" "$@"
    if has_wasm || { rustup target add $WASM 2>/dev/null && has_wasm; }; then
        (cd "$folder" && cargo "$@")
        return
    fi
    debian="rustc-web cargo-web rust-web-src lld-19"
    dpkg --status $debian >/dev/null 2>&1 || install $debian
    (
        cd "$folder"
        export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19
        /usr/bin/cargo "$@" -Zbuild-std=std,panic_abort
    )
}

# The fingerprint of all files in a folder: folder_fingerprint FOLDER
folder_fingerprint() {
    find "$1" -type f -not -path '*/target/*' -not -path '*/node_modules/*' | LC_ALL=C sort | xargs cat | sha256sum | cut -c1-16
}
