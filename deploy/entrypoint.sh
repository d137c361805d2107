#!/bin/sh
# Triton looks for its launcher in the folder that it also writes to, so what the image brings is laid there first.
set -eu
if [ -d /opt/triton ]; then
  mkdir -p "$TRITON_CACHE_DIR"
  cp -rn /opt/triton/. "$TRITON_CACHE_DIR"
fi
exec "$@"
