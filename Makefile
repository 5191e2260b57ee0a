# Latticed's front door. Every target installs what it needs first (scripts/deps.sh).
#
#   make demo     three hosts, one state, a partition, and the proof that nothing was lost
#   make test     every test: workspace, real clusters, fuzz corpora, loom, model checking, instruction counts, simulator, bug zoo
#   make instructions   what each step of a read or write takes; fails when one takes 5 % more than bench/instructions.toml
#   make sim      2,000 seeded worlds (SEEDS=n, FIRST=n)
#   make zoo      planted bugs, each of which the tests must find
#   make model    exhaustive model checking of the replication rules, the larger bounds
#   make fuzz     every fuzz target for FUZZ_SECONDS (600) each; needs cargo-fuzz
#   make mutants  the mutation score of crdt, wire and engine: hours; needs cargo-mutants
#   make kill     a daemon killed and cut off from its power under load, KILLS (500) times
#   make upgrade  hosts of an earlier commit (FROM=...) replaced one by one by this build, in one cluster
#   make forged   ten million forged, replayed and old frames at a worker that takes sealed ones only: none is let in
#   make soak     the four-minute convergence test under 30 % loss, duplication and reordering
#   make bench    what everything costs, in about five minutes: one table, and target/bench/report.html (RUNS=5: medians of five)
#   make man      the manual pages, in target/man
#   make deb      a Debian package with programs, unit, manual and completions, in target/deb
#   make c        the C library (bindings/c); `make c-install PREFIX=/usr/local` puts it where compilers look
#   make wheel    the Python package (bindings/python), in target/wheels; `make python-test` tests it
#   make check    formatting, lints and a build with warnings denied
#   make build    the release programs
#   make fmt      formats the sources
#   make deps     the packages alone

SHELL := bash
# A recipe fails with its first failing command, also in a pipe.
.SHELLFLAGS := -euo pipefail -c
# rustup's directory, which a login shell has on its path and make under sudo may not.
export PATH := $(HOME)/.cargo/bin:$(PATH)

PREFIX ?= /usr/local
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Where programs of Debian are unpacked that tests and benches use and that the machine does not have.
TOOLS := $(abspath $(TARGET))/bench/tools
export PATH := $(PATH):$(TOOLS)/usr/bin
RUNS ?= 1
SOAK_SECONDS ?= 240
KILLS ?= 500
SEEDS ?= 2000
FIRST ?= 0
FUZZ_SECONDS ?= 600

.PHONY: deps build demo test instructions sim zoo model fuzz mutants kill upgrade forged soak bench bench-deps test-deps check fmt man deb
.PHONY: c c-install wheel python-test

deps:
	@scripts/deps.sh

build: deps
	cargo build --release --workspace --bins --examples

# Only what the demo runs: the daemon, the examples and the demo itself.
demo: deps
	cargo build --release -p lattice-control -p lattice-client -p lattice-demo --bins --examples
	@$(TARGET)/release/lattice-demo

# The programs are built once, and the cluster tests use them as they lie there. loom needs all atomics replaced, so it
# has a target directory of its own.
test: deps bench-deps test-deps
	cargo build --workspace --bins --examples
	LATTICE_BIN_DIR=$(abspath $(TARGET))/debug cargo test --workspace
	LATTICE_BIN_DIR=$(abspath $(TARGET))/debug bindings/python/package.sh test $(abspath $(TARGET))
	RUSTFLAGS="$${RUSTFLAGS:-} --cfg loom" cargo test --release --target-dir $(TARGET)/loom -p lattice-segment --test loom
	RUSTFLAGS="$${RUSTFLAGS:-} --cfg loom" cargo test --release --target-dir $(TARGET)/loom -p lattice-storage --lib durable
	cargo test --release -p lattice-model --test exhaustive -- --nocapture
	@$(MAKE) --no-print-directory instructions sim zoo

# What each step of a read or write takes, in instructions: exact on any machine, compared with bench/instructions.toml.
instructions: deps
	cargo run --release -p lattice-instructions -- check

