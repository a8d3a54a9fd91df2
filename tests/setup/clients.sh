#!/bin/sh
# The clients that the tests run: curl, and Node's gRPC and etcd client in .tools/node. (Python's come with etcd.sh.)
. "$(dirname "$0")/lib.sh"

missing=
command -v curl >/dev/null || missing="$missing curl"
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
[ -z "$missing" ] || install $missing

list=$ROOT/tests/clients/node
node=$TOOLS/node
wanted="$(fingerprint "$list/package.json" "$list/package-lock.json") $(node --version)"
if ! is_done node "$wanted" || ! [ -d "$node/node_modules/etcd3" ]; then
    say "installing Node's gRPC and etcd client into .tools/node"
    rm -rf "$node"
    mkdir -p "$node"
    cp "$list/package.json" "$list/package-lock.json" "$node"
    (cd "$node" && npm ci --silent --no-audit --no-fund --ignore-scripts)
    mark_done node "$wanted"
fi
