"""A collector of OpenTelemetry logs, made of the published definitions: what is not in them is refused.

collector.py PORT FILE [CERT KEY]: listens on the port of 127.0.0.1 (0: any), writes the port into FILE.port, and a line of
JSON for every log record into FILE, before it answers. With a certificate it speaks TLS. While FILE.busy is there it
answers 503, while FILE.small is there 413 to more than ten records at once, and it refuses (400) what is about "poison".
"""

import http.server
import json
import os
import ssl
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)


def plain(value):
    which = value.WhichOneof("value")
    if which == "array_value":
        return [plain(one) for one in value.array_value.values]
    if which == "kvlist_value":
        return {one.key: plain(one.value) for one in value.kvlist_value.values}
    return getattr(value, which)


def records(request):
    for resource_logs in request.resource_logs:
        resource = {one.key: plain(one.value) for one in resource_logs.resource.attributes}
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                yield {
                    "resource": resource,
                    "scope": scope_logs.scope.name,
                    "time": record.time_unix_nano,
                    "severity": record.severity_text,
                    "number": record.severity_number,
                    "event": record.event_name,
                    "body": plain(record.body),
                    "attributes": {one.key: plain(one.value) for one in record.attributes},
                }


def decoded(text):
    return list(records(json_format.Parse(text, ExportLogsServiceRequest(), ignore_unknown_fields=False)))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"{}"):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        file = self.server.file
        if os.path.exists(file + ".busy"):
            return self.answer(503, b'{"message":"busy"}')
        if self.path != "/v1/logs" or self.headers["content-type"] != "application/json":
            return self.answer(404)
        try:
            found = decoded(body)
        except json_format.ParseError as error:
            return self.answer(400, json.dumps({"message": str(error)}).encode())
        if os.path.exists(file + ".small") and len(found) > 10:
            return self.answer(413)
        if any("poison" in one["body"] for one in found):
            return self.answer(400, b'{"message":"poison"}')
        with open(file, "a") as out:
            for one in found:
                one["token"] = self.headers.get("x-token")
                out.write(json.dumps(one) + "\n")
        self.answer(200, json_format.MessageToJson(ExportLogsServiceResponse()).encode())


def main():
    if sys.argv[1] == "--decode":
        for line in sys.stdin:
            for one in decoded(line):
                print(json.dumps(one))
        return
    port, file = int(sys.argv[1]), sys.argv[2]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.file = file
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with open(file + ".part", "w") as out:
        out.write(str(server.server_address[1]))
    os.rename(file + ".part", file + ".port")
    server.serve_forever()


main()
