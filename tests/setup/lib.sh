# Sourced by the set-up scripts: where things go, and the few steps that they share.
set -eu

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
TOOLS=$ROOT/.tools
mkdir -p "$TOOLS/bin"

say() { printf '%s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command as root. Only called when something is missing.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "root is needed for: $* (become root, or install sudo)"
    fi
}

# Debian packages that the machine itself must have: install PACKAGE...
install() {
    command -v apt-get >/dev/null || fail "please install by hand, this is no Debian or Ubuntu: $*"
    say "installing $*"
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$@" >/dev/null
}

# True if the step NAME was already done for this very content, so that a second run costs nothing.
is_done() { [ "$(cat "$TOOLS/.$1.done" 2>/dev/null)" = "$2" ]; }
mark_done() { printf '%s\n' "$2" >"$TOOLS/.$1.done"; }
fingerprint() { cat "$@" | sha256sum | cut -c1-16; }
