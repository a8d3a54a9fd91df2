#!/bin/sh
# Real etcd servers, unpacked into .tools; no system service is ever installed or started:
#   .tools/python          a virtual environment that carries etcd and etcdctl 3.5.1, and Python's gRPC and etcd client
#   .tools/etcd-debian     the etcd of this Debian or Ubuntu (3.4 on Debian 12 and Ubuntu 24.04)
. "$(dirname "$0")/lib.sh"

missing=
# Without ensurepip, Debian's python3 makes virtual environments that lack pip.
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="python3 python3-venv"
[ -z "$missing" ] || install $missing

requirements=$ROOT/tests/clients/python/requirements.txt
wanted="$(fingerprint "$requirements") $(python3 --version)"
if ! is_done python "$wanted" || ! [ -x "$TOOLS/python/bin/etcd" ]; then
    say "making .tools/python: etcd 3.5.1, and Python's gRPC and etcd client"
    rm -rf "$TOOLS/python"
    python3 -m venv "$TOOLS/python"
    "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
    mark_done python "$wanted"
fi

debian=$TOOLS/etcd-debian
if ! [ -x "$debian/etcd" ] || ! [ -x "$debian/etcdctl" ]; then
    say "unpacking this distribution's etcd into .tools/etcd-debian"
    command -v apt-get >/dev/null || fail "this is no Debian or Ubuntu: put an etcd and its etcdctl 3.4 into .tools/etcd-debian"
    rm -rf "$debian"
    mkdir -p "$debian/unpacked"
    (
        cd "$debian"
        apt-get -qq download etcd-server etcd-client 2>/dev/null || {
            as_root apt-get -qq update
            apt-get -qq download etcd-server etcd-client
        }
        for package in ./*.deb; do dpkg-deb --extract "$package" unpacked; done
        mv unpacked/usr/bin/etcd unpacked/usr/bin/etcdctl .
        rm -rf unpacked ./*.deb
    )
fi
