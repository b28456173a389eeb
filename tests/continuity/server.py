"""A server of both eras that writes down in FOLDER/seen what each of its launches reads, and whose list of tools is the
file FOLDER/tools, a name a line. What FOLDER/without names is no capability of it. The tool "hang" is never answered; "ask" asks the host, under id 0, and answers with
what it says."""

import json
import os
import sys

folder = sys.argv[1]
seen = open(os.path.join(folder, "seen"), "a", buffering=1)
seen.write("launch\n")
CAPABILITIES = {"tools": {"listChanged": True}, "logging": {}, "resources": {"subscribe": True}}
if os.path.exists(os.path.join(folder, "without")):
    with open(os.path.join(folder, "without")) as names:
        for name in names.read().split():
            del CAPABILITIES[name]
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


def say(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def tools():
    with open(os.path.join(folder, "tools")) as names:
        return [{"name": name, "inputSchema": {"type": "object"}} for name in names.read().split()]


def answer(message):
    method, params = message["method"], message.get("params", {})
    if method == "initialize":
        return {"protocolVersion": params["protocolVersion"], "capabilities": CAPABILITIES, "serverInfo": {"name": "s", "version": "1"}}
    if method == "server/discover":
        return {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES, "ttlMs": 0, "cacheScope": "private", "resultType": "complete"}
    if method == "tools/list":
        return {"tools": tools()}
    if method == "subscriptions/listen":
        say({"method": "notifications/subscriptions/acknowledged", "params": {"_meta": {SUBSCRIPTION: message["id"]}, "notifications": params["notifications"]}})
        return None
    if method == "tools/call" and params["name"] == "hang":
        return None
    if method == "tools/call" and params["name"] == "ask":
        asking.append(message["id"])
        say({"id": 0, "method": "roots/list"})
        return None
    if method == "tools/call":
        return {"content": [{"type": "text", "text": json.dumps(params.get("arguments"))}]}
    return {}


asking = []
for line in sys.stdin:
    seen.write(line)
    message = json.loads(line)
    if "method" not in message:
        said = {"content": [{"type": "text", "text": json.dumps(message["result"])}]}
        say({"id": asking.pop(), "result": said})
    elif "id" in message:
        result = answer(message)
        if result is not None:
            say({"id": message["id"], "result": result})
