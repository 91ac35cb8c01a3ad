"""A receiver of metrics by OTLP over HTTP, which decodes them by the library `opentelemetry-proto`.

`otlp.py ADDRESS PORT FILE` says 503 to the first request, as one that is overloaded, and takes all others. What the
newest of them told is in FILE, as JSON.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

seen = {"put_off": 0, "taken": 0}


def attributes(pairs):
    return {pair.key: pair.value.string_value for pair in pairs}


def point_of(point, kind):
    told = {
        "attributes": attributes(point.attributes),
        "start": point.start_time_unix_nano,
        "time": point.time_unix_nano,
    }
    if kind == "histogram":
        counts = list(point.bucket_counts)
        return told | {"count": point.count, "sum": point.sum, "counts": counts, "bounds": list(point.explicit_bounds)}
    return told | {"value": point.as_double}


def metric_of(metric):
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    return {
        "kind": kind,
        "unit": metric.unit,
        "description": metric.description,
        "cumulative": getattr(data, "aggregation_temporality", None) == 2,
        "monotonic": getattr(data, "is_monotonic", False),
        "points": [point_of(point, kind) for point in data.data_points],
    }


def told_by(body):
    request = ExportMetricsServiceRequest.FromString(body)
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    names = [metric.name for metric in scope.metrics]
    assert len(names) == len(set(names)), names
    return {
        "resource": attributes(resource.resource.attributes),
        "scope": scope.scope.name,
        "metrics": {metric.name: metric_of(metric) for metric in scope.metrics},
    }


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/v1/metrics", self.path
        assert self.headers["Content-Type"] == "application/x-protobuf", self.headers
        if seen["put_off"] == 0:
            seen["put_off"] += 1
            self.send_response(503)
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        told = told_by(body)
        seen["taken"] += 1
        with open(FILE + ".new", "w", encoding="utf-8") as file:
            json.dump(seen | told, file)
        os.rename(FILE + ".new", FILE)
        answer = ExportMetricsServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


ADDRESS, PORT, FILE = sys.argv[1:]
HTTPServer((ADDRESS, int(PORT)), Receiver).serve_forever()
