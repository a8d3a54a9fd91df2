#!/bin/sh
# Filters in Go that the interop tests load, built into .tools/guests (what each does: tests/guests/README.md):
#   go          ours, on the published SDK
#   coraza      coraza-proxy-wasm, a complete web application firewall, with the rules of the OWASP Core Rule Set inside
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/go.sh"
. "$(dirname "$0")/wasm.sh"

CORAZA=github.com/corazawaf/coraza-proxy-wasm
CORAZA_VERSION=v0.0.0-20260824140537-b1770f5b0be3
BRIDGE=github.com/tetratelabs/proxy-wasm-go-sdk/proxywasm/wasip1

sources=$ROOT/tests/guests/go
guests=$TOOLS/guests
mkdir -p "$guests/build"
export GOOS=wasip1 GOARCH=wasm GOWORK=off

build_module() { # FOLDER NAME ARGUMENT...
    folder=$1 name=$2
    shift 2
    (cd "$folder" && go build -trimpath -ldflags='-s -w' -buildmode=c-shared "$@" -o "$guests/$name.wasm" .)
}

wanted="$(folder_fingerprint "$sources") $release"
if ! is_done guest-go "$wanted" || ! [ -f "$guests/go.wasm" ]; then
    say "building tests/guests/go into .tools/guests"
    build_module "$sources" go
    mark_done guest-go "$wanted"
fi

wanted="$CORAZA_VERSION $(folder_fingerprint "$sources/wasip1") $release"
if ! is_done guest-coraza "$wanted" || ! [ -f "$guests/coraza.wasm" ]; then
    say "building coraza-proxy-wasm into .tools/guests"
    coraza=$guests/build/coraza
    rm -rf "$coraza"
    fetched=$(cd "$guests/build" && go mod download -json "$CORAZA@$CORAZA_VERSION" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    # All of it stays as it is, but for what it stands on: one file beside it joins it to Go's own compiler.
    cp -r "$fetched" "$coraza"
    chmod -R u+w "$coraza"
    cat >"$coraza/wasip1.go" <<'GO'
package main

import _ "github.com/tetratelabs/proxy-wasm-go-sdk/proxywasm/wasip1"

// A module that is a library starts without its main.
func init() { main() }
GO
    (cd "$coraza" && go mod edit -go=1.24 -require="$BRIDGE@v0.0.0" -replace="$BRIDGE=$sources/wasip1")
    # Without files to write to, and with each rule evaluated as early as can be, as its own build does by default.
    build_module "$coraza" coraza -mod=mod -tags=no_fs_access,coraza.rule.multiphase_evaluation
    mark_done guest-coraza "$wanted"
fi
