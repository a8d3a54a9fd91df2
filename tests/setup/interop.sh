#!/bin/sh
# What `make interop` needs, built from the Go module proxy into .tools:
#   etcd-3.5, etcd-3.6     current servers, each a main of five lines in a module that is generated there
#   bin/                   h2spec, grpcurl, grpc-go's interop client and server, our own Go programs
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/go.sh"

ETCD_35=v3.5.35
ETCD_36=v3.6.16
GRPC=v1.84.0
GRPCURL=v1.9.3
H2SPEC=v2.2.1+incompatible

build_etcd() { # NAME VERSION
    is_done "$1" "$2 $release" && [ -x "$TOOLS/$1/etcd" ] && return
    say "building etcd $2 into .tools/$1 (a minute or two)"
    rm -rf "$TOOLS/$1"
    mkdir -p "$TOOLS/$1"
    (
        cd "$TOOLS/$1"
        cat >main.go <<'MAIN'
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
MAIN
        go mod init waypost.invalid/etcd 2>/dev/null
        go get "go.etcd.io/etcd/server/v3@$2" 2>/dev/null || go get "go.etcd.io/etcd/server/v3@$2"
        go build -o etcd .
    )
    mark_done "$1" "$2 $release"
}

install_go() { # NAME PACKAGE@VERSION
    is_done "$1" "$2 $release" && [ -x "$TOOLS/bin/$1" ] && return
    say "building $1 into .tools/bin"
    rm -rf "$TOOLS/gobin"
    GOBIN=$TOOLS/gobin go install "$2"
    mv "$TOOLS/gobin"/* "$TOOLS/bin/$1"
    rmdir "$TOOLS/gobin"
    mark_done "$1" "$2 $release"
}

# A host of its own in a network namespace; making one takes root.
command -v ip >/dev/null || install iproute2

build_etcd etcd-3.5 "$ETCD_35"
build_etcd etcd-3.6 "$ETCD_36"
install_go grpc-interop-client "google.golang.org/grpc/interop/client@$GRPC"
install_go grpc-interop-server "google.golang.org/grpc/interop/server@$GRPC"
install_go grpcurl "github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL"
install_go h2spec "github.com/summerwind/h2spec/cmd/h2spec@$H2SPEC"

build_ours() { # NAME FOLDER
    folder=$ROOT/tests/clients/$2
    wanted="$(fingerprint "$folder"/*.go "$folder/go.mod" "$folder/go.sum") $release"
    is_done "$1" "$wanted" && [ -x "$TOOLS/bin/$1" ] && return
    say "building tests/clients/$2 into .tools/bin"
    (cd "$folder" && go build -o "$TOOLS/bin/$1" .)
    mark_done "$1" "$wanted"
}

build_ours go-client go
build_ours go-lock golock
