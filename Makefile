# Everything is built below build/. `make` alone prints the targets.
#
#   CXX=clang++ CXXSTD=c++20 make test        another compiler, another standard
#   make test ONLY='parser*'                  some test cases
#   make WERROR= ...                          a compiler with warnings of its own

CXX ?= g++
CXXSTD ?= c++17
OPTIMIZE ?= -O2
# The tests, unless OPTIMIZE is given: built in two thirds of the time.
TESTS_OPTIMIZE = $(if $(filter file,$(origin OPTIMIZE)),-O1,$(OPTIMIZE))
WERROR ?= -Werror
WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Wshadow $(WERROR)
FLAGS = -std=$(CXXSTD) $(WARNINGS) -pthread -I. $(CXXFLAGS)
BUILD ?= build
PREFIX ?= /usr/local

EXAMPLES = $(patsubst examples/%.cpp,%,$(wildcard examples/*.cpp))
TESTED ?= $(patsubst tests/%_test.cpp,%,$(wildcard tests/*_test.cpp))
# UNITY=1 compiles them as one file, in half the time, but for those which replace operator new, or need C++20.
ALONE = $(if $(UNITY),$(filter allocation coroutine,$(TESTED)),$(TESTED))
TESTS = $(ALONE:%=$(BUILD)/tests/%_test.o) $(if $(UNITY),$(BUILD)/tests/unity.o) $(BUILD)/tests/main.o
# What `make check` and .ci/run do, in this order. What mostly compiles runs beside what mostly waits.
CHECKS = test asan,coverage,valgrind,cross/noexcept,lint,examples,packaging,tsan,interop syscalls paths hostile \
    faults,memory,differential,soak/fuzz
export CXX CXXSTD BUILD

help: ## this list
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

run: $(BUILD)/examples/hello $(BUILD)/examples/fetch ## start hello, fetch from it, show the exchange
	@tests/run.sh

test: $(BUILD)/tests/all ## all tests; installs doctest where it is missing
	@tests/suite.sh '$(ONLY)'

check: ## test, sanitizers, no exceptions, compilers, lint, examples, real programs
	@tests/check.sh $(CHECKS)

checks:
	@echo $(CHECKS)

asan: ## the tests with the address and undefined behaviour sanitizers
	@$(MAKE) test BUILD=build/asan OPTIMIZE=-O0 UNITY=1 \
	    CXXFLAGS='-g -fsanitize=address,undefined -fno-sanitize-recover=all'

tsan: ## the tests that have threads with the thread sanitizer
	@$(MAKE) test BUILD=build/tsan OPTIMIZE=-O0 UNITY=1 CXXFLAGS='-g -fsanitize=thread' \
	    TESTED='allocation async_client client fd server socket_file streams'

noexcept: ## hello and fetch without exceptions and RTTI
	@$(MAKE) run BUILD=build/noexcept CXXFLAGS='-fno-exceptions -fno-rtti'

cross: ## compilers, standards, libraries, 32 bits, other machines; QUICK=1 for two minutes of it
	@tests/cross.sh $(CROSS)

lint: ## format, clang-tidy, and the figures that the header keeps
	@tests/lint.sh

format: ## let clang-format have its way
	clang-format -i uds_http.hpp examples/*.cpp $$(find tests -name '*.cpp' -o -name '*.hpp')

examples: $(EXAMPLES:%=$(BUILD)/examples/%) ## build, run and check each example and README block
	@tests/examples.sh

# INTEROP='curl nginx' runs those alone; CI runs all of them. tests/interop/table.sh --write for README.
interop: $(EXAMPLES:%=$(BUILD)/examples/%) ## other people's clients and servers, from Debian's packages or npm
	@tests/interop/run.sh $(INTEROP)

packaging: $(BUILD)/examples/fetch ## make install, pkg-config, CMake's find_package and FetchContent
	@tests/cmake.sh

syscalls: $(patsubst %,$(BUILD)/examples/%,hello files proxy events) ## one receive, one send, one wait for a batch of requests
	@tests/syscalls.sh

paths: $(BUILD)/examples/hello $(BUILD)/examples/fetch ## the life of a socket path: crowds, strangers, take-overs; ROUNDS=5
	@tests/paths.sh

faults: ## system calls that fail or do less, by a preloaded library
	@tests/faults.sh

memory: ## a loop that can't allocate, at every single allocation
	@tests/memory.sh

hostile: ## peers that are slow, silent, stopped, killed, or too many
	@tests/hostile.sh

valgrind: ## the tests under memcheck; QUICK=1 without the slowest
	@tests/valgrind.sh

fuzz: ## libFuzzer targets, FUZZ_SECONDS=60 for all of them
	@tests/fuzz.sh

differential: ## raw bytes against Go, Node, nginx and h11: who takes them for what
	@tests/differential.sh

soak: ## good and hostile load, SOAK_SECONDS=60: no leak, no wrong answer
	@tests/soak.sh

coverage: ## lines and branches of the header that the tests run; QUICK=1 counts the suite alone
	@tests/coverage.sh

bench: ## against the floor and the peers; BENCH_ARGS=--quick; tables, build/bench/*.json and plots
	/usr/bin/python3 tests/bench/run.py $(BENCH_ARGS)

install: ## the header, for pkg-config and CMake, below PREFIX=/usr/local
	install -D -m 644 uds_http.hpp '$(DESTDIR)$(PREFIX)/include/uds_http.hpp'
	install -d '$(DESTDIR)$(PREFIX)/lib/pkgconfig'
	tests/pkg_config.sh '$(PREFIX)' > '$(DESTDIR)$(PREFIX)/lib/pkgconfig/uds_http.pc'
	install -d '$(DESTDIR)$(PREFIX)/lib/cmake/uds_http'
	tests/cmake_config.sh '$(DESTDIR)$(PREFIX)/lib/cmake/uds_http'

clean: ## remove build/
	rm -rf build

$(BUILD)/examples/coroutine: override CXXSTD = c++20
$(BUILD)/examples/%: examples/%.cpp Makefile
	@mkdir -p $(@D)
	$(CXX) $(FLAGS) $(OPTIMIZE) -MMD -MP -MF $@.d -o $@ $< $(LDFLAGS)

$(BUILD)/tests/%.o: tests/%.cpp Makefile | build/doctest
	@mkdir -p $(@D)
	$(CXX) $(FLAGS) $(TESTS_OPTIMIZE) -MMD -MP -MF $@.d -c -o $@ $<

$(BUILD)/tests/unity.cpp: $(TESTED:%=tests/%_test.cpp) tests/unity.sh
	@mkdir -p $(@D)
	tests/unity.sh $(filter-out $(ALONE),$(TESTED)) > $@

$(BUILD)/tests/unity.o: $(BUILD)/tests/unity.cpp Makefile | build/doctest
	$(CXX) $(FLAGS) -Itests $(TESTS_OPTIMIZE) -MMD -MP -MF $@.d -c -o $@ $<

$(BUILD)/tests/all: $(TESTS)
	$(CXX) $(FLAGS) $(TESTS_OPTIMIZE) -o $@ $^ $(LDFLAGS)

build/doctest:
	@mkdir -p build
	@tests/need.sh 'doctest-dev:<doctest/doctest.h>'
	@touch $@

-include $(wildcard $(BUILD)/examples/*.d $(BUILD)/tests/*.d)

.DELETE_ON_ERROR:
.PHONY: help run test check checks asan tsan noexcept cross lint format examples packaging interop syscalls \
    paths faults memory hostile valgrind fuzz differential soak coverage bench install clean
