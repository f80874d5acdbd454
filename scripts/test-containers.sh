#!/usr/bin/env bash
# Build the images, run docker-compose.yml with two TorchServe nodes and put it to the test: some 15 minutes, as root.
#
# Nothing is installed: what is missing is named. Images and containers are kept apart from this machine's own, in
# CONTAINERS_HOME (var/containers; about 10 GB), so that a second run is quick; remove that folder to begin anew.
# LABEL_STUDIO_IMAGE and REDIS_IMAGE take official images in place of the stand-ins; TORCH_INDEX as in the Dockerfile.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
python=$(realpath -m -- "${LAYOUTLOOP_VENV:-$root/.venv}")/bin/python
export CONTAINERS_HOME=${CONTAINERS_HOME:-$root/var/containers}
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay} # vfs where the kernel has no overlay; it copies every image whole
export PODMAN_COMPOSE=${PODMAN_COMPOSE:-podman-compose}
PATH=$PATH:/usr/sbin:/sbin

fail() { printf 'test-containers: %s\n' "$*" >&2; exit 1; }

has_tools() {
  local command
  for command in buildah podman runc debootstrap iptables ip; do command -v "$command" >/dev/null || return 1; done
  [[ -x /usr/lib/podman/netavark && -x /usr/lib/podman/aardvark-dns ]]
}

has_tools || fail "tools are missing. Run this, then start again: apt-get install -y --no-install-recommends" \
  "buildah podman runc netavark aardvark-dns iptables iproute2 debootstrap"
command -v "$PODMAN_COMPOSE" >/dev/null || fail "podman-compose is missing. Run pip install podman-compose==1.6.0 in a" \
  "virtual environment and set PODMAN_COMPOSE to its podman-compose, then start again."
[[ -x $python ]] || fail "$python is missing: scripts/test.sh installs what the tests need."
((EUID == 0)) || fail "run it as root: the containers get a network of their own."

cd -- "$root"
exec "$python" -m pytest tests/containers/running_stack.py -x -s --timeout 3600 "$@"
