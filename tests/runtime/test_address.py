"""Which path an address stands for, and which parts of an address are credentials."""

import pytest

from project.runtime.address import full_address, is_remote, local_path, without_credentials
from project.runtime.errors import UserError


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("table.csv", "here/table.csv"),
        ("../table.csv", "table.csv"),
        ("~/table.csv", "home/table.csv"),
        ("$HOME/table.csv", "home/table.csv"),
        ("${HOME}/table.csv", "home/table.csv"),
        ("$HOMES/table.csv", "here/$HOMES/table.csv"),
        ("~table.csv", "here/~table.csv"),
        ("100%41.csv", "here/100%41.csv"),
    ],
)
def test_a_local_address_is_stored_as_an_absolute_path(tmp_path, monkeypatch, address, path):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert full_address(address) == str(tmp_path / path)
    assert full_address(full_address(address)) == str(tmp_path / path)


@pytest.mark.parametrize(
    "address", ["file:///data/a%20b.csv", "FILE:///data/a b.csv", "file://localhost/data/a%20b.csv"]
)
def test_a_file_address_is_a_path(address):
    assert not is_remote(address)
    assert full_address(address) == str(local_path(address)) == "/data/a b.csv"


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("s3://KEY:SECRET@bucket/a/t.csv?region=x", "s3://bucket/a/t.csv?region=x"),
        ("s3://KEY:SEC/RET+@bucket/t.csv", "s3://bucket/t.csv"),
        ("s3://bucket/me@home.csv", "s3://bucket/me@home.csv"),
        ("https://me:SECRET@host:8080/t.csv", "https://host:8080/t.csv"),
        ("https://host:8080/me@home.csv", "https://host:8080/me@home.csv"),
        ("https://SECRET@host/t.csv", "https://host/t.csv"),
        ("https://host/t?x=1&X-Amz-Signature=SECRET&X-Amz-Date=2&y=3", "https://host/t?x=1&y=3"),
        ("https://host/t?token=SECRET", "https://host/t"),
        ("https://host/t?sv=1&sig=SECRET%2B&se=3", "https://host/t?sv=1&se=3"),
        ("https://host/t?api_key=SECRET&target=y", "https://host/t?target=y"),
        ("abfs://place:SECRET@account.dfs.core.windows.net/t", "abfs://place@account.dfs.core.windows.net/t"),
        ("gs://anonymous@bucket/t", "gs://anonymous@bucket/t"),
    ],
)
def test_a_remote_address_is_stored_without_credentials(address, stored):
    assert full_address(address) == stored
    assert full_address(stored) == stored
    assert str(UserError(f"{address}: no such file ({address!r})")) == f"{stored}: no such file ({stored!r})"


def test_text_without_addresses_is_unchanged():
    text = "column 'token=1', row 3: 'a@b:c?key=x&sig=2' is not a number"
    assert without_credentials(text) == text
