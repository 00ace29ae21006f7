# todod. `make help` lists the targets. SANITIZE=address,undefined or thread, DEV=1 (warnings stop the build), CC=clang.

VERSION  = 0.1.0
PREFIX   = /usr/local
SYSCONFDIR = /etc
UNITDIR  = $(PREFIX)/lib/systemd/system
DOCDIR   = $(PREFIX)/share/doc/todod
MANDIR   = $(PREFIX)/share/man
PYTHON   = /usr/bin/python3
SANITIZE =
PYTEST_JOBS = 4
BUILD    = build$(if $(SANITIZE),/$(SANITIZE))
MODULES  = libmongoc-1.0 hiredis jansson uuid sqlite3 inih zlib

WARN     = -Wall -Wextra -Wpedantic -Wshadow -Wvla -Wcast-qual -Wwrite-strings -Wformat=2 -Wstrict-prototypes \
           -Wmissing-prototypes -Wpointer-arith -fno-common $(if $(DEV),-Werror)
OPTIMIZE = -O2
# Asserts stay in release builds: a worker that breaks a contract dies, and the master replaces it.
CFLAGS   = $(OPTIMIZE) -g -fstack-protector-strong $(if $(SANITIZE),-fno-omit-frame-pointer,-D_FORTIFY_SOURCE=2)
override CFLAGS += -std=gnu17 -D_GNU_SOURCE -DTODOD_VERSION='"$(VERSION)"' -pthread $(WARN) -Iinclude -Isrc -I$(BUILD)/gen \
           $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all) $(shell pkg-config --cflags $(MODULES) 2>/dev/null | sed 's/-I/-isystem /g')
override LDLIBS += $(shell pkg-config --libs $(MODULES) 2>/dev/null)

