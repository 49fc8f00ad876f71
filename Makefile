# libkvcache. `make demo` shows what it does, `make test` proves it; both install what they need.
SHELL   := /bin/bash
CARGO   ?= cargo
PREFIX  ?= /usr/local
DESTDIR ?=
TARGET  := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SONAME  := libkvcache.so.$(basename $(VERSION))
# The folder that has libkvcache.so and libkvcache.a.
LIBDIR  ?= $(TARGET)/release
# Where tools go that are Python packages and that the bindings' tests need.
VENV    := $(abspath $(TARGET))/venv
ZIG     := [ ! -x $(VENV)/zig/bin/python3 ] || export KVC_ZIG="$${KVC_ZIG:-$(VENV)/zig/bin/python3 -m ziglang}";

.DELETE_ON_ERROR:
.PHONY: all demo test bench lint install install-library header loom fuzz-smoke soak tools clean \
        bindings bench-bindings binding-cpp binding-python binding-go binding-zig

all: ## The shared and the static library, the header, the program.
	$(CARGO) build --release --workspace --features cli

demo: ## The main job: a real trace through memory, NVMe and disk, killed on the way; then the first steps from C.
	@scripts/install-tools.sh demo
	@$(CARGO) build --release --quiet --package kvcache-c --package kvcache --features kvcache/cli
	@$(TARGET)/release/kvcache demo
	@mkdir -p $(TARGET)/demo && ln -sf libkvcache.so $(TARGET)/release/$(SONAME)
	@$(CC) -std=c11 -O2 -Wall -Wextra -Iinclude examples/quickstart.c -o $(TARGET)/demo/quickstart \
	  -L$(TARGET)/release -lkvcache -Wl,-rpath,$(abspath $(TARGET)/release)
	@printf '\nThe first steps from C (examples/quickstart.c, linked against libkvcache.so):\n'
	@$(TARGET)/demo/quickstart

test: tools ## Every test: Rust, C, sanitizers, the other languages, models, fuzzers, documentation.
	$(CARGO) test --workspace --features kvcache/capi,kvcache/cli
	$(CARGO) build --package kvcache --no-default-features --lib
	$(MAKE) --no-print-directory bindings
	$(MAKE) --no-print-directory loom
	$(MAKE) --no-print-directory fuzz-smoke
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --package kvcache --features capi

bindings: ## The bindings' tests, two languages at a time, and the table of their functions.
	$(CARGO) build --release --package kvcache-c
	ln -sf libkvcache.so $(LIBDIR)/$(SONAME)
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target binding-cpp binding-python binding-go binding-zig
	python3 scripts/parity_test.py
	python3 scripts/parity.py --check

binding-cpp binding-go:
	bindings/$(@:binding-%=%)/test.sh $(LIBDIR)

binding-python: $(VENV)/python
	KVC_PYTHON_VENV=$(VENV)/python bindings/python/test.sh $(LIBDIR)

# Where they can't be had, the tests say what they skip.
$(VENV)/zig:
	-python3 -m venv $@ && $@/bin/pip install --quiet ziglang || { rm -rf $@; false; }

$(VENV)/python:
	-python3 -m venv $@ && $@/bin/pip install --quiet 'setuptools>=71' pytest numpy mypy ruff auditwheel || { rm -rf $@; false; }

binding-zig: $(VENV)/zig
	$(ZIG) bindings/zig/test.sh $(LIBDIR)

loom: ## Every interleaving of the lock-free structures, up to three preemptions.
	RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3 CARGO_TARGET_DIR=$(TARGET)/loom \
	  $(CARGO) test --package kvcache --lib --release model

fuzz-smoke: ## A few seconds of each fuzzer.
	fuzz/smoke.sh

# How long `make soak` goes on: seeds of each kind of simulated run, seconds of each fuzzer, seconds of kills.
KVC_SIMULATION_SEEDS ?= 200000
KVC_LOG_SEEDS        ?= 20000
KVC_FUZZ_SECONDS     ?= 600
KVC_CRASH_SECONDS    ?= 600

soak: tools ## Many simulated seeds, long fuzzing, a long loop of kills; see the variables above it.
	KVC_SIMULATION_SEEDS=$(KVC_SIMULATION_SEEDS) $(CARGO) test --release --test simulation -- --nocapture
	KVC_LOG_SEEDS=$(KVC_LOG_SEEDS) $(CARGO) test --release --lib the_log_is_a_map_that_survives_crashes
	$(CARGO) test --release --test sweep -- --nocapture
	KVC_CRASH_SECONDS=$(KVC_CRASH_SECONDS) $(CARGO) test --release --test crash -- --nocapture
	KVC_FUZZ_SECONDS=$(KVC_FUZZ_SECONDS) KVC_FUZZ_SEED=$$RANDOM fuzz/smoke.sh

bench: tools ## The figures of the README, as JSON objects: the engine's, the rivals' in a run of their own, the bindings'.
	$(CARGO) run --release --features cli --bin kvcache -- bench --json core
	$(CARGO) run --release --features cli --bin kvcache -- bench --json codec
	$(CARGO) run --release --manifest-path benches/rivals/Cargo.toml
	$(CARGO) bench --bench core
	$(CARGO) build --release --package kvcache-c
	$(MAKE) --no-print-directory bench-bindings

bench-bindings: $(VENV)/zig $(VENV)/python
	ln -sf libkvcache.so $(LIBDIR)/$(SONAME)
	bindings/cpp/bench.sh $(LIBDIR)
	KVCACHE_LIBRARY=$(abspath $(LIBDIR))/libkvcache.so $(VENV)/python/bin/python bindings/python/bench.py
	bindings/go/bench.sh $(LIBDIR)
	$(ZIG) bindings/zig/bench.sh $(LIBDIR)

lint: ## Formatting and lints.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features kvcache/capi,kvcache/cli -- -D warnings
	$(CARGO) clippy --package kvcache --lib --no-default-features -- -D warnings

header: ## Writes include/kvcache.h from the Rust sources.
	KVC_HEADER_WRITE=1 $(CARGO) test --features capi --test header

install: ## Library, headers, pkg-config and CMake files and program under $(DESTDIR)$(PREFIX).
	$(CARGO) build --release --package kvcache-c --package kvcache --features kvcache/cli
	$(MAKE) --no-print-directory install-library
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(TARGET)/release/kvcache $(DESTDIR)$(PREFIX)/bin/

FILLED := sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@VERSION@|$(VERSION)|g' -e 's|@SONAME@|$(SONAME)|g'

install-library: ## The same without the program, from a library that is built already: LIBDIR.
	install -d $(DESTDIR)$(PREFIX)/{lib/pkgconfig,lib/cmake/kvcache,include}
	install -m 755 $(LIBDIR)/libkvcache.so $(DESTDIR)$(PREFIX)/lib/libkvcache.so.$(VERSION)
	ln -sf libkvcache.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(PREFIX)/lib/libkvcache.so
	install -m 644 $(LIBDIR)/libkvcache.a $(DESTDIR)$(PREFIX)/lib/
	install -m 644 include/kvcache.h include/kvcache.hpp $(DESTDIR)$(PREFIX)/include/
	$(FILLED) bindings/c/kvcache.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/kvcache.pc
	for file in kvcacheConfig kvcacheConfigVersion; do \
	  $(FILLED) bindings/cmake/$$file.cmake.in > $(DESTDIR)$(PREFIX)/lib/cmake/kvcache/$$file.cmake || exit 1; \
	done

tools: ## The tools of the tests that are not there yet, from the system's package manager.
	@scripts/install-tools.sh

clean:
	$(CARGO) clean
