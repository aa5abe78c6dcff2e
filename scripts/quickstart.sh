#!/usr/bin/env bash
# Install into .venv and measure how many bits the labels of 1,797 handwritten digits cost.
#
#   bash scripts/quickstart.sh                            the default run: no download, no account, no GPU
#   bash scripts/quickstart.sh --code.start=warm          any option of `python -m ibsuite.fit`
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

environment ibsuite
echo "running .venv/bin/python -m ibsuite.fit --overwrite $*"
exec "$python" -m ibsuite.fit --overwrite "$@"
