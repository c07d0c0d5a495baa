# Short names over Meson. `make help` lists them. What is built lies in build/ (the command:
# build/wattune); the other builds have folders of their own beside it, build-NAME/.

# Where `make install` puts things; DESTDIR is honoured.
PREFIX ?= /usr/local

TESTS = scripts/run-tests
SETUP_OPTIONS = # CI: --werror
SETUP = meson setup -Dprefix=$(PREFIX) $(SETUP_OPTIONS)

.DEFAULT_GOAL := all
.PHONY: all help bootstrap run test bench asan tsan valgrind clang fuzz check format install clean

all: build/build.ninja ## build the command, build/wattune
	@ninja -C build

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1@/p' $(firstword $(MAKEFILE_LIST)) | \
	    while IFS=@ read -r name what; do printf '%-16s %s\n' "$$name" "$$what"; done

bootstrap: ## install the packages that are missing (apt; root or sudo)
	@scripts/bootstrap

# Prerequisites are made one after the other, in order, in these two: what is installed first is
# needed by what is built next.
run: ## install what is missing, build, run the paper's power-cap sweep
	@scripts/bootstrap
	@$(MAKE) --no-print-directory all
	@scripts/first-run

test: ## install what is missing, build, run all tests
	@scripts/bootstrap
	@$(MAKE) --no-print-directory all
	@$(TESTS) build

bench: all ## run the benchmarks
	@meson test -C build --benchmark --verbose

asan: build-asan/build.ninja ## run the tests under AddressSanitizer and UBSan (not the tree's and Slurm's)
	@ninja -C build-asan
	@$(TESTS) build-asan --no-suite tree --no-suite slurm --timeout-multiplier 4

tsan: build-tsan/build.ninja ## run them under ThreadSanitizer (nor kernels, nor those that run alone)
	@ninja -C build-tsan
	@$(TESTS) build-tsan --no-suite tree --no-suite alone --no-suite kernels --timeout-multiplier 8

VALGRIND = valgrind --quiet --error-exitcode=99 --leak-check=full \
    --errors-for-leak-kinds=definite,indirect --suppressions=$(CURDIR)/scripts/valgrind.supp

valgrind: all ## run the unit tests under valgrind
	@$(TESTS) build --suite unit --no-suite kernels --timeout-multiplier 20 --wrapper '$(VALGRIND)'

clang: build-clang/build.ninja ## build with clang, warnings as errors, and run the unit tests
	@ninja -C build-clang
	@$(TESTS) build-clang --suite unit

FUZZ_SECONDS ?= 60
fuzz: ## fuzz each parser for FUZZ_SECONDS (60) under the sanitizers
	@scripts/fuzz $(FUZZ_SECONDS)

check: all ## layout, layering, headers, docs, man pages, cppcheck, clang-tidy
	@scripts/check

format: ## lay out the sources with clang-format 14
	@scripts/sources | xargs clang-format-14 -i

install: all ## install below PREFIX (/usr/local)
	@meson configure build -Dprefix=$(PREFIX)
	@meson install -C build

.PHONY: uninstall deb
uninstall: build/build.ninja ## take away what `make install` with this PREFIX and DESTDIR puts there
	@meson configure build -Dprefix=$(PREFIX)
	@ninja -C build build.ninja >/dev/null
	@scripts/uninstall build

deb: ## build a Debian package of the tree, in build-deb/
	@scripts/deb

clean: ## remove everything that was built
	@rm -rf build build-asan build-tsan build-clang build-fuzz build-afl build-deb

# A compiler or a package that is missing is named by Meson; scripts/bootstrap then says which
# Debian package holds it.
build/build.ninja:
	@$(SETUP) build || { scripts/bootstrap --check; exit 1; }

# What UBSan finds ends the program; by itself it would be a line that no test reads.
build-asan/build.ninja:
	@$(SETUP) -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false \
	    -Dc_args=-fno-sanitize-recover=undefined build-asan || \
	    { scripts/bootstrap --check; exit 1; }

build-tsan/build.ninja:
	@$(SETUP) -Db_sanitize=thread -Db_lundef=false build-tsan || \
	    { scripts/bootstrap --check; exit 1; }

build-clang/build.ninja:
	@CC=clang CXX=clang++ $(SETUP) --werror build-clang || \
	    { scripts/bootstrap --ci --check; exit 1; }
