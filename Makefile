# The commands of this project. Everything that can go into a folder goes to .tools, which git ignores.

SETUP := tests/setup

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-14s %s\n", $$1, $$2}'

setup-demo: ## install what the demo needs
	@$(SETUP)/build.sh

demo: setup-demo ## show everything: services that come and go, calls, locks; needs no etcd (CONFIG=FILE: with a configuration)
	@$(SETUP)/demo.sh $(if $(CONFIG),--config $(CONFIG))

setup-test: ## install what the tests need
	@$(SETUP)/build.sh
	@$(SETUP)/etcd.sh
	@$(SETUP)/clients.sh
	@$(SETUP)/filters.sh
	@$(SETUP)/guests.sh
	@$(SETUP)/browser.sh

filters: ## build the modules to filters/target/modules
	@$(SETUP)/filters.sh

test: setup-test ## install what the tests need, and run them
	cargo test --locked

setup-interop: setup-test ## build what the interop tests need (Go 1.24 or newer)
	@$(SETUP)/interop.sh
	@$(SETUP)/guests-go.sh

interop: setup-interop ## run the proxy against h2spec, grpc-go and current etcd servers
	cargo test --locked --test interop

setup-bench: ## install the proxies that `make bench` compares with, and build all that it runs
	@$(SETUP)/build.sh
	@$(SETUP)/etcd.sh
	@$(SETUP)/bench.sh
	cargo build --locked --profile dist --bin waypost --example bench-echo --example bench-load

bench: setup-bench ## what calls cost beside other proxies: three shapes, about ten minutes
	benches/compare/run.py shapes

bench-full: setup-bench ## bodies, streams, transfers, HTTP/1.1, churn, fixed rate, endpoints, memory, tables as well: about an hour
	benches/compare/run.py full
	cargo bench --locked --profile dist --bench discovery
	cargo bench --locked --profile dist --bench table

bench-wasm: setup-bench filters ## the same module in Waypost and in Envoy
	benches/compare/run.py wasm

setup-count: ## build what `make bench-count` runs
	@$(SETUP)/build.sh
	@$(SETUP)/etcd.sh
	@$(SETUP)/bench.sh load
	cargo build --locked --profile demo --bin waypost --example bench-echo

bench-count: setup-count ## instructions per call; fails if there are 5 % more than committed (WRITE=1: write those of now)
	benches/compare/count.py $(if $(WRITE),--write)

lint: ## formatting, clippy and docs with warnings as errors, every feature alone
	@$(SETUP)/build.sh
	@$(SETUP)/lint.sh

.PHONY: help setup-demo demo setup-test filters test setup-interop interop setup-bench bench bench-full bench-wasm setup-count bench-count lint
