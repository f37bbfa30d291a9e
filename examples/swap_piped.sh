#!/usr/bin/env bash
# A photo through a pipe, nothing on the disk:  curl -s ... | examples/swap_piped.sh SOURCE_PHOTO > result.png
set -eu
if [ "$#" -ne 1 ]; then
    echo "usage: $0 SOURCE_PHOTO < photo > result.png" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")/.." && pwd)
python=$here/.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$here/inference.py" --quiet --source_paths="$1" --target_image=- --out_image_name=-