SOURCES  = $(wildcard src/*/*.c) src/main.c
OBJECTS  = $(SOURCES:%.c=$(BUILD)/%.o)
LIBRARY  = $(filter-out %/src/main.o,$(OBJECTS))
# The longest first, which waits most of its time.
UNITS    = $(patsubst %,$(BUILD)/unit/%,test_store_mongo $(filter-out test_store_mongo,$(basename $(notdir $(wildcard tests/unit/test_*.c)))))
SCRIPTS  = $(BUILD)/gen/cache/scripts.h
MANUALS  = $(BUILD)/man/todod.8 $(BUILD)/man/todod.conf.5
FUZZERS  = $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_OBJECTS = $(patsubst src/%.c,build/fuzz/src/%.o,$(filter-out src/main.c,$(SOURCES)))
# llhttp, of Debian's node-llhttp: the parser that fuzz_llhttp holds ours against.
LLHTTP   = $(patsubst %,build/fuzz/llhttp/%.o,api http llhttp)

# What has to be there, as PROBE=PACKAGE: bin, a program; pc, a pkg-config module; file; py, a Python module.
BUILD_NEEDS = bin:cc=gcc file:/usr/include/stdio.h=libc6-dev bin:pkg-config=pkg-config pc:libmongoc-1.0=libmongoc-dev \
           pc:hiredis=libhiredis-dev pc:jansson=libjansson-dev pc:uuid=uuid-dev pc:sqlite3=libsqlite3-dev pc:inih=libinih-dev pc:zlib=zlib1g-dev
TEST_NEEDS = $(BUILD_NEEDS) pc:cmocka=libcmocka-dev py:pytest=python3-pytest py:xdist=python3-pytest-xdist py:pymongo=python3-pymongo py:h11=python3-h11 py:httptools=python3-httptools bin:pip3=python3-pip \
           bin:redis-server=redis-server bin:promtool=prometheus bin:mongod|file:/usr/lib/x86_64-linux-gnu/libcurl.so.4=libcurl4 bin:curl=curl \
           bin:http=httpie bin:wrk=wrk bin:nginx=nginx-light bin:clang=clang \
           file:$(shell clang -print-runtime-dir 2>/dev/null)/libclang_rt.fuzzer-$(shell uname -m).a=libclang-rt-14-dev bin:clang-format=clang-format file:/usr/share/llhttp/llhttp.c=node-llhttp \
           bin:valgrind=valgrind file:/usr/lib/debug/.build-id=libc6-dbg bin:strace=strace bin:ss=iproute2 bin:slowhttptest=slowhttptest bin:ps=procps bin:taskset=util-linux bin:sqlite3=sqlite3 \
           bin:systemd-analyze=systemd bin:goaccess=goaccess bin:supervisord=supervisor bin:mandoc=mandoc bin:logrotate=logrotate

DEB_NEEDS = $(BUILD_NEEDS) file:/usr/share/build-essential=build-essential bin:dpkg-buildpackage=dpkg-dev bin:dh=debhelper bin:fakeroot=fakeroot bin:lintian=lintian

# What `make install` puts where, beside the program. The second kind is the operator's once it is there.
INSTALLED = conf/todod.service:$(UNITDIR)/todod.service conf/todod.socket:$(UNITDIR)/todod.socket \
           conf/sysusers.conf:$(PREFIX)/lib/sysusers.d/todod.conf conf/tmpfiles.conf:$(PREFIX)/lib/tmpfiles.d/todod.conf \
           $(BUILD)/man/todod.8:$(MANDIR)/man8/todod.8 $(BUILD)/man/todod.conf.5:$(MANDIR)/man5/todod.conf.5 \
           README.md:$(DOCDIR)/README.md $(foreach n,nginx.conf redis.conf todod-supervisor.conf grafana-dashboard.json,conf/$(n):$(DOCDIR)/examples/$(n))
CONFIGURED = conf/todod.conf:$(SYSCONFDIR)/todod/todod.conf conf/logrotate:$(SYSCONFDIR)/logrotate.d/todod
# The paths in them are Debian's. A service keeps its todos where its unit says, whoever asks: its user, or the doctor of another.
adapt = sed -e 's|/usr/sbin/todod|$(PREFIX)/sbin/todod|g; s|/usr/share/doc/todod|$(DOCDIR)|g; s|/etc/todod/|$(SYSCONFDIR)/todod/|g' \
           -e 's|^\# \(store = sqlite:/var/lib/todod\)|\1|'

run_units = @printf '%s\n' $(UNITS) | BUILD=$(BUILD) SANITIZE=$(SANITIZE) xargs -P 3 -n 1 tests/unit/run
run_fuzzers = @printf '%s\n' $(FUZZERS) | xargs -P 2 -I '{}' tests/fuzz/run '{}' $(1)

ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif

all: $(BUILD)/todod ## build build/todod (the default)

debug: ## the same without optimisation
	$(MAKE) all BUILD=build/debug OPTIMIZE=-O0

run: build-needs ## install what is missing, build, and serve 127.0.0.1:8080; ARGS='--listen …'
	$(MAKE) all && exec $(BUILD)/todod $(ARGS)

test: test-needs ## install what is missing, build, and run every test
	$(MAKE) check

# Fuzz targets are sanitized in any case: once is enough.
check: all man $(UNITS) $(if $(SANITIZE),,$(FUZZERS)) ## every test, with what is installed already
	$(run_units)
	$(if $(SANITIZE),,$(call run_fuzzers))
	BUILD=$(BUILD) SANITIZE=$(SANITIZE) $(PYTHON) -m pytest -q -n $(PYTEST_JOBS) $(PYTEST_ARGS) tests/integration tests/fault

unit: $(UNITS) ## the unit tests alone
	$(run_units)

fuzz: $(FUZZERS) ## each fuzz target for FUZZ_SECONDS (10), old finds first
	$(call run_fuzzers,$(or $(FUZZ_SECONDS),10))

soak: all ## the long tests at full length: SOAK_SECONDS (600) each
	TODOD_SOAK_SECONDS=$(or $(SOAK_SECONDS),600) BUILD=$(BUILD) $(PYTHON) -m pytest -q $(PYTEST_ARGS) tests/fault

bench: test-needs ## ratios against a bare epoll loop, nginx, libmongoc and SQLite alone
	$(MAKE) all && $(PYTHON) tests/bench/bench.py $(BENCH_ARGS)

lint: ## layering, third-party headers, banned functions, format
	tests/lint

fmt: ## format the sources in place
	clang-format -i $$(git ls-files '*.c' '*.h')

man: $(MANUALS) ## the manual pages, in build/man

install: all man ## into $(DESTDIR)$(PREFIX) and $(DESTDIR)$(SYSCONFDIR); a configuration that is there stays
	install -D -m 755 $(BUILD)/todod $(DESTDIR)$(PREFIX)/sbin/todod
	@set -e; for pair in $(INSTALLED); do $(adapt) $${pair%%:*} | install -D -m 644 /dev/stdin $(DESTDIR)$${pair#*:}; done
	@set -e; for pair in $(CONFIGURED); do to=$(DESTDIR)$${pair#*:}; if [ -z "$(DESTDIR)" ] && [ -e $$to ]; then echo "$$to is kept"; \
		else $(adapt) $${pair%%:*} | install -D -m 644 /dev/stdin $$to; fi; done

uninstall: ## what install put there; a configuration that was changed stays
	rm -f $(DESTDIR)$(PREFIX)/sbin/todod $(foreach pair,$(INSTALLED),$(DESTDIR)$(lastword $(subst :, ,$(pair))))
	@for pair in $(CONFIGURED); do to=$(DESTDIR)$${pair#*:}; [ -e $$to ] || continue; \
		if $(adapt) $${pair%%:*} | cmp -s - $$to; then rm $$to; else echo "$$to was changed and is kept"; fi; done
	@rmdir --ignore-fail-on-non-empty $(wildcard $(DESTDIR)$(DOCDIR)/examples $(DESTDIR)$(SYSCONFDIR)/todod) 2>/dev/null || true
	@rmdir --ignore-fail-on-non-empty $(wildcard $(DESTDIR)$(DOCDIR)) 2>/dev/null || true

deb: deb-needs ## a package for this Debian, in build/deb
	rm -rf build/deb && mkdir -p build/deb/todod-$(VERSION)
	tar --exclude=./build --exclude=./.git --exclude=__pycache__ -cf - . | tar -xf - -C build/deb/todod-$(VERSION)
	cp -r conf/debian build/deb/todod-$(VERSION)/debian
	cd build/deb/todod-$(VERSION) && test "$$(dpkg-parsechangelog -S Version)" = $(VERSION)-1 && \
		env -u MAKELEVEL -u MAKEFLAGS -u MFLAGS dpkg-buildpackage -b -us -uc
	rm -rf build/deb/todod-$(VERSION)
	lintian --info --pedantic --fail-on error,warning,pedantic build/deb/*.changes

clean: ## remove build/
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

build-needs:
	@$(call install_missing,$(BUILD_NEEDS))
test-needs:
	@$(call install_missing,$(TEST_NEEDS))
deb-needs:
	@$(call install_missing,$(DEB_NEEDS))

define install_missing
set -e; missing=; \
has() { case $$1 in bin:*) command -v $${1#bin:} ;; pc:*) pkg-config --exists $${1#pc:} ;; file:*) test -e $${1#file:} ;; \
	py:*) $(PYTHON) -c "import $${1#py:}" ;; esac >/dev/null 2>&1; }; \
for need in $(foreach n,$(1),'$(n)'); do probes=$${need%=*}; \
	has $${probes%%|*} || has $${probes##*|} || missing="$$missing $${need##*=}"; done; \
if [ -n "$$missing" ]; then \
	sudo=; [ $$(id -u) = 0 ] || sudo=sudo; \
	command -v apt-get >/dev/null && { [ -z "$$sudo" ] || command -v sudo >/dev/null; } || \
		{ echo "todod needs these packages of Debian (or what your system calls them):$$missing" >&2; exit 69; }; \
	echo "installing from Debian's packages:$$missing"; export DEBIAN_FRONTEND=noninteractive; \
	$$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null 2>&1 || { $$sudo apt-get update -qq && \
	$$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null; }; \
fi
endef

$(BUILD)/todod: $(OBJECTS)
	@echo "  LD $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(SCRIPTS): src/cache/embed $(wildcard src/cache/*.lua)
	@mkdir -p $(@D); echo "  GEN $@"
	@$^ >$@.new && mv $@.new $@
# Order only: the compiler tells who includes it, but the first time it has to be there.
$(BUILD)/src/cache/lease.o: | $(SCRIPTS)
$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D); echo "  CC $<"
	@$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/man/manual: $(patsubst src/%.c,$(BUILD)/src/%.o,$(wildcard src/base/*.c src/config/*.c))
# What the manual says of the keys is what the program knows and what conf/todod.conf explains.
$(BUILD)/man/manual: conf/man/manual.c
	@mkdir -p $(@D); echo "  CC $<"
	@$(CC) $(CFLAGS) $(LDFLAGS) -MMD -MP -o $@ $(filter %.c %.o,$^) $(LDLIBS)
$(BUILD)/man/%: conf/man/%.in conf/todod.conf $(BUILD)/man/manual
	@echo "  GEN $@"
	@$(BUILD)/man/manual $< conf/todod.conf >$@.new && mv $@.new $@
$(BUILD)/unit/%: tests/unit/%.c $(LIBRARY)
	@mkdir -p $(@D); echo "  CC $<"
	@$(CC) $(CFLAGS) $(LDFLAGS) -MMD -MP -o $@ $(filter %.c %.o,$^) $(LDLIBS) -lcmocka
# The fuzzers have a library of their own, the same whatever SANITIZE says.
FUZZ_CFLAGS = -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
           $(filter-out $(OPTIMIZE) -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fsanitize=%,$(CFLAGS))
build/fuzz/src/%.o: src/%.c Makefile
	@mkdir -p $(@D); echo "  CC $<"
	@clang $(FUZZ_CFLAGS) -MMD -MP -c -o $@ $<
build/fuzz/src/cache/lease.o: | $(SCRIPTS)
build/fuzz/libtodod.a: $(FUZZ_OBJECTS)
	@echo "  AR $@"
	@rm -f $@ && ar rc $@ $^
build/fuzz/llhttp/%.o: /usr/share/llhttp/%.c
	@mkdir -p $(@D); echo "  CC $<"
	@clang -O1 -g -w -fsanitize=fuzzer-no-link,address -DLLHTTP_STRICT_MODE=1 -I/usr/share/include/llhttp -c -o $@ $<
build/fuzz/fuzz_llhttp: $(LLHTTP)
build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c build/fuzz/libtodod.a Makefile
	@echo "  CC $<"
	@clang $(FUZZ_CFLAGS) -fsanitize=fuzzer -isystem /usr/share/include/llhttp -MMD -MP -o $@ $< $(filter %.o %.a,$^) $(LDLIBS)

-include $(OBJECTS:.o=.d) $(UNITS:=.d) $(FUZZ_OBJECTS:.o=.d) $(FUZZERS:=.d) $(BUILD)/man/manual.d
.PHONY: all man debug run test check unit fuzz soak bench lint fmt install uninstall deb clean help build-needs test-needs deb-needs
