"""Spans and metrics of a runtime: `otel` for OpenTelemetry, and `prometheus` for Prometheus.

Each module needs the extra of its name. This package imports neither library.
"""
