#!/usr/bin/env bash
# Makes sure that a Chromium is there for tests/browser. Root installs Debian's package; anybody else is told loudly.
set -euo pipefail
command -v chromium >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing Chromium for the browser tests …"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null
  command -v chromium >/dev/null 2>&1 && exit 0
fi
echo "!! no Chromium: the browser tests will be SKIPPED. Install it with: apt-get install chromium" >&2
[ "${CI:-}" != true ]
