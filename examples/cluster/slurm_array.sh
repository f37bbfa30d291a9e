#!/usr/bin/env bash
# A job file shared by the tasks of a Slurm array, without Ray:  sbatch --array=1-16 examples/cluster/slurm_array.sh jobs.csv
# Each task does its part of the lines and writes results.I-of-N.jsonl beside the job file. Submit it again after a failure: what is done
# is left alone.
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=12:00:00
set -eu
project=${SWAP_PROJECT:-$PWD}  # Slurm runs a copy of this script, so it cannot know where it came from
jobs=$1
number=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN + 1))
python=$project/.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$project/inference.py" --jobs "$jobs" --shard "$number/$SLURM_ARRAY_TASK_COUNT" \
    --workers "${SLURM_CPUS_PER_TASK:-1}"
