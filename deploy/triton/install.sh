#!/usr/bin/env bash
# Builds Triton's own environment: install.sh FOLDER. It needs a Python 3.11 or 3.12 with a shared libpython; the
# project's own is tried first, then any on this machine, then one that uv fetches.
set -euo pipefail

folder=$1
uv=${UV:-uv}
here=$(dirname "$0")
project_python=$here/../../.venv/bin/python

check() {
  "$project_python" -c '
import sys
from pathlib import Path
from local_stack.triton import Runtime
from tradewind.errors import StartupError
try:
    Runtime.find(Path(sys.argv[1]))
except StartupError as error:
    sys.exit(str(error))' "$folder"
}

build() {
  "$uv" venv --quiet --clear "$@" "$folder" &&
    "$uv" pip sync --quiet --python "$folder/bin/python" --require-hashes "$here/requirements.txt" &&
    check
}

if "$project_python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))'; then
  first=$project_python
else
  first='>=3.11,<3.13'
fi
# Why the first choice failed is what the user can act on, so that is what is said in the end.
reason=$(build --python "$first" 2>&1 >/dev/null) && exit 0
build --managed-python --python 3.12 >/dev/null 2>&1 && exit 0
echo "$reason" >&2
exit 1
