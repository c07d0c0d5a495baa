#!/usr/bin/env python3
"""wattune top, on a terminal and without one.

usage: test_cli_top.py [CASE...], with WATTUNE_COMMAND set (meson does)
"""
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import time
import unittest

import cases

WATTUNE = os.environ.get("WATTUNE_COMMAND", "")
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EMULATED = ["--emulate", "h100-sxm-80gb:8"]
PATIENCE = 20


def clean(home, **more):
    kept = {k: v for k, v in os.environ.items()
            if not k.startswith(("WATTUNE_E", "WATTUNE_S", "CUDA_", "COLUMNS", "LINES", "LC_", "LANG"))}
    return {**kept, "HOME": home, "XDG_DATA_HOME": home, "XDG_RUNTIME_DIR": home, "TERM": "xterm", "LC_ALL": "C.UTF-8",
            **more}


class Screen:
    """top on a terminal of its own."""

    def __init__(self, home, *options, columns=80, rows=24, stdin=None, **env):
        self.master, slave = pty.openpty()
        self.size(columns, rows)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.out = ""
        self.process = subprocess.Popen([WATTUNE, "top", *EMULATED, *options], stdin=stdin or slave, stdout=slave,
                                        stderr=subprocess.PIPE, env=clean(home, **env), start_new_session=True)

    def size(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and select.select([self.master], [], [], left)[0]:
            self.out += os.read(self.master, 65536).decode("utf-8", "replace")

    def expect(self, pattern):
        until = time.monotonic() + PATIENCE
        while not re.search(pattern, self.out):
            assert time.monotonic() < until, (pattern, self.out[-3000:])
            self.read(0.1)

    def press(self, keys):
        self.out = ""
        os.write(self.master, keys.encode())

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end(self):
        code = self.process.wait(PATIENCE)
        self.read(0.2)
        self.process.stderr.close()
        after = termios.tcgetattr(self.slave)
        os.close(self.slave)
        os.close(self.master)
        return code, after == self.before


class Top(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.home, True)

    def once(self, *options, **env):
        return subprocess.run([WATTUNE, "top", *options], capture_output=True, text=True, check=False,
                              env=clean(self.home, **env), timeout=60)

    def test_a_daemon_that_never_answers_is_said_and_is_no_success(self):
        path = os.path.join(self.home, "sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
            silent.bind(path)
            silent.listen()
            done = self.once(*EMULATED, "--once", "--interval", "100ms", WATTUNE_SOCKET=path)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("\nGPU 7 ", done.stdout)  # what is known is shown all the same
        self.assertIn("wattuned has not answered for 3 s", done.stdout)
        self.assertIn("wattuned has not answered for 3 s: what it holds is not known", done.stderr)
        done = self.once(*EMULATED, "--once", "--interval", "100ms", WATTUNE_SOCKET=path)  # nobody listens there
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)

    def test_one_frame_of_plain_text(self):
        for options in (["--once"], []):  # without a terminal it is one frame anyway
            done = self.once(*EMULATED, *options)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("EMULATED h100-sxm-80gb:8: no real device is measured", done.stdout)
            for i in range(8):
                self.assertRegex(done.stdout, rf"(?m)^GPU {i} +\d+ W \[█*·*\] +700 W +\d+ C  [\d.]+ J \[[\d.]+, "
                                              r"[\d.]+\] +emulated$")
            self.assertNotIn("\033", done.stdout)
            self.assertLessEqual(max(map(len, done.stdout.splitlines())), 80)

    def test_an_interval_stays_at_any_width(self):
        for width in (24, 40, 60, 75, 76, 100, 200):
            done = self.once(*EMULATED, "--once", COLUMNS=str(width))
            lines = done.stdout.splitlines()
            self.assertLessEqual(max(map(len, lines)), width)
            self.assertGreaterEqual(len(re.findall(r"\[[\d.]+, [\d.]+\]", done.stdout)), 9 if width >= 40 else 8, width)

    def test_ascii_where_the_locale_is(self):
        done = self.once(*EMULATED, "--once", LC_ALL="C")
        self.assertTrue(done.stdout.isascii())
        self.assertRegex(done.stdout, r"\[#*\.+\]")

    def test_sorted_as_asked(self):
        for word in ("device", "power", "energy", "temperature"):
            done = self.once("--emulate", "v100-pcie-32gb,h100-sxm-80gb", "--once", "--sort", word)
            self.assertEqual(done.returncode, 0)
            order = re.findall(r"(?m)^(GPU \d) ", done.stdout)
            watts = [int(w) for w in re.findall(r"(?m)^GPU \d +(\d+) W", done.stdout)]
            if word == "device":
                self.assertEqual(order, ["GPU 0", "GPU 1"])
            if word == "power":
                self.assertEqual(watts, sorted(watts, reverse=True))

    def test_what_is_unknown_is_not_a_number(self):
        done = self.once("--emulate", "v100-pcie-32gb:2", "--fault", "lost@2s:gpu=1", "--once", "--interval", "5s")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"(?m)^GPU 1 +\? ")
        self.assertRegex(done.stdout, r"(?m)^total  \?, unknown")

    def test_the_beds_options(self):
        done = self.once(*EMULATED, "--once", "--gpu", "2")
        self.assertEqual(re.findall(r"(?m)^(GPU \d) ", done.stdout), ["GPU 2"])
        done = self.once("--sensor-command", "1s:echo 123 W", "--once")
        self.assertRegex(done.stdout, r"(?m)^node .* 123 W ")
        machines = os.path.join(ROOT, "machines")
        name = sorted(d for d in os.listdir(machines) if os.path.isfile(os.path.join(machines, d, "machine.txt")))[0]
        done = self.once("--sysroot", os.path.join(machines, name), "--once")
        self.assertIn("REPLAYED", done.stdout)

    def test_wrong_usage(self):
        for options, words in ((["--sort", "colour"], "--sort colour"), (["--interval", "1ms"], "between 100ms and 60s"),
                               (["x"], "takes no argument"), (["--fault", "lost@1s"], "--fault needs --emulate")):
            done = self.once(*options)
            self.assertEqual(done.returncode, 2)
            self.assertIn(words, done.stderr)
        self.assertEqual(self.once("--help").returncode, 0)

    def screen(self, *options, **more):
        s = Screen(self.home, *options, **more)
        self.addCleanup(s.kill)
        return s

    def test_a_terminal_that_goes_ends_it(self):
        s = self.screen()
        s.expect("GPU 7")
        os.close(s.slave)
        os.close(s.master)
        self.assertEqual(s.process.wait(PATIENCE), 0)
        s.process.stderr.close()

    def test_without_keys_it_goes_on(self):
        s = self.screen(stdin=subprocess.DEVNULL)
        s.expect("GPU 7")
        with open(f"/proc/{s.process.pid}/stat", encoding="utf-8") as f:
            before = sum(map(int, f.read().rpartition(")")[2].split()[11:13]))
        s.read(2)
        with open(f"/proc/{s.process.pid}/stat", encoding="utf-8") as f:
            ticks = sum(map(int, f.read().rpartition(")")[2].split()[11:13])) - before
        self.assertLess(ticks, 50, "it does not spin")
        s.process.terminate()
        self.assertEqual(s.end()[0], 128 + signal.SIGTERM)

    def test_keys(self):
        s = self.screen()
        s.expect("GPU 7")
        s.press("h")
        s.expect(r"keys \(sorted by device\)")
        s.press("p")
        s.expect(r"power")
        s.press("h")
        s.expect("GPU 0")
        s.press("q")
        self.assertEqual(s.end(), (0, True))
        self.assertIn("\033[?1049l", s.out, "the screen before it is back")

    def test_a_new_size_is_followed(self):
        s = self.screen(columns=80, rows=24)
        s.expect(r"energy since start")
        s.out = ""
        s.size(40, 12)
        s.expect(r"limit +temp")
        s.read(1.2)
        s.press("\033OB" * 10 + "j" * 20)  # down: lines that did not fit
        s.read(0.5)
        s.press("\f")  # all of the screen, not what has changed
        s.expect("GPU 7")
        self.assertNotIn("GPU 0", s.out)
        s.size(200, 50)
        s.expect("energy since start")
        s.press("q")
        self.assertEqual(s.end(), (0, True))

    def test_signals_put_the_terminal_back(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            s = self.screen()
            s.expect("GPU 7")
            s.process.send_signal(number)
            self.assertEqual(s.end(), (128 + number, True))
            self.assertIn("\033[?1049l", s.out)

    def test_ctrl_c_ends_it(self):
        s = self.screen()
        s.expect("GPU 7")
        s.process.send_signal(signal.SIGINT)
        self.assertEqual(s.end()[1], True)

    def test_a_terminal_that_is_none_is_said(self):
        s = self.screen(TERM="no-such-terminal")
        said = s.process.stderr.read().decode()
        self.assertIn('no screen can be drawn on a terminal "no-such-terminal"', said)
        self.assertIn("--once", said)
        self.assertEqual(s.end(), (4, True))


if __name__ == "__main__":
    if not WATTUNE:
        cases.skip("WATTUNE_COMMAND names what is tested; meson sets it")
    raise SystemExit(cases.main())
