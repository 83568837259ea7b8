#!/usr/bin/env bash
# Join the parts beside this script, check them, and install what is in them without network:
#
#   PYTHON=python3.12 bash unpack.sh FOLDER
#
# FOLDER then has site/ (the packages) and notus-exp/ (the checkout); the last line printed is what to export.
set -eu
from=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -eq 1 ] || { echo "usage: unpack.sh FOLDER" >&2; exit 2; }
python=${PYTHON:-python}
(cd "$from" && sha256sum --check --quiet SHA256SUMS) || { echo "error: a part is damaged or missing: copy it again" >&2; exit 1; }
mkdir -p "$1"
into=$(cd "$1" && pwd)
rm -rf "$into/pack" && mkdir "$into/pack"
cat "$from"/part-* | tar -x -f - -C "$into/pack"
tar -x -z -f "$into/pack/notus-exp.tar.gz" -C "$into"
rm -rf "$into/site"
"$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --find-links "$into/pack/wheels" \
  --target "$into/site" "$into/pack/wheels"/*.whl
rm -rf "$into/pack"
PYTHONPATH="$into/notus-exp:$into/site" "$python" "$into/notus-exp/benchmarks/gpu/bounds.py"
printf "export PYTHONPATH=%q\n" "$into/notus-exp:$into/site"
