"""HTTPS as ``docs/deploy.md`` has it: nginx ends it, and the server knows."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import httpx
import pytest

from tests.conftest import PASSWORD
from tests.engines import Nginx, deployed, program
from tests.servers import ROOT, ServerProcess, eventually, free_port

_MAKE_OLIVIA = f"""
from django.contrib.auth.models import Group, User
User.objects.create_user("olivia", password={PASSWORD!r}).groups.add(Group.objects.get(name="operator"))
"""


@pytest.fixture
def trust(tmp_path: Path) -> ssl.SSLContext:
    """Of a client that trusts ``tmp_path/cert.pem``, which is of localhost."""
    made = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([program("openssl"), "req", *made, *named, *files], check=True, capture_output=True)
    return ssl.create_default_context(cafile=tmp_path / "cert.pem")


@pytest.fixture
def house(tmp_path: Path, trust: ssl.SSLContext) -> Iterator[str]:
    """The address of a control plane with one person in it."""
    port = free_port()
    url = f"https://localhost:{port}"
    environment = {
        "DJANGO_SECURE": "1",
        "DJANGO_ALLOWED_HOSTS": "localhost,127.0.0.1",
        "DJANGO_CSRF_TRUSTED_ORIGINS": url,
        "CIRCUIT_BREAKER_PROXIES": "1",
    }
    with ServerProcess(tmp_path, environment=environment) as server:
        server.python(_MAKE_OLIVIA)
        text = deployed((ROOT / "deploy/nginx/default.conf").read_text(), port=port, servers=[server.port])
        keys = f"ssl_certificate {tmp_path}/cert.pem;\n    ssl_certificate_key {tmp_path}/key.pem;"
        text = text.replace(f"listen 127.0.0.1:{port};", f"listen 127.0.0.1:{port} ssl;\n    {keys}")
        with Nginx(tmp_path, text):
            eventually(lambda: _answers(url, trust), what="nginx passes requests on")
            yield url


def _answers(url: str, trust: ssl.SSLContext) -> bool:
    try:
        return httpx.get(f"{url}/health", verify=trust, timeout=60.0).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.timeout(120)  # a server starts
def test_people_sign_in_act_and_watch_over_https_and_pages_of_others_do_nothing(house: str, trust: ssl.SSLContext):
    with httpx.Client(base_url=house, verify=trust, timeout=60.0, headers={"Accept": "text/html"}) as browser:
        page = browser.get("/dashboard/login")
        assert page.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
        token = page.text.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        given = {"username": "olivia", "password": PASSWORD, "csrfmiddlewaretoken": token}
        evil = {"Origin": "https://evil.example"}
        assert browser.post("/dashboard/login", data=given, headers=evil).status_code == 403
        answer = browser.post("/dashboard/login", data=given, headers={"Origin": house})
        assert (answer.status_code, answer.headers["Location"]) == (302, "/dashboard")
        cookies = {each.partition("=")[0]: each for each in answer.headers.get_list("set-cookie")}
        assert all("Secure" in cookie and "SameSite=Lax" in cookie for cookie in cookies.values())
        assert "HttpOnly" in cookies["sessionid"]
        assert browser.get("/dashboard").status_code == 200
        assert asyncio.run(_watches(house, trust, dict(browser.cookies), house))
        assert not asyncio.run(_watches(house, trust, dict(browser.cookies), evil["Origin"]))
        token = browser.cookies["csrftoken"]
        assert browser.post("/circuit-breakers/reset-all", headers={**evil, "X-CSRFToken": token}).status_code == 403
        ours = {"Origin": house, "X-CSRFToken": token}
        assert browser.post("/circuit-breakers/reset-all", headers=ours).status_code == 200


async def _watches(url: str, trust: ssl.SSLContext, cookies: dict[str, str], origin: str) -> bool:
    async with aiohttp.ClientSession(cookies=cookies) as session:
        try:
            async with session.ws_connect(f"{url}/ws/feed", ssl=trust, headers={"Origin": origin}) as socket:
                return (await socket.receive_json())["type"] == "snapshot"
        except aiohttp.WSServerHandshakeError:
            return False
