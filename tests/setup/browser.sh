#!/bin/sh
# A browser for the tests of the dashboard: Debian's chromium, and in .tools/browser what drives it (playwright-core) and
# what looks for barriers (axe-core).
. "$(dirname "$0")/lib.sh"

missing=
command -v chromium >/dev/null || missing="chromium"
# Without a font a page has boxes instead of letters.
[ -d /usr/share/fonts/truetype ] || missing="$missing fonts-dejavu-core"
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
[ -z "$missing" ] || install $missing

list=$ROOT/tests/clients/browser
browser=$TOOLS/browser
wanted="$(fingerprint "$list/package.json" "$list/package-lock.json") $(node --version)"
if ! is_done browser "$wanted" || ! [ -d "$browser/node_modules/playwright-core" ]; then
    say "installing playwright-core and axe-core into .tools/browser"
    rm -rf "$browser"
    mkdir -p "$browser"
    cp "$list/package.json" "$list/package-lock.json" "$browser"
    (cd "$browser" && npm ci --silent --no-audit --no-fund --ignore-scripts)
    mark_done browser "$wanted"
fi
