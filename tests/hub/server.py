"""A stand-in of the Hugging Face Hub: the part of its HTTP API that uploads and downloads use."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

#: Suffixes that the Hub keeps in its large file storage, uploaded apart from the commit.
LARGE = (".zip", ".mp4", ".pkl")


class Hub:
    """
    Repositories in memory.

    ``repos`` holds the files of each as bytes, by their paths; ``uploads`` counts bytes that went
    to the large file storage.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.large: dict[str, bytes] = {}
        self.address = ""

    def app(self) -> Starlette:
        repo = "/api/models/{user}/{name}"
        return Starlette(
            routes=[
                Route("/api/repos/create", self.create, methods=["POST"]),
                Route("/api/validate-yaml", self.validate, methods=["POST"]),
                Route(f"{repo}/preupload/{{revision}}", self.preupload, methods=["POST"]),
                Route(f"{repo}/commit/{{revision}}", self.commit, methods=["POST"]),
                Route(f"{repo}/revision/{{revision}}", self.info),
                Route(f"{repo}/tree/{{revision}}", self.tree),
                Route(repo, self.info),
                Route("/{user}/{name}.git/info/lfs/objects/batch", self.batch, methods=["POST"]),
                Route("/large/{oid}", self.put, methods=["PUT"]),
                Route("/{user}/{name}/resolve/{revision}/{path:path}", self.resolve),
            ]
        )

    def files(self, request: Request) -> dict[str, bytes] | None:
        return self.repos.get("{user}/{name}".format(**request.path_params))

    def sha(self, request: Request) -> str:
        files = self.files(request) or {}
        content = b"".join(name.encode() + data for name, data in sorted(files.items()))
        return hashlib.sha1(content).hexdigest()

    async def create(self, request: Request) -> Response:
        asked = await request.json()
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        exists = name in self.repos
        self.repos.setdefault(name, {})
        return JSONResponse({"url": f"{self.address}/{name}"}, 409 if exists else 200)

    async def validate(self, request: Request) -> Response:
        """Look at a card as the Hub does: it must begin with metadata."""
        content = (await request.json())["content"]
        if content.lstrip().startswith("---"):
            return JSONResponse({"errors": [], "warnings": []})
        return JSONResponse({"errors": [{"message": "no metadata"}], "warnings": []}, 400)

    async def preupload(self, request: Request) -> Response:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in (await request.json())["files"]
        ]
        return JSONResponse({"files": files})

    async def batch(self, request: Request) -> Response:
        objects = []
        for asked in (await request.json())["objects"]:
            answer = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] not in self.large:
                href = f"{self.address}/large/{asked['oid']}"
                answer["actions"] = {"upload": {"href": href}}
            objects.append(answer)
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def put(self, request: Request) -> Response:
        data, oid = await request.body(), request.path_params["oid"]
        if hashlib.sha256(data).hexdigest() != oid:
            return Response("another digest", 400)
        self.large[oid] = data
        return Response()

    async def commit(self, request: Request) -> Response:
        files = self.files(request)
        if files is None:
            return missing("RepoNotFound")
        for line in (await request.body()).decode().splitlines():
            operation: dict[str, Any] = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
        sha = self.sha(request)
        url = "{}/{user}/{name}/commit/{}".format(self.address, sha, **request.path_params)
        return JSONResponse({"success": True, "commitOid": sha, "commitUrl": url})

    async def info(self, request: Request) -> Response:
        files = self.files(request)
        if files is None:
            return missing("RepoNotFound")
        name = "{user}/{name}".format(**request.path_params)
        siblings = [{"rfilename": path} for path in sorted(files)]
        known = {"id": name, "modelId": name, "sha": self.sha(request), "siblings": siblings}
        return JSONResponse({**known, "private": False, "tags": [], "downloads": 0, "likes": 0})

    async def tree(self, request: Request) -> Response:
        files = self.files(request)
        if files is None:
            return missing("RepoNotFound")
        return JSONResponse(
            [
                {"type": "file", "path": path, "size": len(data), "oid": oid(data)}
                for path, data in sorted(files.items())
            ]
        )

    async def resolve(self, request: Request) -> Response:
        files = self.files(request)
        if files is None:
            return missing("RepoNotFound")
        data = files.get(request.path_params["path"])
        if data is None:
            return missing("EntryNotFound", {"X-Repo-Commit": self.sha(request)})
        headers = {"X-Repo-Commit": self.sha(request), "ETag": f'"{oid(data)}"'}
        return Response(data, headers=headers, media_type="application/octet-stream")


def oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def missing(code: str, headers: dict[str, str] | None = None) -> Response:
    return Response(status_code=404, headers={"X-Error-Code": code, **(headers or {})})


@contextmanager
def running() -> Iterator[Hub]:
    """Serve an empty Hub on a free port of this machine."""
    hub = Hub()
    config = uvicorn.Config(hub.app(), host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    hub.address = f"http://127.0.0.1:{port}"
    try:
        yield hub
    finally:
        server.should_exit = True
        thread.join()
