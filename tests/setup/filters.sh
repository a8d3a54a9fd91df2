#!/bin/sh
# Builds the modules of filters/ to filters/target/modules/NAME.wasm.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/wasm.sh"

cargo_wasm "$ROOT/filters" "$ROOT/filters/target"
cd "$ROOT/filters"

# Only what is new is put there, and whole: a proxy may be watching.
modules=target/modules
mkdir -p "$modules"
for manifest in */Cargo.toml; do
    grep -q cdylib "$manifest" || continue
    module=${manifest%/*}.wasm
    cmp -s "$WASM_BUILT/$module" "$modules/$module" && continue
    cp "$WASM_BUILT/$module" "$modules/.$module"
    mv "$modules/.$module" "$modules/$module"
done
