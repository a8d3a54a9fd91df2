# Sourced after lib.sh by the set-up scripts that need Go; leaves its release in $release.

how="install Go 1.24 or newer (Go's own download, or a package such as golang-1.24-go where there is one) and put it on the PATH"
command -v go >/dev/null || fail "make interop needs Go: $how"
release=$(go env GOVERSION)
minor=$(printf '%s' "$release" | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
[ "${minor:-0}" -ge 24 ] || fail "make interop needs Go 1.24, this is $release: $how"

# A fetched module may ask for a newer Go than this one; Go then gets that by itself.
unset GOFLAGS
export GOTOOLCHAIN=auto
