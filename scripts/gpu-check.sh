#!/usr/bin/env bash
# Builds against the CUDA LibTorch of python3's torch and runs the reference vectors on the GPU, in fp32 and in bf16.
# Usage: scripts/gpu-check.sh [OUTPUT_DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-runs/gpu}
mkdir -p "$out"
torch_dir=$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path + "/Torch")')
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | tee "$out/gpu.txt"
cmake --preset cuda -DTorch_DIR="$torch_dir" -DLT2_BUILD_TESTS=OFF -DLT2_BUILD_BENCH=OFF -DLT2_NO_WERROR=ON -Wno-dev >/dev/null
cmake --build build/cuda -j "$(nproc)" --target lt2
build/cuda/lt2 check tests/data/vectors --device cuda | tee "$out/check.txt" | tail -n 1
build/cuda/lt2 check tests/data/vectors --device cuda --dtype bf16 | tee "$out/check_bf16.txt" | tail -n 1
