#!/usr/bin/env bash
# What the framework does on a machine with a CUDA device: one command, one page.
#
#   bash benchmarks/gpu/accept.sh                      # hours; writes docs/results/gpu-DEVICE.md
#   bash benchmarks/gpu/accept.sh --rehearse FOLDER    # on the CPU, tiny, minutes; writes FOLDER/gpu-rehearsal.md
#
# PYTHON names the interpreter (python), WORK the folder for runs and logs (a temporary one), ONLY some measurements:
#   ONLY="smollm2 seven_b" WORK=/scratch/accept bash benchmarks/gpu/accept.sh
# Every measurement is a process of its own; one that fails is a row, and the next begins. Given again with the same WORK,
# what was measured at this commit on this device is not measured anew.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python}
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
rehearse=()
pages="$root/docs/results"
if [ "${1:-}" = "--rehearse" ]; then
  [ -n "${2:-}" ] || { echo "usage: accept.sh [--rehearse FOLDER]" >&2; exit 2; }
  rehearse=(--rehearse)
  mkdir -p "$2" && pages=$(cd "$2" && pwd)
  export CUDA_VISIBLE_DEVICES=
elif [ $# -gt 0 ]; then
  echo "usage: accept.sh [--rehearse FOLDER]" >&2; exit 2
fi
if ! command -v "$python" > /dev/null || ! "$python" -c 'import torch' 2> /dev/null; then
  echo "error: $python cannot import torch; PYTHON=.venv/bin/python bash benchmarks/gpu/accept.sh names another" >&2
  exit 2
fi
if [ ${#rehearse[@]} -eq 0 ] && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "error: PyTorch sees no CUDA device; bash benchmarks/gpu/accept.sh --rehearse FOLDER tries all of it on the CPU" >&2
  exit 2
fi
commit=$(git -C "$root" describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
device=$("$python" -c 'import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")') || exit 2
# Measurements of another commit or device, and of a rehearsal, are no part of this page.
work="${WORK:-$(mktemp -d)}/$commit-${device// /_}${rehearse[*]}"
mkdir -p "$work"
names=(gpu_tests smollm2 seven_b answers small_study)
devices=$("$python" -c 'import torch; print(torch.cuda.device_count())')
[ "$devices" -ge 2 ] && names+=(two_devices)
[ -n "${ONLY:-}" ] && read -r -a names <<< "$ONLY"
failed=0
for name in "${names[@]}"; do
  if [ -f "$work/$name.json" ]; then
    echo "$name: measured before, in $work"
    continue
  fi
  echo "$name: $(date +%H:%M:%S), log $work/$name.log"
  "$python" "$here/$name.py" "$work" "${rehearse[@]}" > "$work/$name.log" 2>&1 || { echo "$name: failed"; failed=1; }
done
"$python" "$here/report.py" "$work" "$pages" "${rehearse[@]}" "${names[@]}" || failed=1
exit $failed
