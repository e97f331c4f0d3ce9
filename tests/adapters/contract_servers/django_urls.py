"""The application for Django, which finds its routes in a module."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from meshlib import Mesh
from tests.adapters.contract_servers.handlers import call, call_sync, fail, inside, parts, parts_sync

meshes: list[Mesh] = []
"""Of the applications made so far; the last one serves."""


def inbound(request: HttpRequest) -> Any:
    return request.scope["mesh"] if isinstance(request, ASGIRequest) else request.META["meshlib"]


@csrf_exempt
async def handle(request: HttpRequest) -> HttpResponseBase:
    return JsonResponse({**inside(inbound(request)), "called": await call(meshes[-1]), "started": True})


def in_thread(request: HttpRequest) -> HttpResponseBase:
    return JsonResponse({**inside(inbound(request)), "called": call_sync(meshes[-1])})


running: set[Any] = set()


async def with_task(request: HttpRequest) -> HttpResponseBase:
    if isinstance(request, ASGIRequest):
        running.add(asyncio.ensure_future(sync_to_async(call_sync)(meshes[-1])))
    else:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(contextvars.copy_context().run, call_sync, meshes[-1]).result()
    return JsonResponse({})


def stream(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(parts(meshes[-1]) if isinstance(request, ASGIRequest) else parts_sync(meshes[-1]))


@csrf_exempt
def count(request: HttpRequest) -> HttpResponseBase:
    digest = hashlib.sha256()
    while part := request.read(65536):
        digest.update(part)
    return JsonResponse({"digest": digest.hexdigest()})


def failing(_: HttpRequest) -> HttpResponseBase:
    found: HttpResponseBase = fail()
    return found


urlpatterns = [
    path("call", handle),
    path("thread", in_thread),
    path("task", with_task),
    path("stream", stream),
    path("count", count),
    path("fail", failing),
]
