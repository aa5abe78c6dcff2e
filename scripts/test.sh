#!/usr/bin/env bash
# Check the import contracts, then run the tests.
#
#   bash scripts/test.sh                  everything but the slow tests
#   bash scripts/test.sh -m slow          the slow ones; any option of pytest
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

environment 'ibsuite[test]'
unset "${!WANDB_@}" # the user's own settings of W&B are none of the tests' business
export WANDB_MODE=offline
"$venv/bin/lint-imports" --no-logo
exec "$python" -m pytest "$@"
