#!/usr/bin/env python3
"""wattune serve, as those meet it who scrape it, look at it and attack it.

usage: test_cli_serve.py [CASE...], with WATTUNE_COMMAND and WATTUNED_COMMAND set (meson does)

promtool, prometheus and chromium are the distribution's; a case whose program is missing is skipped and says so.
"""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse
import urllib.request

import cases

WATTUNE = os.environ.get("WATTUNE_COMMAND", "")
WATTUNED = os.environ.get("WATTUNED_COMMAND", "")
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
SPEC = "h100-sxm-80gb:8"
PATIENCE = 20


def wait_for(what, seconds=PATIENCE):
    """The first true answer of what()."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = what()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def clean(home, **more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WATTUNE_E", "WATTUNE_S", "CUDA_"))}
    return {**kept, "HOME": home, "XDG_DATA_HOME": home, "XDG_STATE_HOME": home, "XDG_RUNTIME_DIR": home, **more}


class Server:
    """One `wattune serve` on a port of its own."""

    def __init__(self, home, *options, env=None):
        self.said = os.path.join(home, f"serve-{time.monotonic_ns()}.err")
        with open(self.said, "w", encoding="utf-8") as err:
            self.process = subprocess.Popen([WATTUNE, "serve", "--listen", "127.0.0.1:0", *options], stderr=err,
                                            stdin=subprocess.DEVNULL, env=env or clean(home))
        try:
            self.url = wait_for(self._url)
        except AssertionError:
            self.process.kill()
            raise
        self.port = int(re.search(r":(\d+)/", self.url).group(1))

    def words(self):
        with open(self.said, encoding="utf-8") as f:
            return f.read()

    def _url(self):
        found = re.search(r"serving (http://\S+)\n", self.words())
        if not found and self.process.poll() is not None:
            raise AssertionError(f"serve ended with {self.process.returncode}: {self.words()}")
        return found and found.group(1)

    def get(self, path, accept=None, method="GET", headers=None, body=None):
        """(status, headers, text)"""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        c.request(method, path, body=body, headers={**({"Accept": accept} if accept else {}), **(headers or {})})
        answer = c.getresponse()
        text = answer.read().decode("utf-8")
        c.close()
        return answer.status, dict(answer.getheaders()), text

    def metrics(self):
        return self.get("/metrics")[2]

    def state(self):
        return json.loads(self.get("/api/state.json")[2])

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


SAMPLE = re.compile(r'^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)$', re.IGNORECASE)
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"(?:,|$)')


def samples(text):
    """{(name, frozenset of labels): value}; a line that is none, or comes twice, fails."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        m = SAMPLE.match(line)
        assert m, line
        labels = dict(LABEL.findall(m.group(2) or ""))
        rest = LABEL.sub("", m.group(2) or "")
        assert rest == "", line
        key = (m.group(1), frozenset(labels.items()))
        assert key not in found, line
        found[key] = float(m.group(3))
    return found


def families():
    """What src/serve/metrics.c can write: {name: (unit, type)}."""
    with open(os.path.join(ROOT, "src/serve/metrics.c"), encoding="utf-8") as f:
        text = f.read()
    prefix = {"FAMILY": "wattune_", "PROCESS": "process_"}
    return {prefix[kind] + name: (unit, type_.lower()) for kind, name, unit, type_ in
            re.findall(r'^(FAMILY|PROCESS)\(\w+, "(\w+)",\s*"(\w*)", (\w+),', text, re.MULTILINE)}


