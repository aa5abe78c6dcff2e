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
fresh=$PWD/build/fresh # beside .venv, so that the files of 6 GB can be shared
trap 'rm -rf "$away" "$fresh"' EXIT

rm -rf dist "$fresh"
"$python" -m build --outdir dist >"$away/build.log" 2>&1 || fail "the build failed: $(<"$away/build.log")" # the wheel from the sdist
"$python" -m twine check --strict dist/*
"$python" scripts/check_distributions.py dist

echo "installing the wheel into a fresh environment"
"$python" -m venv "$fresh"
"$python" -m uv pip install --quiet --python "$fresh/bin/python" dist/*.whl \
    || "$fresh/bin/python" -m pip install --quiet dist/*.whl
"$fresh/bin/python" -m pip check

echo "a short run, its report and its message, in $away"
cd "$away"
ibsuite=$fresh/bin/ibsuite
"$ibsuite" --version
"$ibsuite" fit --data.num_labels=256 --code.min_steps=20 --code.max_steps=20 --trainer.enable_progress_bar=false
"$ibsuite" report runs/* --figure figure.png
"$ibsuite" decode runs/*/*
echo "dist/ holds what can be published"
