# Sourced after lib.sh by the set-up scripts that build modules in Rust: with the installed Rust, if it has or can add its target
# for WebAssembly, else with the compiler of Debian's packages, which brings the sources of the standard library.
# WASM_RUST=target or WASM_RUST=debian takes that way and no other.

WASM=wasm32-unknown-unknown
WASM_PACKAGES="rustc-web cargo-web rust-web-src lld-19"

has_target() { [ -d "$(rustc --print target-libdir --target $WASM 2>/dev/null)" ]; }

add_target() {
    command -v rustup >/dev/null || return 1
    say "adding Rust's target $WASM"
    timeout 120 rustup --quiet target add $WASM && has_target
}

has_packages() {
    for package in $WASM_PACKAGES; do
        dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || return 1
    done
}

# Decides once which way it is, and leaves it in $WASM_RUST.
choose_rust() {
    case ${WASM_RUST:=} in
    target) has_target || add_target || fail "this Rust cannot add its target $WASM" ;;
    debian) has_packages || install $WASM_PACKAGES ;;
    '')
        if has_target; then
            WASM_RUST=target
        elif has_packages; then
            WASM_RUST=debian
        elif add_target; then
            WASM_RUST=target
        else
            install $WASM_PACKAGES
            WASM_RUST=debian
        fi
        ;;
    *) fail "WASM_RUST must be target or debian, is $WASM_RUST" ;;
    esac
}

# Builds a workspace: cargo_wasm FOLDER TARGET-FOLDER ARGUMENT...
# The modules are then in $WASM_BUILT. Each way has a folder of its own, or they would undo each other's work.
cargo_wasm() {
    choose_rust
    WASM_BUILT=$2/$WASM_RUST/$WASM/release
    (
        cd "$1"
        target=$2/$WASM_RUST
        shift 2
        # Since 1.96 Rust refuses imports that name no module, which is how older releases of the SDK import from their host.
        export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS=-Clink-arg=--allow-undefined
        set -- build --locked --quiet --release --target $WASM --target-dir "$target" "$@"
        if [ "$WASM_RUST" = target ]; then
            cargo "$@"
        else
            [ -d "$target" ] || say "building Rust's standard library as well (a minute or two)"
            export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19
            /usr/bin/cargo "$@" -Zbuild-std=std,panic_abort
        fi
    )
}

# The fingerprint of all files in a folder: folder_fingerprint FOLDER
folder_fingerprint() {
    find "$1" -type f -not -path '*/target/*' -not -path '*/node_modules/*' | LC_ALL=C sort | xargs cat | sha256sum | cut -c1-16
}
