#!/bin/sh
# Builds the modules of filters/ to filters/target/modules/NAME.wasm.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/wasm.sh"

cargo_wasm "$ROOT/filters" "$TOOLS/wasm"

# Only what is new is put there, and whole: a proxy may be watching.
modules=$ROOT/filters/target/modules
mkdir -p "$modules"
for manifest in "$ROOT"/filters/*/Cargo.toml; do
    grep -q cdylib "$manifest" || continue
    module=$(basename "${manifest%/Cargo.toml}").wasm
    cmp -s "$WASM_BUILT/$module" "$modules/$module" && continue
    cp "$WASM_BUILT/$module" "$modules/.$module"
    mv "$modules/.$module" "$modules/$module"
done
