"""From a URL to a store, or to an error that helps and tells no secret."""

from pathlib import Path

import pytest

from temporal_state.errors import ConfigurationError
from temporal_state.storage import LocalStore, MemoryStore, ObjectStorage, open_store


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("/data/state", "/data/state"),
        (Path("/data/state"), "/data/state"),
        ("/data/../state", "/state"),
        ("file:///data/state", "/data/state"),
        ("FILE:///data/state", "/data/state"),
        ("file://localhost/data", "/data"),
        ("file:/data", "/data"),
        ("file:///a%20b/%C3%A9%23%3F", "/a b/é#?"),
        ("file:///~/data", "/~/data"),
        (Path("file:/x"), str(Path.cwd() / "file:/x")),
        ("never/made", str(Path.cwd() / "never/made")),
        ("~/data", str(Path.home() / "data")),
        ("C:data", str(Path.cwd() / "C:data")),
    ],
)
def test_local_files(url, root):
    store = open_store(url)
    assert isinstance(store, LocalStore)
    assert str(store.root) == root
    assert open_store(store.url).url == store.url
    assert not (Path(root) / ".temporal_state").exists()  # opened is something else


def test_a_path_without_utf_8_comes_back_from_its_url(tmp_path):
    store = LocalStore(tmp_path / "a\udcff b#?%")
    again = open_store(store.url)
    assert isinstance(again, LocalStore)
    assert again.root == store.root


async def test_memory_without_a_name_is_new_each_time():
    one, other = open_store("memory://"), open_store("memory://")
    await one.open()
    await other.open()
    await one.put("a.json", b"1")
    assert await other.get("a.json") is None
    assert isinstance(one, MemoryStore)


async def test_memory_with_a_name_is_shared():
    one, other = open_store("memory://shared-1"), open_store("memory://shared-1")
    await one.open()
    await other.open()
    await one.put("a.json", b"1")
    await one.close()
    assert (await other.get("a.json")).data == b"1"
    assert one.url == "memory://shared-1"


@pytest.mark.parametrize(
    ("url", "again"),
    [
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("S3://bucket/a/B.c_d=e~!-/", "s3://bucket/a/B.c_d=e~!-"),
        ("gs://bucket", "gs://bucket"),
        ("az://container/", "az://container"),
        ("az://container/a?account_name=me", "az://container/a?account_name=me"),
        (
            "s3://bucket?endpoint=http%3A//127.0.0.1:9000&region=eu-central-1",
            "s3://bucket?endpoint=http://127.0.0.1:9000&region=eu-central-1",
        ),
    ],
)
def test_buckets_and_containers(url, again):
    store = open_store(url)
    assert isinstance(store, ObjectStorage)
    assert store.url == again == open_store(again).url
    assert again in repr(store)


@pytest.mark.parametrize(
    "url",
    [
        *("s3://", "s3:///prefix", "s3://bucket:9000/prefix", "s3://.bucket", "s3://b/a//b"),
        *("s3://b/../c", "s3://b/./c", "s3://b/a b", "s3://b/%2e%2e/c", "s3://b/a#b", "s3://[b"),
        *("s3://b?region", "s3://b?color=red", "gs://b?endpoint=x", "az://b?sas_token=x"),
        *("s3://b?endpoint=http://user:pw@host", "s3://b?endpoint=http://host?key=1"),
    ],
)
def test_what_names_no_bucket_is_refused(url):
    with pytest.raises(ConfigurationError, match=r"it must be .*environment"):
        open_store(url)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("", "no path"),
        ("a\0b", "no path"),
        ("~nobody-of-that-name/x", "expand"),
        ("file://relative", "three slashes"),
        ("file://host/path", "three slashes"),
        ("file:relative", "no absolute path"),
        ("file://", "no absolute path"),
        ("file:///a%00b", "no absolute path"),
        ("file:///a?b", "%3F"),
        ("file:///a#b", "%23"),
        ("file://[/x", "IPv6"),
        ("memory:name", "letters"),
        ("memory://a/b", "letters"),
        ("memory://a b", "letters"),
        ("memory://a?b", "%3F"),
        ("postgresql://host/db?schema=", "schema"),
        ("postgresql://host/db?nonsense=1", "libpq"),
        ("postgresql://host/db#part", "%23"),
        ("https://example.com", "'https' is unknown.*file:///.*memory://"),
    ],
)
def test_what_cannot_be_opened_says_what_can(url, match):
    with pytest.raises(ConfigurationError, match=match):
        open_store(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret@host/db?nonsense=1",
        "postgresql://user:s3cret%zz@host/db",
        "postgresql://user:a?s3cret@host/db",
        "postgresql://user:a/s3cret@host/db",
        "postgresql://user:a@s3cret@host/db",
        "s3://bucket/prefix?secret_access_key=s3cret",
        "s3://key:s3cret@bucket/prefix",
        "s3://bucket/prefix?endpoint=https://key:s3cret@host",
        "az://container?s3cret",
        "odd://s3cret@host",
        "file://user:s3cret@host/path",
        "memory://user:s3cret@name",
    ],
)
def test_no_error_tells_a_secret(url):
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(caught.value.__cause__)
