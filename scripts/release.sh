#!/usr/bin/env bash
# Build wheel and sdist into dist/, check them, and use the wheel in an environment that has nothing else, away from here.
#
#   bash scripts/release.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

environment 'ibsuite[release]'
unset "${!WANDB_@}" PYTHONPATH
export WANDB_MODE=offline OMP_NUM_THREADS=1
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT

rm -rf dist
"$python" -m build --outdir dist >"$away/build.log" 2>&1 || fail "the build failed: $(<"$away/build.log")" # the wheel from the sdist
"$python" -m twine check --strict dist/*
"$python" scripts/check_distributions.py dist

echo "installing the wheel into a fresh environment"
cp dist/*.whl "$away"
cd "$away"
"$python" -m venv env
"$python" -m uv pip install --quiet --python env/bin/python ./*.whl \
    || env/bin/python -m pip install --quiet ./*.whl
env/bin/python -m pip check

echo "a short run, its report and its message, in $away"
env/bin/ibsuite --version
env/bin/ibsuite fit --data.num_labels=256 --code.min_steps=20 --code.max_steps=20 --trainer.enable_progress_bar=false
env/bin/ibsuite report runs/* --figure figure.png
env/bin/ibsuite decode runs/*/*
echo "dist/ holds what can be published"
