"""The little of the Kubernetes API that running a Job needs, over HTTP."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
API_VARIABLE = "KUBERNETES_API"
TIMEOUT_S = 10.0


@dataclass
class JobStatus:
    """How a Job stands."""

    active: int = 0
    succeeded: int = 0
    failed: int = 0
    is_complete: bool = False
    is_failed: bool = False
    message: str = ""


class Cluster:
    """A cluster's API: from inside a pod by its service account, or at KUBERNETES_API."""

    def __init__(self, url: str | None = None, token: str = "", namespace: str = "") -> None:
        inside = ACCOUNT.is_dir()
        self.namespace = namespace or (
            (ACCOUNT / "namespace").read_text("utf-8") if inside else "default"
        )
        token = token or ((ACCOUNT / "token").read_text("utf-8") if inside else "")
        verify = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt")) if inside else True
        self._http = httpx.AsyncClient(
            base_url=url or os.environ.get(API_VARIABLE, "https://kubernetes.default.svc"),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            verify=verify,
            timeout=TIMEOUT_S,
        )

    async def create_job(self, manifest: dict[str, Any]) -> None:
        """Make a Job. One of the same name that is there already is the same Job."""
        answer = await self._http.post(self._jobs(), json=manifest)
        if answer.status_code != httpx.codes.CONFLICT:
            _check(answer)

    async def job_status(self, name: str) -> JobStatus | None:
        """How a Job stands; None when there is none."""
        answer = await self._http.get(f"{self._jobs()}/{name}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        status = _check(answer).json().get("status", {})
        ended = {
            condition["type"]: condition.get("message", "")
            for condition in status.get("conditions", [])
            if condition.get("status") == "True"
        }
        return JobStatus(
            active=status.get("active", 0),
            succeeded=status.get("succeeded", 0),
            failed=status.get("failed", 0),
            is_complete="Complete" in ended,
            is_failed="Failed" in ended,
            message=ended.get("Failed", ""),
        )

    async def delete_job(self, name: str) -> None:
        """Delete a Job and its pods; one that is gone is no error."""
        answer = await self._http.delete(
            f"{self._jobs()}/{name}", params={"propagationPolicy": "Background"}
        )
        if answer.status_code != httpx.codes.NOT_FOUND:
            _check(answer)

    async def close(self) -> None:
        await self._http.aclose()

    def _jobs(self) -> str:
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs"


def _check(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        raise RuntimeError(f"the cluster answered {answer.status_code}: {answer.text[:500]}")
    return answer
