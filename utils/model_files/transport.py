"""One HTTP reply: opened with timeouts, over http and https only, never redirected from https to http, read piece by piece.

Standard library. Proxies come from the environment as usual (HTTPS_PROXY, NO_PROXY).
"""

from __future__ import annotations

import contextlib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from functools import lru_cache
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO
from urllib.parse import urlsplit

USER_AGENT = "ghost-face-swap"
PIECE_BYTES = 2**16
LEAST_BYTES_PER_TIMEOUT = 1024  # less than this within the timeout is as good as silence
LONGEST_RETRY_AFTER_S = 60.0
TEMPORARY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class TransferError(Exception):
    """A transfer that did not come about; one line without a remedy.

    Attributes:
        retriable: whether another attempt may end better.
        unreachable: whether there was no connection at all.
        status: of the reply; 0 if there was none.
        retry_after_s: how long the server asks to wait.
    """

    def __init__(
        self,
        reason: str,
        *,
        retriable: bool = False,
        unreachable: bool = False,
        status: int = 0,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(" ".join(reason.split()))
        self.retriable = retriable
        self.unreachable = unreachable
        self.status = status
        self.retry_after_s = retry_after_s


def open_url(url: str, headers: Mapping[str, str], timeout_s: float) -> HTTPResponse:
    """Ask for a URL; the caller closes the reply.

    Args:
        url: http or https.
        headers: beyond the usual ones.
        timeout_s: for connecting, and for every silence afterwards.

    Returns:
        A reply of status 2xx whose body is neither compressed nor a web page.

    Raises:
        TransferError: if there is none.
    """
    host = urlsplit(url).hostname or url
    all_headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
    try:
        reply: HTTPResponse = _opener().open(urllib.request.Request(url, headers=all_headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, host) from error
    except urllib.error.URLError as error:
        raise _no_connection(error.reason, host) from error
    except TimeoutError as error:
        raise TransferError(f"{host} is silent for {timeout_s:g} s", retriable=True) from error
    except (OSError, HTTPException) as error:
        raise TransferError(f"{host} breaks off ({_in_words(error)})", retriable=True) from error
    except ValueError as error:
        raise TransferError(f"{url!r} is no address ({error})") from error
    unwanted = _unwanted_kind(reply)
    if unwanted:
        reply.close()
        raise TransferError(f"{host} sends {unwanted}")
    return reply


def pieces_of(reply: HTTPResponse, timeout_s: float) -> Iterator[bytes]:
    """The body, as it arrives.

    Raises:
        TransferError: if the connection breaks, or less than a kilobyte arrives within `timeout_s`.
    """
    host = urlsplit(reply.geturl()).hostname
    began, arrived = time.monotonic(), 0
    while True:
        try:
            piece = reply.read1(PIECE_BYTES)
        except TimeoutError as error:
            raise TransferError(f"{host} is silent for {timeout_s:g} s", retriable=True) from error
        except (OSError, HTTPException) as error:
            raise TransferError(f"{host} breaks off ({_in_words(error)})", retriable=True) from error
        if not piece:
            return
        yield piece
        arrived += len(piece)
        if time.monotonic() - began > timeout_s:
            if arrived < LEAST_BYTES_PER_TIMEOUT:
                raise TransferError(f"{host} sends only {arrived} bytes in {timeout_s:g} s", retriable=True)
            began, arrived = time.monotonic(), 0


def mirrored(url: str, mirror: str | None) -> str:
    """The address with its scheme and host replaced by `mirror`; unchanged without one.

    >>> mirrored("https://github.com/a/b.pth", "http://127.0.0.1:8000/mirror/")
    'http://127.0.0.1:8000/mirror/a/b.pth'
    """
    return url if mirror is None else mirror.rstrip("/") + urlsplit(url).path


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    # To other schemes than http and https no redirect leads: urllib refuses most, and the opener knows no others.
    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise TransferError(f"{req.host} redirects from https to http, which is refused", status=code)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """What opens http and https and nothing else; urllib's own would also read files and FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=_tls()),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
        _SafeRedirects(),
    ):
        opener.add_handler(handler)
    return opener


@lru_cache  # reading the certificates takes a tenth of a second
def _tls() -> ssl.SSLContext:
    """The system's certificates, and certifi's where that is installed: some Pythons come without access to the former."""
    context = ssl.create_default_context()
    with contextlib.suppress(ImportError, OSError):
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _refusal(error: urllib.error.HTTPError, host: str) -> TransferError:
    text = (error.headers.get("Retry-After") or "").strip()
    seconds = min(float(text), LONGEST_RETRY_AFTER_S) if text.isascii() and text.isdigit() else 0.0
    return TransferError(
        f"{host} answers {error.code} {str(error.reason)[:100]}",
        retriable=error.code in TEMPORARY_STATUSES,
        status=error.code,
        retry_after_s=seconds,
    )


def _no_connection(reason: object, host: str) -> TransferError:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return TransferError(f"the certificate of {host} is not trusted ({reason.verify_message})")
    if isinstance(reason, OSError):
        return TransferError(f"cannot reach {host} ({_in_words(reason)})", retriable=True, unreachable=True)
    return TransferError(f"cannot open {host} ({reason})")


def _in_words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _unwanted_kind(reply: HTTPResponse) -> str | None:
    """A portal that answers everything with a page, or a server that compresses unasked."""
    if reply.headers.get_content_type() == "text/html":
        return "a web page instead of the file"
    encoding = reply.headers.get("Content-Encoding", "identity")
    return None if encoding == "identity" else f"the file in the encoding {encoding[:20]!r}"
