#!/usr/bin/env bash
# A batch whose results another program takes as they are made:  examples/swap_watched.sh JOBS.csv
# Every finished output is one JSON line on stdout; here it becomes "seconds, faces, file".
set -eu -o pipefail
if [ "$#" -ne 1 ]; then
    echo "usage: $0 JOBS.csv|JOBS.jsonl" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")/.." && pwd)
python=$here/.venv/bin/python
[ -x "$python" ] || python=python3
"$python" "$here/inference.py" --quiet --json --jobs "$1" |
    "$python" -c 'import json, sys
for line in sys.stdin:
    done = json.loads(line)
    print("{seconds:.2f} s, {faces} faces, {output}".format(**done), flush=True)'
