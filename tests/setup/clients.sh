#!/bin/sh
# The clients that the tests run: curl, and Node's gRPC into tests/clients/node/node_modules. (Python's comes with etcd.sh.)
. "$(dirname "$0")/lib.sh"

missing=
command -v curl >/dev/null || missing="$missing curl"
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
[ -z "$missing" ] || install $missing

node=$ROOT/tests/clients/node
wanted="$(fingerprint "$node/package.json" "$node/package-lock.json") $(node --version)"
if ! is_done node "$wanted" || ! [ -d "$node/node_modules/@grpc/grpc-js" ]; then
    say "installing Node's gRPC into tests/clients/node"
    (cd "$node" && npm ci --silent --no-audit --no-fund --ignore-scripts)
    mark_done node "$wanted"
fi
