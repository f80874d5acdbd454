#!/bin/sh
# Make .env for docker-compose.yml: a copy of .env.example with fresh secrets, readable by its owner alone.
set -eu

cd -- "$(dirname -- "$0")/../.."
if [ -e .env ]; then
  echo "new-env: .env is there already; remove it first, if its passwords are not in use" >&2
  exit 1
fi

secret() { od -An -N20 -tx1 /dev/urandom | tr -d ' \n'; }

umask 077
sed \
  -e "s/^LABEL_STUDIO_PASSWORD=\$/&$(secret)/" \
  -e "s/^LABEL_STUDIO_USER_TOKEN=\$/&$(secret)/" \
  -e "s/^BASIC_AUTH_PASS=\$/&$(secret)/" \
  -e "s/^REDIS_PASSWORD=\$/&$(secret)/" \
  .env.example >.env
echo "new-env: .env is made; sign in to Label Studio as admin@example.com with its LABEL_STUDIO_PASSWORD" >&2
