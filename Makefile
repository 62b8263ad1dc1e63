# Everything here makes its own virtual environment first; nothing has to be installed by hand.
PYTHON ?= python3
SHARED ?= ../shared
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help demo test torture lint docs bench model clean

help:
	@echo 'make demo   drive through a small town twice, find the second drive on a map of the first'
	@echo 'make test   run the tests'
	@echo 'make torture  hurt node and maps: hostile messages, endurance, map swaps, kills; minutes'
	@echo 'make lint   ruff and mypy'
	@echo 'make docs   write docs/parameters.md and config/localise.yaml again, from the code'
	@echo 'make bench  time training, mining, building maps, answering, and the node over DDS, beside the usual way'
	@echo 'make model  make the default model again, from the photographs in SHARED and another town'
	@echo 'make clean  remove the environment and what the demo wrote'

$(READY): requirements.txt setup.py setup.cfg pyproject.toml package.xml
	@$(PYTHON) -c 'import sys; (3, 10) <= sys.version_info < (3, 14) or \
	  sys.exit("error: Python %d.%d: expected 3.10 to 3.13: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@echo 'making $(VENV): some minutes and 6 GB, once'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)
	@$(BIN)/python -m demo.drive

# two at a time: half of them wait, for processes and for messages
test: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

TORTURE ?= --seed 0 --scale 1
torture: $(READY)
	@$(BIN)/python -m pip install --quiet --requirement requirements-torture.txt || \
	  echo 'cyclonedds is not to be had for this Python: what needs it is left out'
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest test/torture -v --durations=0 --durations-min=1 $(TORTURE)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	@$(BIN)/python -m vpr_ros.nodes.interface_page

BENCH ?= --trunk alexnet --height 120 --width 160 --images 48
bench: $(READY)
	@mkdir -p bench
	@$(BIN)/python training/bench_training.py $(BENCH) --json bench/training.json
	@$(BIN)/python training/bench_mining.py --height 64 --width 64 --json bench/mining.json
	@$(BIN)/python training/bench_build.py --trunk alexnet --dimension 256 --images 256 --json bench/build.json
	@$(BIN)/python -m vpr_ros.bench_localise --json bench/localise.json
	@$(BIN)/python -m vpr_ros.bench_node --seconds 20 --json bench/node.json

OTHER_TOWN := demo/out/other-town
model: $(READY)
	$(BIN)/python -m demo.render --out $(OTHER_TOWN) --seed 7
	$(BIN)/python training/make_default_model.py --fix-topic /gps/fix \
	  --trunk-weights $(SHARED)/weights/alexnet-imagenet-features.safetensors \
	  --data '[$(SHARED)/data/corridor,$(SHARED)/data/robot-loop,$(SHARED)/data/street,$(OTHER_TOWN)/first,$(OTHER_TOWN)/second]'

clean:
	rm -rf $(VENV) demo/out bench
