"""A small stand-in for W&B's server on the loopback: sweeps, agents and online runs; nothing else.

It answers the GraphQL operations that sweeps, agents, online runs and workspaces send, deals out the
trials that it was given, queues a killed one again with its id, and keeps every row that runs send.
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

PROJECT = {"id": "p", "name": "ibsuite", "entity": {"id": "e", "name": "me"}}


class StandIn:
    """The server: what it deals out, and what it has got.

    Args:
        trials: settings of each trial, in the order in which agents get them.
    """

    def __init__(self, trials: list[dict[str, Any]] | None = None) -> None:
        self.trials = trials or []
        self.queue = [("run", f"trial{i}", trial) for i, trial in enumerate(self.trials)]
        self.sweep: dict[str, Any] = {}
        self.dealt: list[tuple[str, str]] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.exit_codes: dict[str, list[int]] = {}
        self.preempting: set[str] = set()
        self.views: list[dict[str, Any]] = []
        self.stopped: set[str] = set()
        self.lock = threading.Lock()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with stand_in.lock:
                    reply = stand_in.reply(self.path, text)
                self.answer(json.dumps(reply).encode())

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.answer(b"{}")

            def do_GET(self) -> None:
                self.answer(b"{}")

            def answer(self, text: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None: ...  # a client that was killed has gone

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """What sends W&B's own programs here."""
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": "x" * 40,
            "WANDB_ENTITY": "me",
            "WANDB_MODE": "online",
        }

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def requeue(self, run: str) -> None:
        """Put a trial at the head of the queue, under its own id, as for a preempted one."""
        self.queue.insert(0, ("resume", run, self.trials[int(run.removeprefix("trial"))]))

    def reply(self, path: str, text: bytes) -> dict[str, Any]:
        if path.endswith("file_stream"):
            run = path.split("/")[-2]
            self.file_stream(run, json.loads(text))
            return {"exitcode": None, "limits": {}, "stopped": run in self.stopped}
        if "graphql" not in path:
            return {}
        request = json.loads(text)
        operation = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
        answer = getattr(self, operation[1], None) if operation else None
        return {"data": answer(request.get("variables") or {}) if answer else {}}

    def file_stream(self, run: str, sent: dict[str, Any]) -> None:
        for name, file in (sent.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                self.rows[run] += [json.loads(line) for line in file["content"]]
            elif name == "wandb-summary.json":
                self.runs[run]["summary"] = json.loads(file["content"][-1])
        if sent.get("preempting"):
            self.preempting.add(run)
        if sent.get("complete"):
            self.exit_codes[run].append(sent["exitcode"])

    # GraphQL operations

    def Viewer(self, _: Any) -> dict[str, Any]:
        viewer = {
            "id": "u",
            "name": "me",
            "username": "me",
            "email": "me@localhost",
            "entity": "me",
            "admin": False,
        }
        versions = {"max_cli_version": "99.0.0"}
        return {
            "viewer": {**viewer, "flags": "{}", "apiKeys": {"edges": []}, "teams": {"edges": []}},
            "serverInfo": {"features": [], "cliVersionInfo": versions, "latestLocalVersionInfo": None},
        }

    def UpsertSweep(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.sweep = yaml.safe_load(variables["config"])
        project = {"name": PROJECT["name"], "entity": PROJECT["entity"]}
        return {"upsertSweep": {"sweep": {"name": "s", "project": project}, "configValidationWarnings": []}}

    def SweepWithRuns(self, _: Any) -> dict[str, Any]:
        sweep = {
            "id": "s",
            "name": "s",
            "method": self.sweep["method"],
            "state": "RUNNING",
            "runs": {"edges": []},
        }
        return {"project": {"sweep": {**sweep, "config": yaml.safe_dump(self.sweep)}}}

    def CreateAgent(self, _: Any) -> dict[str, Any]:
        return {"createAgent": {"agent": {"id": "a"}}}

    def Heartbeat(self, variables: dict[str, Any]) -> dict[str, Any]:
        running = json.loads(variables.get("runState") or "{}")
        commands = [{"type": "stop", "run_id": run} for run in running if run in self.stopped]
        if not running and self.queue:
            kind, run, trial = self.queue.pop(0)
            self.dealt.append((kind, run))
            args = {name: {"value": value} for name, value in trial.items()}
            commands = [{"type": kind, "run_id": run, "program": self.sweep["program"], "args": args}]
        elif not running:
            commands = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": "a"}, "commands": json.dumps(commands)}}

    def UpsertBucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["name"]
        inserted = name not in self.runs
        run = self.runs.setdefault(name, {"summary": {}, "config": "{}", "sessions": 0})
        self.rows.setdefault(name, [])
        self.exit_codes.setdefault(name, [])
        run |= {"group": variables.get("groupName"), "sweep": variables.get("sweep")}
        run["config"] = variables.get("config") or run["config"]
        bucket = {"id": name, "name": name, "displayName": name, "description": "", "config": "{}"}
        bucket |= {
            "sweepName": variables.get("sweep"),
            "historyLineCount": len(self.rows[name]),
            "project": PROJECT,
        }
        return {"upsertBucket": {"inserted": inserted, "bucket": bucket}}

    def UpsertView2(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.views.append(variables)
        return {"upsertView": {"view": {"id": "v", "name": variables["name"]}, "inserted": True}}

    def RunResumeStatus(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(variables["name"])
        if run is None:
            return {"model": {**PROJECT, "bucket": None}}
        run["sessions"] += 1
        rows = self.rows[variables["name"]]
        bucket = {
            "name": variables["name"], "displayName": variables["name"], "config": run["config"],
            "historyLineCount": len(rows), "eventsLineCount": 0, "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in rows[-1:]]), "eventsTail": "[]",
            "summaryMetrics": json.dumps(run["summary"]), "tags": [], "wandbConfig": json.dumps({"t": 1}),
        }  # fmt: skip
        return {"model": {**PROJECT, "bucket": bucket}}

    def CreateRunFiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        files = [
            {"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables.get("files") or []
        ]
        return {"createRunFiles": {"runID": variables.get("run") or "r", "uploadHeaders": [], "files": files}}
