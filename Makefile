# `make help` lists the targets. Go is the only thing that has to be there before; what
# else the tests and the page need, .ci/setup installs or names.

GO        ?= go
BIN       := bin
TOOLS     := $(BIN)/tools
PKGS      := ./...
# Everything but the tests that play whole sites.
UNIT       = $(shell $(GO) list ./... | grep -v /bench/e2e)
FUZZTIME  ?= 10s
# One way to compile for building, tests and lint, so that nothing is compiled twice.
export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: run build web webtest test unit race lint fuzz e2e faults sim sites bench bench-docs microbench proto testdata setup clean help

run: build ## run the demo: simulated cameras, proxy, three recorders, playback, on this machine
	$(BIN)/duet demo $(ARGS)

build: web ## build bin/duet
	@.ci/setup go
	$(GO) build -o $(BIN)/duet ./cmd/duet

# The page is embedded in the program. Without Node.js, which can be installed as root on
# Debian and Ubuntu alone, the program is built without it, and says so at its root.
WEB     := playback/web
WEBSRC   = $(shell git ls-files -co --exclude-standard $(WEB)/src $(WEB)/public 2>/dev/null || find $(WEB)/src $(WEB)/public -type f) \
	$(WEB)/index.html $(WEB)/vite.config.ts $(WEB)/package-lock.json

web: ## build the page of playback (also part of build)
	@if .ci/setup web; then $(MAKE) --no-print-directory $(WEB)/dist/page/index.html; \
	else echo "duet is built without its page" >&2; fi

$(WEB)/dist/page/index.html: $(WEB)/node_modules/.installed $(WEBSRC)
	cd $(WEB) && npm run --silent build -- --logLevel warn
	@touch $@

$(WEB)/node_modules/.installed: $(WEB)/package-lock.json $(WEB)/package.json $(WEB)/.npmrc
	cd $(WEB) && npm ci --ignore-scripts --no-progress --loglevel=error
	@touch $@

webtest: web ## the page's types, lint and unit tests
	@if [ -e $(WEB)/node_modules/.installed ]; then cd $(WEB) && npm run --silent check && npm test --silent; \
	else echo "Node.js is missing: the page is not checked" >&2; fi

test: setup build webtest unit sites ## set up what is missing, then all tests: units, then whole sites

unit: ## the tests of packages
	$(GO) test -vet=off $(UNIT)

e2e: build ## the tests of whole sites: processes, kills, foreign cameras and clients; RUN=name SEED=n repeat one
	DUET_BIN=$(CURDIR)/$(BIN)/duet DUET_SEED=$(SEED) $(GO) test -vet=off -count=1 -timeout 20m -parallel 5 \
		$(if $(RUN),-v -run '$(RUN)',) ./bench/e2e/...

# Those that save a result where DUET_FAULTS says.
FAULTS := ^(TestDiskFaults.*|TestSlowDiskAndDiskThatLies|TestFaultsOfProcessesAndNetwork|TestDamage.*)$$
faults: build ## play every fault with real disks and processes (as root), and write the table of docs/FAULTS.md
	rm -rf $(BIN)/faults
	DUET_FAULTS=$(CURDIR)/$(BIN)/faults $(MAKE) --no-print-directory e2e RUN='$(FAULTS)'
	$(GO) test -vet=off -count=1 ./bench/faults -faults.from=$(CURDIR)/$(BIN)/faults

sim: ## stories of crashes, partitions and bad disks in memory: DURATION (119s) or SEEDS=n; SEED=n repeats one
	$(GO) test -vet=off -count=1 -timeout 0 -v -run '^TestSeeds$$' ./bench/sim \
		$(if $(SEED),-sim.seed=$(SEED) -sim.seeds=$(or $(SEEDS),20),-sim.procs $(if $(SEEDS),-sim.seeds=$(SEEDS),-sim.for=$(or $(DURATION),119s)))

# The simulation takes what the whole sites leave of the processors: they mostly wait, and
# they have deadlines.
sites:
	@mkdir -p $(BIN); nice -n 19 $(MAKE) --no-print-directory sim SEED= >$(BIN)/sim.log 2>&1 & sim=$$!; \
	status=0; $(MAKE) --no-print-directory e2e || status=$$?; \
	wait $$sim || status=$$?; cat $(BIN)/sim.log; exit $$status

race: ## the tests of packages under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -vet=off $(UNIT)

lint: $(TOOLS)/golangci-lint ## golangci-lint, gofumpt, shellcheck
	@.ci/setup lint
	$(TOOLS)/golangci-lint run
	@if command -v shellcheck >/dev/null; then \
		git ls-files -z -- '.ci/run' '.ci/setup' '*.sh' | xargs -0 shellcheck; \
	else echo "shellcheck is not installed: shell scripts are not checked"; fi

fuzz: ## every fuzz target for FUZZTIME (10s)
	@set -e; for pkg in $$($(GO) list $(PKGS)); do \
		for f in $$($(GO) test -vet=off -list '^Fuzz' $$pkg | grep ^Fuzz); do \
			echo "== $$pkg $$f"; \
			$(GO) test -vet=off -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$pkg; \
		done; done

bench: build ## measure this machine, in five minutes; MEDIAMTX, GO2RTC, FFMPEG=path measure those beside; ARGS="--quick"
	$(BIN)/duet bench all -o $(BIN)/bench $(PEERS) $(ARGS)

bench-docs: build ## measure thoroughly, in half an hour, and write the results into docs/PERFORMANCE.md
	@mkdir -p docs/performance
	$(BIN)/duet bench all --thorough -o docs/performance --into docs/PERFORMANCE.md $(PEERS) $(ARGS)

PEERS = $(if $(MEDIAMTX),--mediamtx $(MEDIAMTX)) $(if $(GO2RTC),--go2rtc $(GO2RTC)) $(if $(FFMPEG),--ffmpeg $(FFMPEG))

microbench: ## the micro-benchmarks of packages
	$(GO) test -vet=off -run '^$$' -bench . -benchmem $(UNIT)

proto: ## generate internal/nodepb from node.proto (needs protoc)
	@command -v protoc >/dev/null || { echo "protoc is missing (Debian: protobuf-compiler)" >&2; exit 1; }
	$(GO) build -modfile=.ci/proto/go.mod -o $(TOOLS)/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	PATH="$(CURDIR)/$(TOOLS):$$PATH" protoc --go_out=. --go_opt=paths=source_relative \
		--go-grpc_out=. --go-grpc_opt=paths=source_relative internal/nodepb/node.proto

testdata: ## make the clips of the simulated cameras (needs ffmpeg with x264 and x265)
	sh testdata/make.sh

setup: ## install, or name, what the tests need beside Go
	@.ci/setup tests

clean: ## remove what was built and what the demo recorded
	rm -rf $(BIN) duet-demo $(WEB)/dist/page $(WEB)/node_modules

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The tools are built from a module of their own; go build does nothing when they are up
# to date.
$(TOOLS)/golangci-lint: .ci/tools/go.mod .ci/tools/go.sum
	@.ci/setup go
	$(GO) build -modfile=.ci/tools/go.mod -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@
