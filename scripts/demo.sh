#!/usr/bin/env bash
# The whole loop on this machine, with a real Label Studio and generated invoices (or --pages DIR). Ctrl-C stops it all.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=setup.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

# Relative folders are meant from where the command was typed.
arguments=()
while (($#)); do
  case $1 in
    --pages | --home)
      arguments+=("$1")
      if (($# > 1)); then arguments+=("$(realpath -m -- "$2")"); shift; fi
      ;;
    --pages=?* | --home=?*) arguments+=("${1%%=*}=$(realpath -m -- "${1#*=}")") ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
setup demo
cd -- "$root"
exec "$python" -m demo.run ${arguments[@]+"${arguments[@]}"}  # bash before 4.4 takes an empty list for an unset one
