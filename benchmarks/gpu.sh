#!/usr/bin/env bash
# Pretraining on one CUDA GPU, in under 8 minutes: GPT-2 124M's tokens/s, MFU and loss, and nanoGPT's Shakespeare recipe
# for a GPU through llmkit. Prints a table in Markdown.
#
#     benchmarks/gpu.sh [--nanogpt FOLDER] [--text input.txt] [--batch 32]
#     benchmarks/gpu.sh --smoke          everything at toy size on a CPU: shows that it runs, measures nothing
#
# The goals are 50% MFU against the card's dense bf16 peak, 600,000 tokens/s on an H200, and a Shakespeare loss of 1.4697
# or lower. NONE OF THEM HAS BEEN MEASURED: there was no GPU where this was written. Until somebody runs it, they are goals.
set -euo pipefail
cd "$(dirname "$0")/.."
exec timeout --signal=INT 480 "${PYTHON:-python}" benchmarks/gpu.py "$@"
