#!/usr/bin/env bash
# Put one face into every photo of a folder:  examples/swap_folder.sh SOURCE_PHOTO FOLDER OUT_FOLDER
# Results keep the names of their photos. A photo that fails is reported and skipped; the script ends with the exit code of the last
# failure, 0 if there was none.
set -u
if [ "$#" -ne 3 ] || [ ! -d "$2" ]; then
    echo "usage: $0 SOURCE_PHOTO FOLDER OUT_FOLDER" >&2
    exit 2
fi
source_photo=$1 folder=$2 out_folder=$3
if [ "$folder" -ef "$out_folder" ]; then
    echo "error: results would replace the photos in '$folder'; choose another folder for them" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")/.." && pwd)
python=$here/.venv/bin/python
[ -x "$python" ] || python=python3
status=0 found=0
shopt -s nullglob nocaseglob
for photo in "$folder"/*.jpg "$folder"/*.jpeg "$folder"/*.png "$folder"/*.webp "$folder"/*.tif "$folder"/*.tiff; do
    found=1
    "$python" "$here/inference.py" --quiet --image_to_image=True --source_paths="$source_photo" \
        --target_image="$photo" --out_image_name="$out_folder/$(basename "$photo")"
    code=$?
    if [ "$code" -eq 130 ]; then
        exit 130
    elif [ "$code" -ne 0 ]; then
        status=$code
    fi
done
if [ "$found" -eq 0 ]; then
    echo "error: '$folder' holds no .jpg, .jpeg, .png, .webp, .tif or .tiff file" >&2
    exit 3
fi
exit "$status"
