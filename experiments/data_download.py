"""Files fetched from the web so that nothing half-written is left, and how far we are."""

import contextlib
import http.client
import os
import sys
import tempfile
import urllib.request
from pathlib import Path

from .data_formats import REPAIR, DataError


@contextlib.contextmanager
def atomic(path):
    """A temporary path beside `path`: moved there when the block ends well, removed when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        yield Path(temporary)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def download(addresses, path, check, progress=True):
    """Fetch `path` from the first of `addresses` to send a file that passes `check(file)`, else a DataError.

    Until the file is complete and checked, `path` does not exist. Raises DataError with a line per address
    that says why it failed.
    """
    failures = []
    for address in addresses:
        try:
            with atomic(path) as temporary:
                with urllib.request.urlopen(address, timeout=30) as response, open(temporary, "wb") as file:
                    total = int(response.headers.get("Content-Length") or 0)
                    chunks = iter(lambda response=response: response.read(1 << 16), b"")
                    for chunk in track(chunks, f"downloading {address}", progress, total, size=len):
                        _write(file, chunk, path)
                    if total and file.tell() != total:
                        raise DataError(f"the connection closed after {file.tell()} of {total} bytes")
                check(temporary)
            return
        except (OSError, http.client.HTTPException, DataError) as error:
            reason = str(error).replace(REPAIR, "").strip() or type(error).__name__
            failures.append(f"  {address}: {reason}")
    raise DataError("\n".join(failures))


def _write(file, chunk, path):
    """Write and flush; a full disk is told apart from a bad connection."""
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror})") from error


def track(items, text, progress=True, total=None, size=None):
    """Yield `items` and show how far we are, on standard error: a bar on a terminal, else a line per quarter.

    `size(item)` is what an item counts towards `total`, in bytes; without it items count one each.
    """
    total = len(items) if total is None else total
    if progress and sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total or None, desc=text, unit="B" if size else "", unit_scale=bool(size)) as bar:
            for item in items:
                yield item
                bar.update(size(item) if size else 1)
        return

    done, quarter = 0, 0
    if progress:
        print(f"{text}: started", file=sys.stderr, flush=True)
    for item in items:
        yield item
        done += size(item) if size else 1
        if progress and total and 4 * done // total > quarter:
            quarter = 4 * done // total
            print(f"{text}: {25 * quarter} %", file=sys.stderr, flush=True)
