.PHONY: setup test check docs picture bundle

setup:
	python3 -m venv .venv
	.venv/bin/pip install -q -c constraints.txt -e '.[train,recognition,plot,web,docs,dev]' -e packages/unmingle-classics

test: setup
	.venv/bin/python -m pytest

check: setup
	.venv/bin/ruff check
	.venv/bin/mypy

# What is there already is taken as it is, whoever installed it.
docs:
	[ -x .venv/bin/python ] || python3 -m venv .venv
	.venv/bin/python -c 'import material, mdx_truly_sane_lists, mkdocs, mkdocstrings_handlers.python, unmingle, starlette, matplotlib' 2>/dev/null \
	  || .venv/bin/pip install -q -c constraints.txt -e '.[docs]'
	.venv/bin/python -m mkdocs build --strict

picture: setup
	.venv/bin/unmingle separate examples/conversation.flac --plot --overwrite
	cp separated/conversation/timeline.png docs/conversation.png
	UNMINGLE_PICTURES=docs/pictures .venv/bin/python -m pytest tests/test_page.py -k one_click

# For ../shared/accelerator: what a training needs there, from the trunk on, and pydantic, which that machine may lack.
bundle: setup
	../shared/accelerator/pack.sh trunks/duet.safetensors
	.venv/bin/pip download -q --no-deps --only-binary=:all: --python-version 312 --platform manylinux_2_17_x86_64 \
	  --platform manylinux2014_x86_64 -d .bundle/1/wheels -c constraints.txt pydantic pydantic-core annotated-types typing-inspection typing-extensions
