#!/usr/bin/env bash
# Pack what a GPU machine without network lacks that has torch and transformers, in parts of at most 60 MB:
#
#   bash benchmarks/gpu/pack.sh FOLDER --python 3.12           # copy FOLDER over, then there: bash FOLDER/unpack.sh SOMEWHERE
#   bash benchmarks/gpu/pack.sh FOLDER --rehearse              # for this Python; unpacks it beside a bare environment and tries it
#
# More arguments go to packing.py (--present NAME ...: what the machine has besides). PYTHON names the interpreter of an
# environment in which the project is installed (python).
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python}
[ $# -ge 1 ] && [ "${1#-}" = "$1" ] || { echo "usage: pack.sh FOLDER [--python 3.12] [--rehearse]" >&2; exit 2; }
folder=$1
shift
rehearse=
more=()
for word in "$@"; do
  if [ "$word" = "--rehearse" ]; then rehearse=yes; else more+=("$word"); fi
done
if [ -z "$rehearse" ]; then
  exec "$python" "$here/packing.py" "$folder" "${more[@]}"
fi
version=$("$python" -c 'import sys; print(f"{sys.version_info.major}.{sys.version_info.minor}")')
"$python" "$here/packing.py" "$folder" --python "$version" "${more[@]}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" "$here/bare_venv.py" "$scratch/venv"
bare="$scratch/venv/bin/python"
unset PYTHONPATH
if "$bare" -c 'import polars' 2> /dev/null; then echo "error: the bare environment sees more than torch and transformers" >&2; exit 1; fi
"$bare" -c 'import torch, transformers; print("bare: torch", torch.__version__, "transformers", transformers.__version__)'
PYTHON="$bare" bash "$folder/unpack.sh" "$scratch/machine"
export PYTHONPATH="$scratch/machine/notus-exp:$scratch/machine/site"
cd "$scratch/machine"
"$bare" -m notus_exp experiment=smoke tracking=none hardware=cpu until=reference output_dir="$scratch/outputs"
"$bare" -m notus_exp model=smollm2_135m hardware=cpu until=config output_dir="$scratch/outputs" > /dev/null
echo "rehearsed: packed, unpacked without network, imported and run"
