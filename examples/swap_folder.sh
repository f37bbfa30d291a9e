#!/usr/bin/env bash
# Put one face into every photo of a folder:  examples/swap_folder.sh SOURCE_PHOTO FOLDER OUT_FOLDER [more flags]
# Results keep the names of their photos. A photo that fails is reported and the others are done (exit code 10); the same command again does
# what is missing. What became of each photo is in OUT_FOLDER/results.jsonl.
set -eu
if [ "$#" -lt 3 ] || [ ! -d "$2" ]; then
    echo "usage: $0 SOURCE_PHOTO FOLDER OUT_FOLDER [more flags]" >&2
    exit 2
fi
source_photo=$1 folder=$2 out_folder=$3
shift 3
here=$(cd "$(dirname "$0")/.." && pwd)
python=$here/.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$here/inference.py" --source_paths="$source_photo" --target_image="$folder" --out_dir="$out_folder" \
    --out_pattern='{target}' "$@"
