"""Credentials in URLs: users, passwords, tokens and signatures, masked in what is written or printed."""

from __future__ import annotations

import re

_URL = re.compile(r"""([A-Za-z][A-Za-z0-9+.-]+):(/+)([^\s"'<>]*)""")
"""A URL in a text; `Path` collapses its slashes."""

_PARAMETER = re.compile(r"(?<=[?&;#])([^=?&;#]+)=[^&;#]*")

_SECRET_NAME = re.compile(
    r"""(sig|signature|token|secret|password|passwd|pwd|credentials?|auth|api[-_]?key|access[-_]?key([-_]?id)?
    |accessid|jwt)$|^(key|code|pass|sas)$|^x-(amz|goog)-""",
    re.IGNORECASE | re.VERBOSE,
)
"""Names of the parameters of signed URLs, and of access tokens."""

_WEB = ("http", "https")
_CONTAINER_FIRST = ("abfs", "abfss", "wasb", "wasbs")
"""Schemes of Azure, in whose URLs CONTAINER@ACCOUNT names a place."""

_MASK = "***"


def mask_credentials(text: str) -> str:
    """Return a text with the credentials in its URLs as ***: the user part, and secret parameters of the query."""
    return _URL.sub(_masked, text) if ":/" in text else text


def has_credentials(text: str) -> bool:
    """Return whether a URL in a text has credentials in it."""
    return mask_credentials(text) != text


def _masked(found: re.Match[str]) -> str:
    scheme, slashes, rest = found.groups()
    end = _user_end(scheme.lower(), rest)
    if end:
        rest = f"{_MASK}@{rest[end:]}"

    def parameter(given: re.Match[str]) -> str:
        return f"{given[1]}={_MASK}" if _SECRET_NAME.search(given[1]) else given[0]

    return f"{scheme}:{slashes}{_PARAMETER.sub(parameter, rest)}"


def _user_end(scheme: str, rest: str) -> int:
    """Return where a URL's user part ends, behind its @; 0 where there is none."""
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    _, colon, port = host.partition(":")
    if "@" in host:
        is_place = scheme in _CONTAINER_FIRST and not colon
        return 0 if is_place else rest.rindex("@", 0, len(host)) + 1
    # Keys may have a slash in them: KEY:SE/CRET@bucket. After a port, an @ is one of a name.
    if not colon or "@" not in rest or (scheme in _WEB and port.isdigit()):
        return 0
    return rest.rindex("@") + 1
