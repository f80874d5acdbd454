#!/usr/bin/env bash
# Set up all that the tests need, then run every check and every test. Fails if any of them did; pytest's summary comes last.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

setup test
cd -- "$root"
failed=()

check() {
  printf '\n== %s\n' "$*"
  "$@" || failed+=("$*")
}

PATH=$venv/bin:$PATH
check ruff check .
check ruff format --check .
check mypy
check lint-imports
check python -m pytest -n 2 -m 'not end_to_end'
if ((${#failed[@]} > 0)); then printf '\n== failed so far: %s\n' "${failed[*]}"; fi
# Three at a time, file by file, each with servers of its own: they wait much of their time.
check python -m pytest -n 3 --dist loadfile -m end_to_end --durations 15
((${#failed[@]} == 0))
