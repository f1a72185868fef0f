# The front door. `make demo` and `make test` do everything on a fresh machine, set-up included.
.DEFAULT_GOAL := help
JOBS ?= $(shell nproc)
PRESET ?= release
BUILD := build/$(PRESET)

.PHONY: help setup build demo test test-memory bench format format-check tidy clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  variables: JOBS=$(JOBS) PRESET=$(PRESET) (release, debug, asan, cuda)"

setup: ## Install missing Debian packages (root or sudo)
	@scripts/setup.sh

$(BUILD)/build.ninja: CMakeLists.txt CMakePresets.json | setup
	cmake --preset $(PRESET) -Wno-dev >/dev/null

build: setup $(BUILD)/build.ninja ## Build everything (library, program, tests, benchmarks)
	cmake --build $(BUILD) -j $(JOBS)

demo: setup $(BUILD)/build.ninja ## Train a small looped hybrid, talk to it, write runs/demo/report.html
	cmake --build $(BUILD) -j $(JOBS) --target lt2
	scripts/demo.sh $(BUILD)/lt2

test: build ## Build and run all tests
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS) --no-tests=error

# Where kernels and states handle raw memory. MODEL_TESTS='*' runs all tests of the model, which take ten minutes more.
MEMORY_ROOMS := ops mixers infer train
MODEL_TESTS ?= *EveryMixer*

test-memory: setup ## Run the tests of ops, mixers, infer, train and the model's property tests under AddressSanitizer and UBSan
	cmake --preset asan -Wno-dev >/dev/null
	cmake --build build/asan -j $(JOBS) --target $(MEMORY_ROOMS:%=lt2_%_test) lt2_model_test
	ctest --test-dir build/asan --output-on-failure -j $(JOBS) --no-tests=error -L '^($(subst $() ,|,$(MEMORY_ROOMS)))$$'
	GTEST_FILTER='$(MODEL_TESTS)' ctest --test-dir build/asan --output-on-failure -j $(JOBS) --no-tests=error -L '^model$$'

bench: build ## Run the benchmarks (tables beside their floors)
	scripts/bench.sh $(BUILD)

format: ## Format the sources
	@git ls-files '*.cpp' '*.h' | xargs clang-format-14 -i

format-check: setup
	@files=$$(git ls-files '*.cpp' '*.h') && clang-format-14 --dry-run -Werror $$files

tidy: setup ## Run clang-tidy over src/ (the checks of .clang-tidy)
	@scripts/tidy.py $(JOBS)

clean: ## Remove build/
	rm -rf build
