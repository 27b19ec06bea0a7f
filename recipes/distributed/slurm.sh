#!/bin/bash
# Pretraining on several machines under Slurm: one torchrun on each, which starts a process for each GPU.
#   sbatch slurm.sh --data corpus --family llama --size 1-7b --steps 20000 --name base
#SBATCH --job-name=llmkit
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120   # two minutes before the end: time to write a checkpoint
#SBATCH --requeue           # the same command then goes on from it
#SBATCH --open-mode=append
set -euo pipefail

# A folder that all machines see under this path: the registry, and with it tokens, checkpoints and results.
export LLMKIT_HOME="${LLMKIT_HOME:-$SLURM_SUBMIT_DIR/.llmkit}"
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / 8))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# For a model in shards, accelerate's variables go through torchrun to llmkit:
# export ACCELERATE_USE_FSDP=true FSDP_VERSION=2 FSDP_AUTO_WRAP_POLICY=TRANSFORMER_BASED_WRAP

exec srun --kill-on-bad-exit=1 torchrun \
  --nnodes="$SLURM_NNODES" --nproc_per_node=8 \
  --rdzv_backend=c10d --rdzv_endpoint="$head:29500" --rdzv_id="$SLURM_JOB_ID" \
  -m llmkit pretrain "$@"
