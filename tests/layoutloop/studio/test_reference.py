"""What an image reference means, for serving, training and `--images` alike."""

from __future__ import annotations

import base64
import unicodedata
from urllib.parse import quote

import pytest

from layoutloop.studio.reference import Reference, read_reference


def in_base64(uri: str) -> str:
    return base64.urlsafe_b64encode(uri.encode()).decode()


OBJECT = "s3://bucket/dir/inv #1?.png"


@pytest.mark.parametrize(
    ("reference", "read"),
    [
        pytest.param(
            "/data/upload/1/a.png?x=1#top", Reference("studio", "/data/upload/1/a.png", "x=1"), id="an upload"
        ),
        pytest.param("https://host:8080/a/b.png?sig=x#top", Reference("web", "/a/b.png", "sig=x"), id="an address"),
        pytest.param("HTTP://host", Reference("web", "/"), id="an address without a path"),
        pytest.param("s3://bucket/dir/inv #1.png", Reference("cloud", "dir/inv #1.png"), id="a key with a hash"),
        pytest.param("gs://bucket/100%25?.png", Reference("cloud", "100%25?.png"), id="a key, not decoded"),
        pytest.param("azure-blob://box//a//b.png", Reference("cloud", "/a//b.png"), id="a key with empty folders"),
        pytest.param("S3://bucket/a.png", Reference("cloud", "a.png"), id="a scheme in capitals"),
        pytest.param("data:image/png;base64,AAAA", Reference("data", ""), id="data"),
        pytest.param("file:///etc/passwd", Reference("other", "file:///etc/passwd"), id="another scheme"),
        pytest.param("C:\\scans\\a.png", Reference("other", "C:\\scans\\a.png"), id="a path of Windows"),
        pytest.param("inv #1.png", Reference("other", "inv #1.png"), id="a bare name"),
        pytest.param("", Reference("other", ""), id="empty"),
    ],
)
def test_a_reference_is_taken_apart(reference: str, read: Reference) -> None:
    assert read_reference(reference) == read


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        pytest.param("/data/upload/8/ca09bd01-p0.png", "ca09bd01-p0.png", id="an upload"),
        pytest.param("/data/local-files/?d=scans/2026/p%200.png", "p 0.png", id="a local file"),
        pytest.param("/data/local-files/?d=dataset1%5Ca.png", "a.png", id="a local file of Windows"),
        pytest.param("/data/local-files/?d=dataset1\\a.png", "a.png", id="the same, not encoded"),
        pytest.param("/data/local-files?d=dir//a%23b.png", "a#b.png", id="a hash and an empty folder"),
        pytest.param("http://ls:8080/studio/data/local-files/?d=dir/a.png", "a.png", id="as an address, with a prefix"),
        pytest.param("/data/local-files/?d=x.png&d=dir/a.png", "a.png", id="Label Studio takes the last"),
        pytest.param("/storage-data/uploaded/?filepath=upload/1/a.png", "a.png", id="a stored upload"),
        pytest.param("s3://bucket/scans/p0.png", "p0.png", id="cloud storage"),
        pytest.param(OBJECT, "inv #1?.png", id="a key with a hash and a question mark"),
        pytest.param("gs://bucket/50%25 off.png", "50%25 off.png", id="a key with a percent sign"),
        pytest.param("azure-blob://box/dir\\a.png", "a.png", id="a key with a backslash"),
        pytest.param(f"/tasks/5/resolve/?fileuri={in_base64(OBJECT)}", "inv #1?.png", id="resolve"),
        pytest.param(f"/projects/5/presign/?fileuri={quote(in_base64(OBJECT))}", "inv #1?.png", id="presign, encoded"),
        pytest.param(f"/tasks/5/presign/?fileuri={quote(OBJECT, safe='')}", "inv #1?.png", id="presign, of before"),
        pytest.param(f"http://ls/tasks/5/resolve?fileuri={in_base64(OBJECT)}", "inv #1?.png", id="resolve, an address"),
        pytest.param("https://example.org/scans/p%C3%A4%23.png?X-Signature=x", "pä#.png", id="an address"),
        pytest.param("https://example.org/show.png?d=other.png", "show.png", id="a query that names no file"),
        pytest.param("p0.png", "p0.png", id="a bare name"),
        pytest.param("C:\\scans\\p0.png", "p0.png", id="a path of Windows"),
        pytest.param("/data/upload/8/", "", id="a folder"),
        pytest.param("/data/upload/8/..%2f..%2fetc%2fpasswd", "passwd", id="P27 encoded slashes"),
        pytest.param("http://[", "", id="no address"),
        pytest.param("/data/local-files/?" + "d=a&" * 30, "", id="a query that cannot be read"),
    ],
)
def test_the_file_a_reference_means(reference: str, name: str) -> None:
    assert read_reference(reference).file_names[0] == name


@pytest.mark.parametrize(
    ("reference", "names"),
    [
        pytest.param("/data/upload/8/ca09bd01-p0.png", ["ca09bd01-p0.png", "p0.png"], id="an upload"),
        pytest.param("s3://bucket/inv%20%231.png", ["inv%20%231.png", "inv #1.png"], id="a key that may be encoded"),
        pytest.param("inv%20%231.png", ["inv #1.png", "inv%20%231.png"], id="a name that may be encoded"),
    ],
)
def test_other_names_it_may_have(reference: str, names: list[str]) -> None:
    assert [*read_reference(reference).file_names] == names


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accented_letters_in_both_forms(form: str) -> None:
    both = {unicodedata.normalize(one, "Größe é.png") for one in ("NFC", "NFD")}
    written = unicodedata.normalize(form, "Größe é.png")
    for reference in (f"/data/upload/1/{quote(written)}", f"s3://b/{written}", written):
        names = read_reference(reference).file_names
        assert names[0] == written
        assert both <= set(names)
