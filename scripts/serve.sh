#!/usr/bin/env bash
# Serve LayoutLoop on this machine: sets up all it needs, then stays in the foreground until Ctrl-C.
# The settings come from the environment; docs/settings.md lists them.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

# Relative folders are meant from where the command was typed. A model store may also lie at a URL.
for name in LAYOUTLOOP_HOME MODEL_DIR; do
  if [[ -n ${!name:-} && ${!name} != *://* ]]; then export "$name=$(realpath -m -- "${!name}")"; fi
done
setup serve
cd -- "$root"
exec "$python" -m scripts.serve "$@"
