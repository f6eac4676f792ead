"""Credentials in URLs: one function masks them, and every way in refuses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from augmentor.cli import session
from augmentor.data.manifest import read_manifest
from augmentor.errors import AugmentorError, ManifestError
from augmentor.storage import has_credentials, mask_credentials, parse_path, refuse_unusable

SECRET = "hu/sh+42"  # noqa: S105
WITH_SECRETS = [
    (f"s3://KEY:{SECRET}@bucket/a.png", "s3://***@bucket/a.png"),
    (f"s3:/KEY:{SECRET}@bucket/a.png", "s3:/***@bucket/a.png"),
    (f"https://me:{SECRET.replace('/', '')}@host:8080/a.png", "https://***@host:8080/a.png"),
    ("https://hush@host/a.png", "https://***@host/a.png"),
    ("abfs://me:hush@account.dfs.core.windows.net/a.png", "abfs://***@account.dfs.core.windows.net/a.png"),
    (f"https://host/a.png?v=2&X-Amz-Signature={SECRET}", "https://host/a.png?v=2&X-Amz-Signature=***"),
    (f"https://host/a.png?sv=2021&sig={SECRET}&raw=1", "https://host/a.png?sv=2021&sig=***&raw=1"),
    *(
        (f"https://host/a.png?{name}={SECRET}", f"https://host/a.png?{name}=***")
        for name in (
            "token",
            "access_token",
            "AWSAccessKeyId",
            "GoogleAccessId",
            "api_key",
            "key",
            "X-Goog-Credential",
        )
    ),
]
WITHOUT = [
    "s3://bucket/user@example/a:b.png",
    "https://host:8080/user@example/a.png",
    "https://host/a.png?raw=true&author=me&keyword=you&monkey=1&id=550e8400",
    "abfs://container@account.dfs.core.windows.net/a.png",
    "file:///home/a:b@c.png",
    "C:/me:you@home",
    "me:hush@bucket",
]


@pytest.mark.parametrize(("url", "masked"), WITH_SECRETS)
def test_credentials_are_masked_in_any_text(url: str, masked: str) -> None:
    assert mask_credentials(url) == masked
    assert mask_credentials(masked) == masked
    assert mask_credentials(f"first {url} and\n'{url}' last") == f"first {masked} and\n'{masked}' last"
    assert mask_credentials(json.dumps([url])) == json.dumps([masked])


@pytest.mark.parametrize("text", WITHOUT)
def test_other_texts_stay(text: str) -> None:
    assert not has_credentials(text)


@pytest.mark.parametrize(("url", "masked"), WITH_SECRETS)
def test_every_way_in_refuses_them_and_no_way_out_shows_them(
    url: str, masked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for use in (refuse_unusable, read_manifest):
        with pytest.raises(AugmentorError, match="credentials") as told:
            use(parse_path(url))
        assert "hu" not in str(told.value)
    table = tmp_path / "m.csv"
    table.write_text(f"path,hair\na.png,red\n{url.replace('s3:/K', 's3://K')},black\n")
    with pytest.raises(ManifestError, match=r"m\.csv, row 3, column 'path': a URL with credentials") as refused:
        read_manifest(table)
    assert "hu" not in str(refused.value)
    monkeypatch.setattr("sys.argv", ["augmentor", "expand", url, f"--set=x={url}", "--out", "o"])
    assert masked in session.recorded_command()
    assert "hu" not in session.recorded_command()
    session.print_line(url)
    session.print_json({"at": url})
    session.remark(url)
    shown = capsys.readouterr()
    assert masked in shown.out
    assert "hu" not in shown.out + shown.err
