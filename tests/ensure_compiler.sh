#!/usr/bin/env bash
# Makes sure that a C++ compiler is there for the tests of the CUDA kernels. Root installs Debian's package.
set -euo pipefail
command -v g++ >/dev/null 2>&1 || command -v clang++ >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing a C++ compiler for the tests of the CUDA kernels …"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq g++ >/dev/null
  command -v g++ >/dev/null 2>&1 && exit 0
fi
echo "!! no C++ compiler: the tests of the CUDA kernels will be SKIPPED. Install it with: apt-get install g++" >&2
[ "${CI:-}" != true ]
