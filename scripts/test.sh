#!/usr/bin/env bash
# Check the import contracts, then run the tests, on as many cores as there are up to eight.
#
#   bash scripts/test.sh                  everything but the slow tests
#   bash scripts/test.sh -m slow          the slow ones; any option of pytest
#   bash scripts/test.sh -n0 tests/codes  in this process: best for a few tests, and for --pdb
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

environment 'ibsuite[test]'
unset "${!WANDB_@}" # the user's own settings of W&B are none of the tests' business
export WANDB_MODE=offline OMP_NUM_THREADS=1
"$venv/bin/lint-imports" --no-logo
exec "$python" -m pytest --numprocesses=auto --maxprocesses=8 --dist=worksteal "$@"
