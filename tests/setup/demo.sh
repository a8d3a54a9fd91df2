#!/bin/sh
# Builds Waypost quickly, and shows it between a client and two instances registered in a real etcd.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

cargo build --locked --profile demo --bin waypost
target=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
exec "$TOOLS/python/bin/python" tests/setup/demo.py "$target/demo/waypost"