class Page(unittest.TestCase):
    """On eight emulated GPUs that idle."""

    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.mkdtemp()
        cls.server = Server(cls.home, "--emulate", SPEC, "--no-jobs")

    @classmethod
    def tearDownClass(cls):
        code = cls.server.end()
        shutil.rmtree(cls.home, ignore_errors=True)
        assert code == 0, code

    def test_promtool_finds_nothing_to_say(self):
        if not shutil.which("promtool"):
            self.skipTest("there is no promtool here")
        done = subprocess.run(["promtool", "check", "metrics"], input=self.server.metrics(), capture_output=True,
                              text=True, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        done = subprocess.run(["promtool", "check", "metrics"], input="wattune_joule 1\n", capture_output=True,
                              text=True, check=False)
        self.assertNotEqual(done.returncode, 0, "promtool would find something")

    def test_openmetrics_is_as_its_document_says(self):
        status, headers, text = self.server.get("/metrics", OPENMETRICS)
        self.assertEqual(status, 200)
        self.assertEqual(headers["Content-Type"], "application/openmetrics-text; version=1.0.0; charset=utf-8")
        self.assertTrue(text.endswith("\n# EOF\n"))
        known, current, ends = {}, None, {"counter": "_total", "gauge": "", "info": "_info"}
        for line in text.splitlines()[:-1]:
            said = re.match(r"# (HELP|TYPE|UNIT) (\S+) (.+)$", line)
            if said:
                name = said.group(2)
                if name != current:
                    self.assertNotIn(name, known, "a family comes once")
                    known[name], current = {}, name
                known[name][said.group(1)] = said.group(3)
                if said.group(1) == "UNIT":
                    self.assertTrue(name.endswith("_" + said.group(3)), line)
                continue
            name = SAMPLE.match(line).group(1)
            self.assertEqual(name, current + ends[known[current]["TYPE"]], line)
        self.assertGreater(len(known), 20)
        self.assertEqual(set(samples(text.replace("# EOF\n", ""))), set(samples(self.server.metrics())))

    def test_who_prefers_what_gets_it(self):
        for accept, wants in ((None, "text/plain"), ("*/*", "text/plain"), (OPENMETRICS, "application/openmetrics-text"),
                              ("text/plain", "text/plain"), ("application/openmetrics-text;q=0", "text/plain"),
                              ("application/openmetrics-text;q=0.3, text/plain;q=0.9", "text/plain"),
                              (",,;;q=,", "text/plain"), ("application/openmetrics-textile", "text/plain")):
            self.assertTrue(self.server.get("/metrics", accept)[1]["Content-Type"].startswith(wants + ";"), accept)

    def test_counters_never_fall(self):
        before = samples(self.server.metrics())
        time.sleep(1.2)
        after = samples(self.server.metrics())
        self.assertEqual(set(before), set(after))
        rising = 0
        for key, value in before.items():
            if key[0].endswith("_total"):
                self.assertGreaterEqual(after[key], value, key)
                rising += after[key] > value
        self.assertGreaterEqual(rising, 8, "the energies")

    def test_emulated_is_said_everywhere(self):
        for (name, labels), _ in samples(self.server.metrics()).items():
            if "device" in dict(labels):
                self.assertEqual(dict(labels)["provenance"], "emulated", name)
        self.assertEqual(self.server.state()["unreal"], "emulated")

    def test_energy_lies_in_its_bounds(self):
        seen = samples(self.server.metrics())
        energies = {dict(labels)["device"]: value for (name, labels), value in seen.items()
                    if name == "wattune_energy_joules_total"}
        self.assertEqual(len(energies), 8)
        for (name, labels), value in seen.items():
            if name == "wattune_energy_lower_bound_joules":
                self.assertLessEqual(value, energies[dict(labels)["device"]])
            if name == "wattune_energy_upper_bound_joules":
                self.assertGreaterEqual(value, energies[dict(labels)["device"]])
        node = [v for (name, _), v in seen.items() if name == "wattune_node_energy_joules_total"]
        self.assertAlmostEqual(node[0], sum(energies.values()), delta=0.01 * node[0])

    def test_only_get_and_head_of_four_paths(self):
        for path in ("/", "/metrics", "/api/state.json", "/health"):
            status, headers, text = self.server.get(path)
            self.assertEqual((status, bool(text)), (200, True), path)
            status, head, text = self.server.get(path, method="HEAD")
            self.assertEqual((status, text), (200, ""), path)
            self.assertEqual(head["Content-Type"], headers["Content-Type"])
            self.assertIn("default-src 'none'", headers["Content-Security-Policy"])
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            status, headers, _ = self.server.get("/metrics", method=method, body="x" * 100)
            self.assertEqual((status, headers.get("Allow")), (405, "GET, HEAD"), method)
        for path in ("/metric", "/metrics/", "//", "/../etc/passwd", "/api", "/%2e"):
            self.assertEqual(self.server.get(path)[0], 404, path)
        self.assertEqual(self.server.get("/metrics?x=1")[0], 200)

    def test_a_connection_is_kept(self):
        c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        for _ in range(3):
            c.request("GET", "/health")
            answer = c.getresponse()
            self.assertEqual((answer.status, answer.read()), (200, b"ok\n"))
            self.assertFalse(answer.will_close)
        c.close()

    def test_another_name_for_the_loopback_is_refused(self):
        for host, wants in (("localhost", 200), ("127.0.0.1:9836", 200), ("[::1]:9836", 200), ("LOCALHOST:1", 200),
                            ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("[evil]:80", 421), ("", 421),
                            ("x" * 300, 421)):
            self.assertEqual(self.server.get("/api/state.json", headers={"Host": host})[0], wants, host)

    def test_what_is_no_request_is_refused(self):
        # What the answer begins with, where it gets here: the connection is closed over what was not read.
        for data, wants in ((b"GET /" + b"a" * 60000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 414"),
                            (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: " + b"b" * 60000 + b"\r\n\r\n",
                             b"HTTP/1.1 431"),
                            (b"\x00\xff\x16\x03\x01" * 50 + b"\r\n\r\n", b""), (b"nonsense\r\n\r\n", b"")):
            with socket.create_connection(("127.0.0.1", self.server.port), timeout=15) as s:
                got = b""
                with contextlib.suppress(OSError):
                    s.sendall(data)
                    s.shutdown(socket.SHUT_WR)
                    while chunk := s.recv(4096):
                        got += chunk
                self.assertTrue(not got or got.startswith(wants or b"HTTP/1.1 4"), got[:80])
        self.assertEqual(self.server.get("/health")[0], 200)

    def test_two_hundred_half_open_connections_keep_nobody_waiting(self):
        with contextlib.ExitStack() as stack:
            peers = []
            for i in range(200):
                s = stack.enter_context(socket.create_connection(("127.0.0.1", self.server.port), timeout=20))
                s.sendall(b"GET /metrics HTTP/1.1\r\nHost: loc" if i % 2 else b"")
                peers.append(s)
            t = time.monotonic()
            self.assertEqual(self.server.get("/metrics")[0], 200)
            self.assertLess(time.monotonic() - t, 8)  # before the first of them is closed
            # Those that stay silent are closed.
            t = time.monotonic()
            for s in peers:
                with contextlib.suppress(OSError):
                    while s.recv(4096):
                        pass
            self.assertLess(time.monotonic() - t, 15)

    def test_two_hundred_at_once_are_answered(self):
        answers = []

        def ask():
            answers.append(self.server.get("/metrics")[0])
        threads = [threading.Thread(target=ask) for _ in range(200)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(answers, [200] * 200)

    def test_a_port_in_use_is_said(self):
        done = subprocess.run([WATTUNE, "serve", "--emulate", "v100-pcie-32gb", "--listen",
                               f"127.0.0.1:{self.server.port}"], capture_output=True, text=True, check=False,
                              env=clean(self.home))
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"127.0.0.1:{self.server.port}: the port is in use", done.stderr)
        self.assertIn("--listen with another port", done.stderr)

    def test_the_series_stay_under_the_documented_bound(self):
        with open(os.path.join(ROOT, "docs/serve.md"), encoding="utf-8") as f:
            doc = re.sub(r"\s+", " ", f.read())
        device, beside, job = map(int, re.search(r"At most (\d+) a device, (\d+) beside them, and (\d+) a job",
                                                 doc).groups())
        node, thousand = re.search(r"8 jobs has at most ([\d,]+), a thousand such nodes ([\d,]+),", doc).groups()
        self.assertEqual(int(node), 8 * device + beside + 8 * job)
        self.assertEqual(int(thousand.replace(",", "")), 1000 * int(node))
        counts = {}
        for _, labels in samples(self.server.metrics()):
            key = dict(labels).get("device", "")
            counts[key] = counts.get(key, 0) + 1
        self.assertLessEqual(counts.pop(""), beside)
        self.assertEqual(len(counts), 8)
        for key, count in counts.items():
            self.assertLessEqual(count, device, key)

    def test_a_real_prometheus_scrapes_it(self):
        if not shutil.which("prometheus"):
            self.skipTest("there is no prometheus here")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        config = os.path.join(self.home, "prometheus.yml")
        with open(config, "w", encoding="utf-8") as f:
            f.write("global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: wattune\n"
                    f"    static_configs: [{{targets: ['127.0.0.1:{self.server.port}']}}]\n")
        with open(os.path.join(self.home, "prometheus.log"), "w", encoding="utf-8") as log:
            process = subprocess.Popen(["prometheus", f"--config.file={config}",
                                        f"--storage.tsdb.path={self.home}/tsdb",
                                        f"--web.listen-address=127.0.0.1:{port}"], stderr=log, stdout=log)
        try:
            def ask(query):
                with contextlib.suppress(OSError):
                    url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}"
                    with urllib.request.urlopen(url, timeout=5) as answer:
                        return json.load(answer)["data"]["result"]
                return []
            wait_for(lambda: [r for r in ask("up") if r["value"][1] == "1"])
            energies = wait_for(lambda: ask("wattune_energy_joules_total"))
            self.assertEqual(len(energies), 8)
            self.assertEqual({r["metric"]["provenance"] for r in energies}, {"emulated"})
            rate = wait_for(lambda: ask("irate(wattune_node_energy_joules_total[10s])"))
            now = float(ask("wattune_node_power_watts")[0]["value"][1])
            self.assertAlmostEqual(float(rate[0]["value"][1]), now, delta=0.5 * now)
        finally:
            process.terminate()
            process.wait(PATIENCE)

    def test_the_page_in_chromium_shows_the_values_and_complains_of_nothing(self):
        if not shutil.which("chromium"):
            self.skipTest("there is no chromium here")
        for width in (1200, 390):
            done = subprocess.run(
                ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 "--disable-component-update", "--no-first-run", f"--user-data-dir={self.home}/chromium",
                 f"--window-size={width},900", "--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom",
                 self.server.url], capture_output=True, text=True, check=False, timeout=90,
                env=clean(self.home, XDG_CONFIG_HOME=self.home, XDG_CACHE_HOME=self.home))
            dom = re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)
            self.assertEqual([line for line in done.stderr.splitlines() if "CONSOLE" in line], [])
            self.assertIn("EMULATED h100-sxm-80gb:8: no real device is measured", dom)
            for i in range(8):
                self.assertRegex(dom, rf">GPU {i}<")
            self.assertRegex(dom, r'id="power">\d[\d,.]* (W|kW)<')
            self.assertRegex(dom, r'id="today">\d[\d,.]* (J|kJ)<')
            self.assertRegex(dom, r"\[[\d.,]+, [\d.,]+\] emulated")
            self.assertEqual(len(re.findall(r'class="plot"', dom)), 8)
            self.assertNotRegex(dom, r"NaN|undefined|\bnull\b")

    def test_the_page_asks_for_nothing_from_elsewhere(self):
        text = self.server.get("/")[2]
        self.assertEqual(re.findall(r"https?://[^\s\"'<)]+", text), ["http://www.w3.org/2000/svg"])
        self.assertNotRegex(text, r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b")
        nonce = set(re.findall(r'nonce="([0-9a-f]{32})"', text))
        self.assertEqual(len(nonce), 1)
        self.assertNotEqual(nonce, set(re.findall(r'nonce="([0-9a-f]{32})"', self.server.get("/")[2])))


class Whole(unittest.TestCase):
    """With wattuned, leases, jobs and a central store that is not there."""

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("wattuned's own emulation takes root")
        cls.home = tempfile.mkdtemp()
        # What was started is ended also when the rest of this fails.
        cls.addClassCleanup(shutil.rmtree, cls.home, True)
        policy, facts = os.path.join(cls.home, "policy"), os.path.join(cls.home, "facts")
        os.mkdir(facts)
        with open(policy, "w", encoding="utf-8") as f:
            f.write("allow everyone on all set power from 200 W\nallow everyone on all set clock,memclock\n")
        cls.daemon = subprocess.Popen([WATTUNED, "--emulate", SPEC, "--policy", policy, "--state-dir",
                                       os.path.join(cls.home, "state"), "--socket", os.path.join(cls.home, "sock")],
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=clean(cls.home))
        cls.addClassCleanup(cls.stop, cls.daemon)
        names = {}
        while "WATTUNE_NVML" not in names or "WATTUNE_EMULATION_SPEC" not in names or "LD_LIBRARY_PATH" not in names:
            line = cls.daemon.stdout.readline()
            if not line:
                break
            found = re.match(r"export (\w+)='(.*)'$", line)
            if found:
                names[found.group(1)] = found.group(2)
        cls.env = {**clean(cls.home), **names, "WATTUNE_SOCKET": os.path.join(cls.home, "sock")}
        wait_for(lambda: os.path.exists(os.path.join(cls.home, "sock")))
        now = time.time_ns()
        for job, user, gpus, name, cap in ((7, "ada", "0,1", '</script><b>"x"&amp;\\', "cap_set_mw=450000\n"),
                                           (8, "grace", "2", "gpt2", ""), (9, "kay", "3", "late", "")):
            with open(os.path.join(facts, str(job)), "w", encoding="utf-8") as f:
                f.write(f"job={job}\nuid=0\nuser={user}\naccount=ml\npartition=gpu\nname={name}\ncluster=c\n"
                        f"gpus={gpus}\nnodes=1\n{cap}begin_ns={now + job}\n")
        cls.holders = [subprocess.Popen([WATTUNE, "set", setting, "--gpu", gpu, "--for", "300s"],
                                        stderr=subprocess.DEVNULL, env=cls.env)
                       for setting, gpu in (("power=450", "0"), ("clock=1200", "1"), ("memclock=2619", "2"))]
        for holder in cls.holders:
            cls.addClassCleanup(cls.stop, holder)
        cls.server = Server(cls.home, "--jobs", facts, "--store", os.path.join(cls.home, "jobs.db"), "--push",
                            "postgresql://127.0.0.1:1/none", "--node", "n1", "--cluster", "c", "--jobs-listed", "2",
                            "--hpc-job-mapping", os.path.join(cls.home, "mapping"), "--period", "50ms", env=cls.env)
        assert wait_for(lambda: len(cls.server.state()["leases"]) == len(cls.holders)), "not all is held"

    @classmethod
    def tearDownClass(cls):
        code = cls.server.end()
        assert code == 0, code

    @staticmethod
    def stop(process):
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        if process.stdout:
            process.stdout.close()

    def seen(self):
        # A lease is listed before its value is on the device, and has no value till then.
        return wait_for(lambda: (s := samples(self.server.metrics())) and
                        sum(name in ("wattune_lease_power_watts", "wattune_lease_clock_hertz")
                            for name, _ in s) == 3 and
                        s.get(("wattune_leases", frozenset())) == 3 and
                        any(name == "wattune_job_energy_joules_total" for name, _ in s) and s)

    def test_each_metric_is_documented_and_there(self):
        known = families()
        with open(os.path.join(ROOT, "docs/serve.md"), encoding="utf-8") as f:
            rows = {name: (unit.strip(), type_.strip()) for name, type_, unit in
                    re.findall(r"^\| `(\w+)` \| (\w+) \| (\w*) ?\|", f.read(), re.MULTILINE)}
        self.assertGreater(len(known), 30)
        self.assertEqual(rows, known)
        self.assertEqual({name for name, _ in self.seen()}, set(known))
        self.assertEqual(self.labels(), {name: labels for name, labels in self.documented().items() if labels})
        if shutil.which("promtool"):
            done = subprocess.run(["promtool", "check", "metrics"], input=self.server.metrics(), capture_output=True,
                                  text=True, check=False)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def labels(self):
        """{metric: its labels beside those of a device}, of those that have any."""
        found = {}
        for name, labels in self.seen():
            keys = set(dict(labels))
            found.setdefault(name, set()).update(
                keys - {"device", "kind", "model", "provenance"} if "device" in keys else keys)
        return {name: keys for name, keys in found.items() if keys}

    @staticmethod
    def documented():
        found, last = {}, set()
        with open(os.path.join(ROOT, "docs/serve.md"), encoding="utf-8") as f:
            for name, cell in re.findall(r"^\| `(\w+)` \| \w+ \| \w* ?\|([^|]*)\|", f.read(), re.MULTILINE):
                last = last if cell.strip() == "as above" else set(re.findall(r"`(\w+)`", cell))
                found[name] = last
        return found

    def test_leases_are_what_wattuned_holds(self):
        seen = self.seen()
        self.assertEqual(seen[("wattune_wattuned_up", frozenset())], 1)
        by = {(name, dict(labels).get("clock")): v for (name, labels), v in seen.items() if "_lease_" in name}
        self.assertEqual(by[("wattune_lease_power_watts", None)], 450)
        self.assertEqual(by[("wattune_lease_clock_hertz", "core")], 1200e6)
        self.assertEqual(by[("wattune_lease_clock_hertz", "memory")], 2619e6)
        leases = self.server.state()["leases"]
        self.assertEqual(sorted((l["device"], l["knob"], l["value"]) for l in leases),
                         [("GPU 0", "power", "450 W"), ("GPU 1", "clock", "1200 MHz"),
                          ("GPU 2", "memclock", "2619 MHz")])
        self.assertEqual({l["pid"] for l in leases}, {p.pid for p in self.holders})

    def test_jobs_beyond_the_number_listed_are_counted(self):
        seen = self.seen()
        jobs = {dict(labels)["slurm_job"] for name, labels in seen if name == "wattune_job_energy_joules_total"}
        self.assertEqual(jobs, {"7", "8"}, "the oldest")
        self.assertEqual(seen[("wattune_jobs", frozenset())], 3)
        self.assertEqual(seen[("wattune_jobs_dropped_total", frozenset())], 1)
        caps = {dict(labels)["slurm_job"]: v for (name, labels), v in seen.items()
                if name == "wattune_job_power_cap_watts"}
        self.assertEqual(caps, {"7": 450})

    def test_jobs_and_idle_are_the_energy(self):
        seen = self.seen()
        used, idle = ({dict(labels)["device"]: v for (name, labels), v in seen.items()
                       if name == "wattune_attributed_energy_joules_total" and dict(labels)["use"] == use}
                      for use in ("jobs", "idle"))
        info = {dict(labels)["index"]: dict(labels)["device"] for name, labels in seen
                if name == "wattune_device_info"}
        for i in "0123":
            self.assertGreater(used[info[i]], 0)
        for i in "4567":
            self.assertEqual(used[info[i]], 0)
            self.assertGreater(idle[info[i]], 0)

    def test_a_users_text_is_text(self):
        self.seen()
        state = self.server.state()
        self.assertIn('</script><b>"x"&amp;\\', [j["name"] for j in state["jobs"]])
        if not shutil.which("chromium"):
            self.skipTest("there is no chromium here")
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-component-update", "--no-first-run", f"--user-data-dir={self.home}/chromium",
             "--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom", self.server.url],
            capture_output=True, text=True, check=False, timeout=90,
            env=clean(self.home, XDG_CONFIG_HOME=self.home, XDG_CACHE_HOME=self.home))
        self.assertIn('&lt;/script&gt;&lt;b&gt;"x"&amp;amp;\\', done.stdout)
        self.assertIn("power 450 W", done.stdout)
        self.assertIn("and 1 more", done.stdout)
        self.assertEqual([line for line in done.stderr.splitlines() if "CONSOLE" in line], [])


