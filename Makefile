.PHONY: setup test check picture

setup:
	python3 -m venv .venv
	.venv/bin/pip install -q -c constraints.txt -e '.[train,plot,web,dev]' -e packages/unmingle-classics

test: setup
	.venv/bin/python -m pytest

check: setup
	.venv/bin/ruff check
	.venv/bin/mypy

picture: setup
	.venv/bin/unmingle separate examples/two-voices.flac --plot --overwrite
	cp separated/two-voices/spectrogram.png docs/two-voices.png
	UNMINGLE_PICTURES=docs/pictures .venv/bin/python -m pytest tests/test_page.py -k one_click