# Seeded worlds around the production engine; `lattice-sim replay` shows one of them.
sim: deps
	cargo run --release -p lattice-sim -- run --seeds $(SEEDS) --first $(FIRST)

# Are the tests able to fail? The feature zoo plants bugs, so it has a target directory of its own. Those of the protocol
# are for the simulator to find; those of a codec or of memory ordering for their own tests.
zoo: deps
	cargo run --release --target-dir $(TARGET)/zoo -p lattice-sim --features zoo -- zoo
	cargo test --target-dir $(TARGET)/zoo -p lattice-wire -p lattice-engine --features lattice-wire/zoo,lattice-engine/zoo \
		--test zoo --test hostile_world --test aliases --test forgetting --test folding
	RUSTFLAGS="$${RUSTFLAGS:-} --cfg loom" cargo test --release --target-dir $(TARGET)/loom \
		-p lattice-segment --features zoo --test loom

model: deps
	cargo run --release -p lattice-model -- check

fuzz: deps
	FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/fuzz.sh

mutants: deps
	scripts/mutants.sh

# What was acknowledged must be there afterwards, each time.
kill: deps
	cargo build --workspace --bins --examples
	LATTICE_BIN_DIR=$(abspath $(TARGET))/debug LATTICE_KILLS=$(KILLS) \
		cargo test -p lattice-cluster --test kill -- --nocapture

forged: deps
	LATTICE_FORGED_FRAMES=10000000 cargo test --release -p lattice-worker --test seals -- --nocapture

# The release before, or any commit that FROM names, is built in a directory of its own.
upgrade: deps
	@test -n "$(FROM)" || { echo "make upgrade FROM=<commit or tag of the release before>"; exit 2; }
	scripts/before.sh $(FROM) $(abspath $(TARGET))/before
	cargo build --release -p lattice-control --bins
	LATTICE_BIN_DIR=$(abspath $(TARGET))/release LATTICE_BEFORE_BIN_DIR=$(abspath $(TARGET))/before/release \
		cargo test --release -p lattice-cluster --test upgrade -- --nocapture

soak: deps
	cargo build --release -p lattice-control -p lattice-client --bins --examples
	LATTICE_BIN_DIR=$(abspath $(TARGET))/release LATTICE_SOAK_SECONDS=$(SOAK_SECONDS) \
		cargo test --release -p lattice-cluster --test convergence -- --nocapture

# Best on a machine that does nothing else. Without root or AF_XDP some benches say that they are skipped.
bench: deps bench-deps
	cargo build --release -p lattice-bench -p lattice-control -p lattice-client --bins --examples
	LATTICE_BIN_DIR=$(abspath $(TARGET))/release \
		$(TARGET)/release/lattice-bench all --runs $(RUNS) --report $(TARGET)/bench

# An etcd to compare with: unpacked beside the reports, not installed.
bench-deps:
	@scripts/unpack.sh $(TOOLS) etcd-server etcd "the bench etcd"

# Prometheus's own check of the page of metrics.
test-deps:
	@scripts/unpack.sh $(TOOLS) prometheus promtool "the check of metrics by promtool"

check: deps
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTFLAGS="$${RUSTFLAGS:-} -D warnings" cargo build --workspace --all-targets
	bindings/python/package.sh check $(abspath $(TARGET))

fmt:
	cargo fmt --all

man:
	cargo build --release -p lattice-control --bins
	mkdir -p $(TARGET)/man
	$(TARGET)/release/latticectl man $(TARGET)/man

deb: deps
	cargo build --release -p lattice-control --bins
	@scripts/deb.sh $(TARGET)/release $(TARGET)/deb

# In a profile of its own: a fault of the library is an error of the program that uses it, not its end.
c: deps
	cargo build --profile library -p lattice-c

c-install: c
	bindings/c/install.sh $(TARGET)/library $(PREFIX)

# maturin comes from PyPI, into a virtual environment below target.
wheel: deps
	bindings/python/package.sh wheel $(abspath $(TARGET))

python-test: deps
	cargo build -p lattice-control --bins
	LATTICE_BIN_DIR=$(abspath $(TARGET))/debug bindings/python/package.sh test $(abspath $(TARGET))