class Alone(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.home, True)

    def server(self, *options, env=None):
        s = Server(self.home, *options, env=env)
        self.addCleanup(s.end)
        return s

    def test_what_is_unknown_is_absent(self):
        s = self.server("--emulate", "v100-pcie-32gb:2", "--fault", "lost@2s:gpu=1", "--no-jobs")

        def lost():
            seen = samples(s.metrics())
            powers = [v for (name, _), v in seen.items() if name == "wattune_power_watts"]
            return seen if len(powers) == 1 else None
        seen = wait_for(lost)
        self.assertGreater(seen[("wattune_sensor_read_failures_total", frozenset())], 0)
        gone = [dict(labels) for name, labels in seen if name == "wattune_device_info" and dict(labels)["index"] == "1"]
        self.assertFalse([name for (name, labels), v in seen.items() if dict(labels).get("device") ==
                          gone[0]["device"] and name == "wattune_power_watts"])
        self.assertFalse([name for name, _ in seen if name.startswith("wattune_node_power")], "not half of it")

    def test_a_recording_says_so(self):
        machines = os.path.join(ROOT, "machines")
        name = sorted(d for d in os.listdir(machines) if os.path.isfile(os.path.join(machines, d, "machine.txt")))[0]
        s = self.server("--sysroot", os.path.join(machines, name))
        self.assertEqual(s.state()["unreal"], "replayed")
        for (name, labels), _ in samples(s.metrics()).items():
            if "device" in dict(labels):
                self.assertIn(dict(labels)["provenance"], ("replayed", "modeled", "unknown"), name)

    def test_a_sensor_command_is_a_device(self):
        s = self.server("--sensor-command", "1s:echo 123 W", "--no-jobs")
        powers = wait_for(lambda: [v for (name, labels), v in samples(s.metrics()).items()
                                   if name == "wattune_power_watts" and v == 123])
        self.assertEqual(len(powers), 1)

    def test_only_the_gpus_asked_for(self):
        s = self.server("--emulate", SPEC, "--gpu", "1,3", "--no-jobs")
        self.assertEqual([d["title"] for d in s.state()["devices"]], ["GPU 1", "GPU 3"])

    def jobs(self):
        """A folder of facts with a job that has ended, and a store."""
        facts = os.path.join(self.home, "facts")
        os.mkdir(facts)
        now = time.time_ns()
        with open(os.path.join(facts, "7"), "w", encoding="utf-8") as f:
            f.write(f"job=7\nuid=0\nuser=ada\ncluster=c\ngpus=0\nnodes=1\nbegin_ns={now - 10**9}\nend_ns={now}\n")
        return facts, os.path.join(self.home, "jobs.db")

    def test_one_store_has_one_serve(self):
        facts, store = self.jobs()
        s = self.server("--emulate", "v100-pcie-32gb", "--jobs", facts, "--store", store)
        done = subprocess.run([WATTUNE, "serve", "--listen", "127.0.0.1:0", "--emulate", "v100-pcie-32gb", "--jobs",
                               facts, "--store", store], capture_output=True, text=True, check=False,
                              timeout=PATIENCE, env=clean(self.home))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(f"process {s.process.pid} keeps the energy of jobs there", done.stderr)
        self.assertIn("--no-jobs", done.stderr)
        self.assertIn(("wattune_jobs", frozenset()), samples(s.metrics()))

    def test_a_port_in_use_leaves_the_jobs_alone(self):
        facts, store = self.jobs()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            done = subprocess.run([WATTUNE, "serve", "--listen", f"127.0.0.1:{taken.getsockname()[1]}", "--emulate",
                                   "v100-pcie-32gb", "--jobs", facts, "--store", store], capture_output=True,
                                  text=True, check=False, timeout=PATIENCE, env=clean(self.home))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(os.listdir(facts), ["7"], "not taken, and nobody waits for its energy")

    def test_a_store_that_fails_does_not_stop_the_metrics(self):
        facts, store = self.jobs()
        with open(store, "w", encoding="utf-8") as f:
            f.write("this is no database\n" * 100)
        s = self.server("--emulate", "v100-pcie-32gb", "--jobs", facts, "--store", store)
        self.assertIn(store, s.words())
        seen = samples(s.metrics())
        self.assertIn("wattune_power_watts", {name for name, _ in seen})
        self.assertNotIn(("wattune_jobs", frozenset()), seen, "not known is not 0")
        self.assertEqual([store in p["why"] for p in s.state()["problems"] if p["what"] == "jobs"], [True])
        os.remove(store)
        wait_for(lambda: ("wattune_jobs", frozenset()) in samples(s.metrics()))
        wait_for(lambda: "7" not in os.listdir(facts))
        self.assertFalse([p for p in s.state()["problems"] if p["what"] == "jobs"])

    def test_it_tells_systemd_and_ends_cleanly(self):
        path = os.path.join(self.home, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            s.settimeout(PATIENCE)
            server = self.server("--emulate", "v100-pcie-32gb", "--no-jobs",
                                 env=clean(self.home, NOTIFY_SOCKET=path, WATCHDOG_USEC="1000000"))
            got = s.recv(4096).decode()
            self.assertTrue(got.startswith("READY=1"), got)
            self.assertIn(server.url, got)
            self.assertEqual(s.recv(4096), b"WATCHDOG=1")
            t = time.monotonic()
            self.assertEqual(server.end(), 0)
            self.assertLess(time.monotonic() - t, 3)
            last = b""
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    last = s.recv(4096)
            self.assertEqual(last, b"STOPPING=1")

    def test_without_the_library_it_says_what_to_install(self):
        folder = os.path.join(self.home, "lib")
        os.mkdir(folder)
        with open(os.path.join(folder, "libmicrohttpd.so.12"), "w", encoding="utf-8"):
            pass
        done = subprocess.run([WATTUNE, "serve", "--no-jobs", "--listen", "127.0.0.1:0"], capture_output=True,
                              text=True, check=False, env=clean(self.home, LD_LIBRARY_PATH=folder))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("libmicrohttpd.so.12", done.stderr)
        self.assertIn("install libmicrohttpd12", done.stderr)

    def test_wrong_usage(self):
        for options, words in ((["--listen", "nonsense"], "is no ADDRESS:PORT"), (["--listen", "127.0.0.1:99999"], "is no"),
                               (["--listen", "::1:80"], "is no ADDRESS:PORT"), (["--listen", "192.0.2.1:1"], "no interface"),
                               (["--period", "1us"], "wattune serve"), (["--jobs-listed", "0"], "from 1 to 1024"),
                               (["--jobs-listed", "1.5"], "from 1 to 1024"), (["extra"], "takes no argument"),
                               (["--no-jobs", "--store", "x"], "--no-jobs goes with none"),
                               (["--fault", "lost@1s"], "--fault needs --emulate")):
            emulated = [] if "--fault" in options else ["--emulate", "v100-pcie-32gb"]
            done = subprocess.run([WATTUNE, "serve", *emulated, *options], capture_output=True, text=True, check=False,
                                  timeout=PATIENCE, env=clean(self.home))
            self.assertEqual(done.returncode, 2, (options, done.stderr))
            self.assertIn(words, done.stderr)
        done = subprocess.run([WATTUNE, "serve", "--help"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0)

    def test_the_dashboard_uses_metrics_there_are(self):
        with open(os.path.join(ROOT, "integrations/grafana/wattune.json"), encoding="utf-8") as f:
            doc = json.load(f)
        known, used = families(), set()
        expressions = [t["expr"] for p in doc["panels"] for t in p["targets"]]
        expressions += [v["query"]["query"] for v in doc["templating"]["list"] if v["type"] == "query"]
        for e in expressions:
            names = set(re.findall(r"\b(?:wattune|process)_\w+", e))
            self.assertTrue(names, e)
            self.assertEqual(names - set(known), set(), e)
            used |= names
            for name in names:
                if re.search(rf"(?:rate|increase)\({name}\b", e):
                    self.assertEqual(known[name][1], "counter", e)
        self.assertGreater(len(used), 12)
        ids = [p["id"] for p in doc["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        for p in doc["panels"]:
            self.assertLessEqual(p["gridPos"]["x"] + p["gridPos"]["w"], 24, p["title"])
        if shutil.which("promtool"):
            # Prometheus' own parser, by way of rules made of the expressions.
            rules = os.path.join(self.home, "rules.yml")
            with open(rules, "w", encoding="utf-8") as f:
                json.dump({"groups": [{"name": "g", "rules": [
                    {"record": f"r:{i}x", "expr": e.replace("$__rate_interval", "5m")}
                    for i, e in enumerate(e for e in expressions if not e.startswith("label_values"))]}]}, f)
            done = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    if not WATTUNE or not WATTUNED:
        cases.skip("WATTUNE_COMMAND and WATTUNED_COMMAND name what is tested; meson sets them")
    raise SystemExit(cases.main())
