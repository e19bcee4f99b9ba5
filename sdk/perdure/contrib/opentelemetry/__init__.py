"""OpenTelemetry tracing of users' code, by interceptors."""

from __future__ import annotations

from perdure.contrib.opentelemetry import workflow
from perdure.contrib.opentelemetry.interceptor import (
    TracingInterceptor,
    TracingWorkflowInboundInterceptor,
)

__all__ = ["TracingInterceptor", "TracingWorkflowInboundInterceptor", "workflow"]
