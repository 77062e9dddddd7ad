#!/usr/bin/env bash
# What one call on a machine with a GPU executes: it installs the wheels that the machine lacks, then measures.
#
#   tools/gpu_proof.sh download            before, on a machine that reaches PyPI: fills the folder wheels-gpu/
#   tools/gpu_proof.sh OUT SECONDS [PART ...]
#
# The machine needs Python 3.12 with torch, transformers, accelerate, peft, pyarrow and pandas, and no network. All
# parts end within SECONDS; what does not fit is not started, and a second call names it. OUT then holds one small JSON
# file for each part, eight without the optional ones. PYTHON names another interpreter than python3; the words in
# PROOF are passed on to gpu_proof.py: PROOF=--rehearse tries all of this without a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
wheels=wheels-gpu
packages="trl datasets dill multiprocess pydantic pydantic_core annotated-types typing-inspection"

if [ "${1:-}" = download ]; then
  pins=$(for name in $packages; do grep -i "^$name==" constraints.txt || { echo "$name has no pin" >&2; exit 1; }; done)
  rm -rf "$wheels"
  # shellcheck disable=SC2086  # one word for each package
  exec "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --dest "$wheels" $pins
fi

out=${1:?usage: tools/gpu_proof.sh OUT SECONDS [PART ...]}
seconds=${2:?usage: tools/gpu_proof.sh OUT SECONDS [PART ...]}
shift 2
began=$SECONDS
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
"$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl
export PYTHONPATH="$site:$PWD/src" PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
export MIRG_COMMIT=${MIRG_COMMIT:-$(git rev-parse HEAD 2>/dev/null || true)}
part=()
[ $# -eq 0 ] || part=(--part "$@")
# shellcheck disable=SC2086  # PROOF holds words
"$python" tools/gpu_proof.py "$out" --seconds $((seconds - (SECONDS - began))) "${part[@]}" ${PROOF:-}
