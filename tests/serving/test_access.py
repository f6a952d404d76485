"""Which requests are answered: by host, by token, over TLS."""

import http.client
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from project.serving.access import Access
from tests.command import run_script
from tests.serving.running import MAX_LENGTH, Running, running

TOKEN = "a.Secret-token/0+1="


def status(server: Running, path: str, host: str | None, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=MAX_LENGTH)
    connection.putrequest("GET" if path != "/predict" else "POST", path, skip_host=True)
    body = b'{"rows": [[1, 1]]}'
    given = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    for name, value in (given if host is None else {"Host": host} | given).items():
        connection.putheader(name, value)
    connection.endheaders(body)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_a_name_that_is_not_this_machine_s_gets_nothing(house_server):
    for path in ("/predict", "/metadata", "/", "/health", "/metrics", "/openapi.json"):
        for host in ("localhost", f"127.0.0.1:{house_server.port}", "[::1]:80", "LocalHost:1"):
            assert status(house_server, path, host) == 200, (path, host)
        for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "10.0.0.1", "", None, "[", "a b"):
            assert status(house_server, path, host) == 400, (path, host)
    answer = house_server.client.get("/metadata", headers={"host": "evil.example"})
    assert answer.json()["detail"] == (
        "host 'evil.example' is not allowed; start the server with --allowed_hosts and this name"
    )


@pytest.mark.parametrize(
    ("listens", "allowed", "host", "is_known"),
    [
        ("127.0.0.1", (), "192.168.0.7", False),
        ("0.0.0.0", (), "192.168.0.7:80", True),
        ("::", (), "[fd00::7]:80", True),
        ("0.0.0.0", (), "evil.example", False),
        ("models.local", (), "models.local:80", True),
        ("127.0.0.1", ("Models.example", "other"), "models.example", True),
        ("127.0.0.1", ("models.example",), "a.models.example", False),
        ("127.0.0.1", ("*",), "anything", True),
        ("127.0.0.1", (), "evil.example@127.0.0.1", False),
        ("127.0.0.1", (), "127.0.0.1/evil.example", False),
    ],
)
def test_hosts_are_known_by_address_and_by_flag(listens, allowed, host, is_known):
    refusal = Access(listens, allowed).refusal("/predict", {b"host": host.encode()})
    assert (refusal is None) == is_known


def test_further_hosts_are_allowed_by_a_flag(houses):
    with running(houses, "--allowed_hosts", "models.example", "10.0.0.1") as server:
        assert status(server, "/predict", "models.example:80") == 200
        assert status(server, "/predict", "10.0.0.1") == 200
        assert status(server, "/predict", "evil.example") == 400
    with running(houses, "--allowed_hosts", "*") as server:
        assert status(server, "/predict", "evil.example") == 200


def test_a_token_is_required_for_all_that_says_something(houses, folder):
    file = folder / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    with running(houses, "--token_file", file) as server:
        for path in ("/predict", "/metadata", "/metrics", "/openapi.json", "/nothing"):
            for wrong in (
                {},
                {"Authorization": TOKEN},
                {"Authorization": f"Bearer {TOKEN}x"},
                {"Authorization": "Bearer "},
            ):
                assert status(server, path, "localhost", **wrong) == 401, (path, wrong)
            found = status(server, path, "localhost", Authorization=f"Bearer {TOKEN}")
            assert found == (404 if path == "/nothing" else 200)
        for path in ("/", "/docs", "/health"):
            assert status(server, path, "localhost") == 200
        answer = server.post(b'{"rows": [[1, 1]]}')
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text + server.client.get("/").text


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        (TOKEN, 0o644, "other users may read or change it; run chmod 600"),
        (TOKEN, 0o620, "other users may read or change it; run chmod 600"),
        ("", 0o600, "expected a token"),
        ("two words", 0o600, "expected a token"),
        ("é", 0o600, "expected a token"),
        ("a" * 5_000, 0o600, "expected a token"),
        (None, 0o600, "No such file or directory"),
    ],
)
def test_a_token_that_is_none_ends_the_start(houses, folder, content, mode, problem):
    if content is not None:
        (folder / "token").write_text(content)
        (folder / "token").chmod(mode)
    done = run_script(folder, "serve", houses, "--port", "0", "--token_file", "token")
    assert (done.returncode, done.stdout) == (2, "")
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    args = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    args += [
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    try:
        subprocess.run(args, cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize("workers", [1, 2])
def test_tls_by_flags(houses, certificate, workers):
    trusted = ssl.create_default_context(cafile=str(certificate[0]))
    flags = ["--ssl_certfile", certificate[0], "--ssl_keyfile", certificate[1], "--workers", workers]
    with running(houses, *flags) as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        answer = httpx.post(f"{server.url}/predict", json={"rows": [[1, 1]]}, verify=trusted, timeout=MAX_LENGTH)
        assert answer.json() == {"predictions": [{"price": 59}]}
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/health", timeout=MAX_LENGTH)  # nobody else signs for it
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{server.port}/health", timeout=MAX_LENGTH)


def test_a_certificate_that_is_none_ends_the_start(houses, folder, certificate):
    (folder / "bad.pem").write_text("nothing")
    for flags, problem in [
        (["--ssl_certfile", "bad.pem"], "--ssl_certfile bad.pem: not a certificate with its key"),
        (["--ssl_certfile", certificate[0]], "not a certificate with its key"),
        (["--ssl_certfile", "gone.pem"], "--ssl_certfile gone.pem: not a certificate with its key"),
        (["--ssl_keyfile", certificate[1]], "it needs --ssl_certfile"),
    ]:
        done = run_script(folder, "serve", houses, "--port", "0", *flags)
        assert (done.returncode, done.stdout) == (2, "")
        assert problem in done.stderr
        assert len(done.stderr.splitlines()) == 1
