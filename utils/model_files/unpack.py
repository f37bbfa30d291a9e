"""One member out of a zip archive, to a path of our choice.

No name from an archive ever becomes a path, so that it cannot write anywhere else; members with names that would try to are passed over.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

PIECE_BYTES = 2**20

_ENCRYPTED = 0x1


class BadArchive(Exception):
    """An archive without the wanted member, or a damaged one; one line without a remedy."""


def unpack_member(archive: Path, file_name: str, size: int, out: Path) -> None:
    """Write one member to `out`.

    Args:
        archive: a zip archive.
        file_name: last component of the member's name; the folder in the archive does not matter.
        size: of the member, in bytes; never more is written.
        out: is overwritten.

    Raises:
        BadArchive: if there is no such regular member, or it cannot be unpacked.
        OSError: if `out` cannot be written, or the archive not read.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            entry = next((entry for entry in content.infolist() if _is_wanted(entry, file_name, size)), None)
            if entry is None:
                raise BadArchive(f"{archive.name} has no regular member {file_name} of {size} bytes")
            with content.open(entry) as member, out.open("wb") as stream:
                shutil.copyfileobj(member, stream, PIECE_BYTES)  # zipfile stops at the size in the entry
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadArchive(f"{archive.name} is damaged ({error})") from error


def _is_wanted(entry: zipfile.ZipInfo, file_name: str, size: int) -> bool:
    # `orig_filename` is what the archive says, before zipfile replaces separators and cuts the name at a null.
    path = PurePosixPath(entry.orig_filename)
    plain = not path.is_absolute() and ".." not in path.parts and not set("\\:\0") & set(entry.orig_filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the archive was written on Windows
    regular = kind in (0, stat.S_IFREG) and not entry.is_dir() and not entry.flag_bits & _ENCRYPTED
    return plain and regular and path.name == file_name and entry.file_size == size
