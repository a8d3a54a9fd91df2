#!/bin/sh
# Builds Waypost quickly, and shows all of it in one process. Takes the arguments of `waypost demo`.
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

cargo build --locked --profile demo --bin waypost
target=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
exec "$target/demo/waypost" demo "$@"
