#!/usr/bin/env python3
"""The Python door: each case runs a small program under the built command, alone, or as several
ranks, and looks at what was measured.

usage: test_python.py [CASE...], with WATTUNE_COMMAND, WATTUNE_LIBRARY and PYTHONPATH set (meson does)
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

import cases

WATTUNE = os.environ.get("WATTUNE_COMMAND", "")
EMULATED = [WATTUNE, "emulate", "v100-pcie-32gb", "--"]

# Stand-ins for what is not on this machine, with the call order that their documents give.
TRANSFORMERS = '''
class TrainerCallback:
    def on_train_begin(self, args, state, control, **kwargs): pass
    def on_epoch_begin(self, args, state, control, **kwargs): pass
    def on_step_begin(self, args, state, control, **kwargs): pass
    def on_substep_end(self, args, state, control, **kwargs): pass
    def on_step_end(self, args, state, control, **kwargs): pass
    def on_log(self, args, state, control, **kwargs): pass
    def on_epoch_end(self, args, state, control, **kwargs): pass
    def on_train_end(self, args, state, control, **kwargs): pass

class State:
    global_step, num_input_tokens_seen, is_local_process_zero = 0, 0, True
    def __init__(self): self.log_history = []

class Args:
    world_size, process_index = 1, 0

def train(callback, args, epochs, steps, substeps, tokens, state=None, fails=False):
    """Tokens of all ranks are added up before each micro-batch."""
    state = state or State()
    callback.on_train_begin(args, state, None, model=None)
    for epoch in range(epochs):
        callback.on_epoch_begin(args, state, None, model=None)
        for step in range(steps):
            for substep in range(substeps):
                state.num_input_tokens_seen += tokens * args.world_size
                if substep == 0:
                    callback.on_step_begin(args, state, None, model=None)
                if fails:
                    raise RuntimeError("CUDA out of memory")
                if substep < substeps - 1:
                    callback.on_substep_end(args, state, None, model=None)
            state.global_step += 1
            callback.on_step_end(args, state, None, model=None)
            callback.on_log(args, state, None, logs={"loss": 1.5, "epoch": epoch}, model=None)
        callback.on_epoch_end(args, state, None, model=None)
    callback.on_log(args, state, None, logs={"train_runtime": 1.0}, model=None)
    callback.on_train_end(args, state, None, model=None)
    return state
'''
LIGHTNING = '''
class Callback:
    def on_train_start(self, trainer, pl_module): pass
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx): pass
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx): pass
    def on_exception(self, trainer, pl_module, exception): pass
    def on_train_end(self, trainer, pl_module): pass
'''
TRAINER = '''
class Logger:
    def __init__(self): self.seen = []
    def log_metrics(self, metrics, step=None): self.seen.append((metrics, step))

class Trainer:
    def __init__(self): self.global_step, self.loggers = 0, [Logger()]
    def fit(self, callback, batches, accumulate=1, fails=False):
        try:
            callback.on_train_start(self, None)
            for i in range(batches):
                callback.on_train_batch_start(self, None, [0] * 8, i)
                if fails:
                    raise KeyError("label")
                self.global_step += (i + 1) % accumulate == 0
                callback.on_train_batch_end(self, None, None, [0] * 8, i)
            callback.on_train_end(self, None)
        except KeyError as why:
            callback.on_exception(self, None, why)
            raise
'''


class PythonDoor(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="wattune-test-")
        self.addCleanup(shutil.rmtree, self.home)

    def write(self, path, text):
        path = os.path.join(self.home, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def python(self, script, before=(), env=None, code=0):
        """Runs the script below the commands in `before`; it ends with `code`."""
        names = {"HOME", "PATH", "WATTUNE_LIBRARY", "LD_LIBRARY_PATH", "LC_ALL"}
        clean = {name: value for name, value in os.environ.items() if name in names}
        path = os.pathsep.join([self.home, os.environ["PYTHONPATH"]])
        clean.update(HOME=self.home, XDG_DATA_HOME=self.home, XDG_RUNTIME_DIR=self.home)
        clean.update({"PYTHONPATH": path, "LC_ALL": "C.UTF-8", "WATTUNE_NVML": "/nonexistent"})
        if "emulate" in before or "--emulate" in before:
            del clean["WATTUNE_NVML"]
        clean.update(env or {})
        done = subprocess.run(
            [*before, sys.executable, "-c", textwrap.dedent(script)],
            env=clean, cwd=self.home, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def run_document(self, script, env=None, code=0, options=()):
        path = os.path.join(self.home, "run.json")
        done = self.python(
            script, [WATTUNE, "run", "--quiet", f"--json={path}", *options, "--"], env, code
        )
        with open(path, encoding="utf-8") as f:
            document = json.load(f)
        document["phase"] = {phase["name"]: phase for phase in document["phases"]}
        document["said"] = done.stdout + done.stderr
        return document

    # ---- under wattune run ----

    def test_a_window_under_run_is_a_phase_a_step_and_its_tokens(self):
        run = self.run_document("""
            import wattune
            for i in range(5):
                with wattune.window("step", tokens=7) as step:
                    with wattune.window("forward"):
                        pass
                    step.work = 9 if i == 4 else step.work
            assert step.result is None and step.seconds > 0
            wattune.count(1000, steps=2)
            wattune.value("loss", 2.5)
            """)
        self.assertEqual(run["said"], "")
        self.assertEqual(run["work"]["steps"], 7)
        self.assertEqual((run["work"]["unit"], run["work"]["count"]), ("tokens", 4 * 7 + 9 + 1000))
        self.assertEqual(run["phase"]["step"]["count"], 5)
        self.assertEqual(run["phase"]["forward"]["count"], 5)
        self.assertEqual(run["phase"]["step"]["work"], 4 * 7 + 9)
        self.assertIsNone(run["phase"]["forward"]["work"])
        self.assertEqual([(v["name"], v["last"]) for v in run["values"]], [("loss", 2.5)])

    def test_a_body_that_raises_counts_no_work_and_the_exception_passes(self):
        run = self.run_document(
            """
            import wattune
            with wattune.window("step", tokens=7):
                pass
            with wattune.window("step", tokens=7):
                raise SystemExit(3)
            """,
            code=3,
        )
        self.assertEqual((run["work"]["steps"], run["work"]["count"]), (1, 7))
        self.assertEqual(run["phase"]["step"]["count"], 2)

    def test_a_decorated_function_is_a_window_each_call(self):
        run = self.run_document("""
            import asyncio, wattune
            @wattune.measured
            def plain(x): return x + 1
            @wattune.measured("step", tokens=3)
            def step(): "doc"
            @wattune.measured("waiting")
            async def wait():
                await asyncio.sleep(0.05)
            assert plain(1) == 2 and step.__doc__ == "doc"
            step(); step(); asyncio.run(wait())
            try:
                wattune.measured(lambda: (yield))
            except TypeError as why:
                assert "generator" in str(why)
            else:
                raise SystemExit("a generator was taken")
            """)
        self.assertEqual(run["phase"]["plain"]["count"], 1)
        self.assertEqual((run["work"]["steps"], run["work"]["count"]), (2, 6))
        self.assertGreater(run["phase"]["waiting"]["wall_s"], 0.04)

    def test_work_has_the_unit_the_program_gives(self):
        run = self.run_document("""
            import wattune
            wattune.unit = "samples"
            with wattune.window("step", work=4): pass
            """)
        self.assertEqual((run["work"]["unit"], run["work"]["count"]), ("samples", 4))
        self.assertEqual(run["phase"]["step"]["work"], 4)

    def test_what_is_no_count_is_left_out_and_sums_do_not_wrap(self):
        run = self.run_document("""
            import wattune
            for tokens in (-100, 2**70):
                try:
                    with wattune.window("step", tokens=tokens): raise SystemExit("it was begun")
                except ValueError: pass
            with wattune.window("step", tokens=5): pass
            door = wattune._recorder.door
            door.mark(wattune.MARK_WORK, b"tokens", 2**64 - 100)
            door.mark(wattune.MARK_STEP, b"step", 2**64 - 1)
            """, options=["--no-store"])
        self.assertEqual((run["work"]["steps"], run["work"]["count"]), (1, 5))
        self.assertIn("2 marks of the program told of work or steps below 0", run["said"])
        run = self.run_document("""
            import wattune
            for i in range(3): wattune.count(2**63 - 1)
            """)
        self.assertEqual(run["work"]["count"], 2**63 - 1)

    def test_the_last_value_is_kept_however_soon_it_comes(self):
        run = self.run_document("""
            import wattune
            for i in range(1000, 0, -1):
                wattune.value("loss", i)
                wattune.value("other", -i)
            """)
        shown = subprocess.run([WATTUNE, "runs", "last", "--json"], env=dict(os.environ, XDG_DATA_HOME=self.home),
                               capture_output=True, text=True, check=True)
        for document in (run, json.loads(shown.stdout)):
            values = {value["name"]: value for value in document["values"]}
            self.assertEqual((values["loss"]["first"], values["loss"]["last"]), (1000, 1))
            self.assertEqual(values["other"]["last"], -1)
            self.assertLess(values["loss"]["count"], 1000)  # or nothing was left out

    def test_ranks_add_their_tokens_and_not_their_steps(self):
        run = self.run_document("""
            import os, subprocess, sys
            rank = '''import wattune
            for i in range(3):
                with wattune.window("step", tokens=10) as step: pass
            assert step.result is None'''.replace("            ", "")
            ranks = [subprocess.Popen([sys.executable, "-c", rank],
                                      env=dict(os.environ, RANK=str(i), LOCAL_RANK=str(i),
                                               WORLD_SIZE="4", LOCAL_WORLD_SIZE="4"))
                     for i in range(4)]
            assert all(rank.wait() == 0 for rank in ranks)
            """)
        self.assertEqual((run["work"]["steps"], run["work"]["count"]), (3, 120))

    def test_threads_of_a_process_share_its_door(self):
        run = self.run_document("""
            import threading, wattune
            def work():
                for _ in range(100):
                    with wattune.window("step", tokens=1): pass
            threads = [threading.Thread(target=work) for _ in range(8)]
            [t.start() for t in threads]; [t.join() for t in threads]
            import glob, os
            assert len(glob.glob(os.environ["WATTUNE_DOOR"] + "/*.door")) == 1
            """)
        self.assertEqual((run["work"]["steps"], run["work"]["count"]), (800, 800))
        self.assertEqual(run["phase"]["step"]["count"], 800)

    def test_a_fork_in_a_window_ends_it_once(self):
        run = self.run_document("""
            import multiprocessing, os, wattune
            with wattune.window("step", tokens=10) as step:
                pid = os.fork()
                if pid == 0:
                    with wattune.window("load"): pass
            if pid == 0:
                assert step.result is None
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            def load():
                with wattune.window("load"): pass
            worker = multiprocessing.get_context("fork").Process(target=load)
            worker.start(); worker.join()
            assert worker.exitcode == 0
            """)
        self.assertEqual((run["work"]["steps"], run["work"]["count"]), (1, 10))
        self.assertEqual(run["phase"]["step"]["count"], 1)
        self.assertEqual(run["phase"]["load"]["count"], 2)

    def test_names_are_cut_to_what_the_door_takes(self):
        run = self.run_document("""
            import wattune
            with wattune.window("a" * 30 + "\\u00e9" + "b"): pass
            with wattune.window("\\u6e29\\u5ea6"): pass
            """)
        self.assertEqual(set(run["phase"]), {"a" * 30, "\u6e29\u5ea6"})

    def test_a_door_that_cannot_be_opened_is_said_and_the_program_goes_on(self):
        self.write("file", "")
        done = self.python(
            """
            import wattune
            with wattune.window("step", tokens=3): pass
            print("ran")
            """,
            env={"WATTUNE_DOOR": os.path.join(self.home, "file")},
        )
        self.assertEqual(done.stdout, "ran\n")
        self.assertIn("will not be heard", done.stderr)
        done = self.python("import wattune\nwith wattune.window(): pass",
                           env={"WATTUNE_DOOR": "/nonexistent"})  # fmt: skip
        self.assertEqual(done.stderr, "")  # whoever listened has gone

    # ---- alone ----

    def test_alone_a_window_has_energy_with_interval_and_provenance(self):
        self.python(
            """
            import time, wattune
            with wattune.window("epoch", tokens=1000) as epoch:
                time.sleep(0.6)
            r = epoch.result
            assert r is epoch.result and r is epoch.wait(1)
            assert r.provenance == "emulated", r
            assert 0 < r.low_j <= r.energy_j <= r.high_j, r
            assert 15 < r.energy_j / r.seconds < 60, r  # an idle V100
            assert abs(r.j_per_work - r.energy_j / 1000) < 1e-9
            assert 0.6 <= r.seconds < 0.6 + 10 and len(r.devices) == 1 and r.gaps == []
            assert "emulated" in repr(r)
            wattune.close()
            with wattune.window() as again:
                time.sleep(0.3)
            assert again.result.energy_j > 0
            """,
            EMULATED,
        )

    def test_without_a_sensor_the_energy_is_unknown_or_called_modeled(self):
        self.python("""
            import wattune
            with wattune.window(tokens=5) as w: pass
            r = w.result
            if r.energy_j is None:  # a machine with a readable CPU counter has one
                assert r.low_j is None and r.provenance == "unknown" and r.j_per_work is None
                assert "unknown" in repr(r)
            else:
                assert r.provenance in ("counter", "sampled", "modeled")
                assert r.low_j <= r.energy_j <= r.high_j
            """)

    def test_alone_the_first_local_rank_measures_the_node(self):
        for name in ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"):
            for rank, want in (("0", True), ("1", False)):
                with self.subTest(name=name, rank=rank):
                    done = self.python(
                        """
                        import threading, time, wattune
                        with wattune.window() as w: time.sleep(0.15)
                        print(w.result is not None, w.seconds > 0.1)
                        """,
                        EMULATED,
                        env={name: rank, "WORLD_SIZE": "2"},
                    )
                    self.assertEqual(done.stdout, f"{want} True\n")

    def test_alone_a_forked_child_is_measured_by_its_parent(self):
        self.python(
            """
            import gc, os, time, wattune
            with wattune.window("all") as everything:
                time.sleep(0.2)
                pid = os.fork()
                if pid == 0:
                    with wattune.window() as mine: pass
                    assert mine.result is None
                    everything.end()
                    assert everything.result is None
                    del everything
                    wattune.close(); gc.collect()
                    os._exit(0)
                assert os.waitpid(pid, 0)[1] == 0
                time.sleep(0.2)
            assert everything.result.energy_j > 0
            """,
            EMULATED,
        )

    def test_alone_a_body_that_raises_has_no_result(self):
        self.python(
            """
            import wattune
            try:
                with wattune.window() as w: raise ValueError
            except ValueError:
                assert w.result is None and w.seconds >= 0
            else:
                raise SystemExit("swallowed")
            """,
            EMULATED,
        )

    def test_the_interpreter_ends_with_windows_open(self):
        script = """
            import threading, time, wattune
            windows = [wattune.window("open").begin() for _ in range(3)]
            def forever():
                while True:
                    with wattune.window("busy"): time.sleep(0.001)
            threading.Thread(target=forever, daemon=True).start()
            time.sleep(0.05)
            print("end")
            """
        for before in (EMULATED, [WATTUNE, "run", "--quiet", "--"]):
            done = self.python(script, before)
            self.assertEqual((done.stdout, done.stderr), ("end\n", ""))

    def test_windows_that_nobody_asks_about_are_forgotten(self):
        self.python("""
            import resource, wattune
            def run(n):
                for _ in range(n):
                    with wattune.window("step"): pass
                return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            before = run(2000)
            after = run(60000)
            assert after - before < 2000, (before, after)  # kB; kept, they took 5 MB
            """)

    # ---- mistakes ----

    def test_a_missing_library_is_named_with_what_to_do(self):
        for path, says in (("/nonexistent/libwattune.so.0", "is not here"),
                           ("libm.so.6", "another version")):  # fmt: skip
            done = self.python("import wattune\nwith wattune.window(): pass", code=1,
                               env={"WATTUNE_LIBRARY": path})  # fmt: skip
            self.assertIn("WATTUNE_LIBRARY", done.stderr)
            self.assertIn(says, done.stderr)
            self.assertIn("wattune._library.Error", done.stderr)

    def test_an_error_of_the_library_comes_with_its_story(self):
        done = self.python("import wattune\nwith wattune.window(): pass", EMULATED, code=1,
                           env={"WATTUNE_GPUS": "17"})  # fmt: skip
        self.assertIn("17", done.stderr.splitlines()[-1])

    def test_wrong_use_is_an_error_at_once(self):
        self.python("""
            import wattune
            def fails(kind, what):
                try: what()
                except kind as why: return str(why)
                raise SystemExit(f"{what} passed")
            fails(TypeError, lambda: wattune.window("w", tokens=1, work=1))
            fails(TypeError, lambda: wattune.window(17))
            for bad in (-1, -100, 2**63, 2**70, float("inf"), float("nan"), -0.1 - 1):
                assert "2**63" in fails(ValueError, lambda: wattune.window("w", tokens=bad))
                fails(ValueError, lambda: wattune.window("w", work=bad))
                fails(ValueError, lambda: wattune.measured("w", tokens=bad))
                fails(ValueError, lambda: wattune.count(bad))
                fails(ValueError, lambda: wattune.count(steps=bad))
                fails(ValueError, lambda: setattr(wattune.window("w"), "work", bad))
            for bad in (1.5, 0.1, -0.5):
                assert "whole number" in fails(ValueError, lambda: wattune.window("w", tokens=bad))
                fails(ValueError, lambda: wattune.count(bad))
            for bad in ("7", b"7", [7], {}, 1j):
                assert "a number is wanted" in fails(TypeError, lambda: wattune.window("w", tokens=bad))
                fails(TypeError, lambda: wattune.measured("w", tokens=bad))
                fails(TypeError, lambda: wattune.count(steps=bad))
                fails(TypeError, lambda: setattr(wattune.window("w"), "work", bad))
            assert wattune.window("w", tokens=2**63 - 1).work == 2**63 - 1
            class Scalar: # as NumPy's and PyTorch's
                def __index__(self): return 12
            class Real:
                def __float__(self): return 3.0
            works = [wattune.window("w", tokens=n).work for n in (1e6, Scalar(), Real(), 0, None)]
            assert works == [1000000, 12, 3, 0, None], works
            w = wattune.window("once")
            assert "once" in fails(wattune.Error, w.end)
            w.begin()
            assert "open" in fails(wattune.Error, lambda: w.result)
            fails(wattune.Error, w.begin)
            w.end()
            fails(wattune.Error, w.end)
            fails(wattune.Error, w.begin)
            w.cancel()
            assert wattune.version().count(".") == 2
            """)

    def test_a_window_that_is_refused_goes_without_a_word(self):
        done = self.python("""
            import wattune
            for bad in (-1, 1.5, "7"):
                try: wattune.window("w", tokens=bad)
                except (TypeError, ValueError): pass
            """)
        self.assertEqual(done.stderr, "")

    # ---- frameworks ----

    def test_the_trainer_of_transformers_is_measured(self):
        self.write("transformers/__init__.py", TRANSFORMERS)
        script = """
            from transformers import Args, State, TrainerCallback, train
            from wattune.huggingface import WattuneCallback
            callback = WattuneCallback()
            assert isinstance(callback, TrainerCallback)
            state = State()
            state.num_input_tokens_seen = 5000  # resumed
            train(callback, Args, 2, 3, 2, 50, state)
            assert callback.result is None and state.log_history == []
            """
        run = self.run_document(script)
        self.assertEqual((run["work"]["steps"], run["work"]["count"]), (6, 6 * 2 * 50))
        self.assertEqual(run["phase"]["train"]["count"], 1)
        self.assertEqual([(v["name"], v["last"]) for v in run["values"]], [("loss", 1.5)])

    def test_ranks_of_transformers_count_the_tokens_of_all_once(self):
        self.write("transformers/__init__.py", TRANSFORMERS)
        run = self.run_document("""
            import os
            from transformers import Args, train
            pids = []
            for rank in range(2):
                pids.append(os.fork())
                if pids[-1] == 0:
                    from wattune.huggingface import WattuneCallback
                    os.environ["LOCAL_RANK"] = str(rank)
                    Args.world_size, Args.process_index = 2, rank
                    train(WattuneCallback(), Args, 1, 3, 1, 51)
                    os._exit(0)
            assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
            """)
        self.assertEqual((run["work"]["steps"], run["work"]["count"]), (3, 2 * 3 * 51))

    def test_the_trainer_of_transformers_gets_the_energy(self):
        self.write("transformers/__init__.py", TRANSFORMERS)
        self.python(
            """
            from transformers import Args, train
            from wattune.huggingface import WattuneCallback
            callback = WattuneCallback(tokens_per_step=8)
            try:
                train(callback, Args, 1, 1, 1, 8, fails=True)
            except RuntimeError:
                pass
            entry = train(callback, Args, 1, 3, 1, 8).log_history[-1]
            assert entry["energy_low_j"] <= entry["energy_j"] <= entry["energy_high_j"], entry
            assert entry["energy_provenance"] == "emulated" and entry["step"] == 3, entry
            assert callback.result.energy_j == entry["energy_j"]
            """,
            EMULATED,
        )

    def test_the_trainer_of_lightning_is_measured(self):
        script = """
            from trainer import Trainer
            from wattune.lightning import WattuneCallback
            Trainer().fit(WattuneCallback(tokens_of=len), 6, accumulate=2)
            try:
                Trainer().fit(WattuneCallback(tokens_of=len), 6, fails=True)
            except KeyError:
                pass
            """
        self.write("trainer.py", TRAINER)
        for module in ("lightning/pytorch/callbacks", "pytorch_lightning/callbacks"):
            with self.subTest(module=module):
                folder = module.split("/")[0]
                self.write(f"{module}/__init__.py", LIGHTNING)
                run = self.run_document(script)
                self.assertEqual((run["work"]["steps"], run["work"]["count"]), (3, 6 * 8))
                self.assertEqual(run["phase"]["batch"]["count"], 7)
                self.assertEqual(run["phase"]["train"]["count"], 2)
                shutil.rmtree(os.path.join(self.home, folder))

    def test_the_loggers_of_lightning_get_the_energy(self):
        self.write("trainer.py", TRAINER)
        self.write("lightning/pytorch/callbacks/__init__.py", LIGHTNING)
        self.python(
            """
            from trainer import Trainer
            from wattune.lightning import WattuneCallback
            trainer = Trainer()
            trainer.fit(WattuneCallback(), 4)
            [(metrics, step)] = trainer.loggers[0].seen
            assert metrics["energy_low_j"] <= metrics["energy_j"] <= metrics["energy_high_j"]
            assert step == 4
            """,
            EMULATED,
        )


if __name__ == "__main__":
    if not WATTUNE:
        sys.exit("WATTUNE_COMMAND is not set: run through `make test`")
    if os.environ.get("WATTUNE_SANITIZED"):
        cases.skip("a library built with sanitizers cannot be loaded into a plain interpreter")
    sys.exit(cases.main())
