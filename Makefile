# Every target first installs what it needs into .venv; see .ci/set_up.
SHELL := bash
PYTHON_IN_VENV := .venv/bin/python
ON_SLURM := tests/slurm tests/slurm_scripts

.DEFAULT_GOAL := help
.PHONY: help setup keras3 slurm demo test test-full test-slurm lint clean
.NOTPARALLEL:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s  %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## create the environment .venv: GDAL, TensorFlow, Horovod
	@bash .ci/set_up run

keras3: setup ## create the environment .venv-keras3, in which the tests run the models under Keras 3 with JAX
	@bash .ci/set_up_keras3

slurm: ## install SLURM for the tests, on Debian and Ubuntu, as root or by sudo
	@bash .ci/set_up_slurm

demo: setup ## the whole pipeline on a few real and a few hundred synthetic patches
	$(PYTHON_IN_VENV) -m experiments.demo

lint: ## ruff and mypy
	@bash .ci/set_up test
	$(PYTHON_IN_VENV) -m ruff format --check .
	$(PYTHON_IN_VENV) -m ruff check .
	$(PYTHON_IN_VENV) -m mypy

test: lint ## ruff, mypy, and every behavior once, on SLURM too if it is installed; at most 8 minutes on 2 cores
	$(PYTHON_IN_VENV) -m pytest -n 3 --dist worksteal

test-full: lint keras3 ## the same with every model, every damage and Keras 3; at most 35 minutes
	$(PYTHON_IN_VENV) -m pytest -n 3 --dist worksteal --full -m "not (slurm and full)"

test-slurm: slurm ## every test on a SLURM cluster that the tests start on this machine; at most 10 minutes
	@bash .ci/set_up test
	$(PYTHON_IN_VENV) -m pytest -n 3 --dist worksteal --full $(ON_SLURM)

clean: ## remove the environments and the caches; the output of runs stays
	rm -rf .venv .venv-keras3 build *.egg-info .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
