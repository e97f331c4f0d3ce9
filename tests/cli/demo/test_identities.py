"""The certificates of the demo."""

from __future__ import annotations

import asyncio
import os
import ssl

import aiohttp
import pytest

from meshlib.cli.demo.identities import Identities
from meshlib.cli.demo.ledger import PLAINTEXT, WRONG_ACCOUNT, Ledger
from meshlib.cli.demo.servers import BookinfoServers
from meshlib.cli.demo.strangers import Strangers
from tests.patience import until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_renewal_makes_all_of_them_anew() -> None:
    """Other certificates in the same places, which are for nobody else to read and go with the block."""
    with Identities(["a", "b"]) as identities:
        places = [identities.directory(app) for app in ("a", "b")]
        before = [(place / "cert-chain.pem").read_bytes() for place in places]
        await identities.renew()
        after = [(place / "cert-chain.pem").read_bytes() for place in places]
        assert identities.renewals == 1
        assert not set(before) & set(after)
        assert all((place / "key.pem").stat().st_mode & 0o077 == 0 for place in places)
    with pytest.raises(FileNotFoundError):
        os.stat(places[0])  # noqa: PTH116 - a path of a directory that is gone


async def test_servers_with_certificates_close_plaintext() -> None:
    """And answer a caller with a certificate of the same authority; strangers are counted as what they are."""
    with Identities(["ratings", "client"]) as identities:
        async with BookinfoServers({"ratings": identities.context("ratings")}) as bookinfo:
            ratings = next(server for server in bookinfo.servers if server.service == "ratings")
            context = identities.client_context("client")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"https://{ratings.address}/ratings/0", ssl=context) as response:
                    assert response.status == 200
                with pytest.raises(aiohttp.ClientError):
                    await session.get(f"http://{ratings.address}/ratings/0")
                bare = ssl.create_default_context(cafile=identities.directory("client") / "root-cert.pem")
                bare.check_hostname = False
                with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
                    await session.get(f"https://{ratings.address}/ratings/0", ssl=bare)
            ledger, closing = Ledger(lambda: 0.0), asyncio.Event()
            strangers = asyncio.create_task(Strangers(ledger, closing, ratings, context).run())
            await until(lambda: len(ledger.strangers) == 2)
            closing.set()
            await strangers
            assert set(ledger.strangers) == {(PLAINTEXT, 0), (WRONG_ACCOUNT, 200)}
