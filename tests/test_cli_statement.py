#!/usr/bin/env python3
"""wattune statement: every number in it is of the records, its JSON is what the schema says, and a real
LaTeX sets it.

usage: test_cli_statement.py [CASE...], with WATTUNE_COMMAND set (meson does)
"""
import csv
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import cases

WATTUNE = os.environ.get("WATTUNE_COMMAND", "")
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TAG = r"nlp_2026 & co: 50%, #1 {x} \a ~^ $|"
PUE, FACTOR = 1.25, 236  # of gcp:europe-west4
UNITS = {"GJ": 1e9, "MJ": 1e6, "kJ": 1e3, "J": 1, "mJ": 1e-3, "MWh": 1e3, "kWh": 1, "Wh": 1e-3, "mWh": 1e-6,
         "t": 1e6, "kg": 1e3, "g": 1, "mg": 1e-3}
NUMBER = r"\d+(?:\.\d+)?(?:e[-+]?\d+)?"
INTERVAL = re.compile(rf"({NUMBER}) (GJ|MJ|kJ|J|mJ|MWh|kWh|Wh|mWh|t|kg|g|mg) \[({NUMBER}), ({NUMBER})\]")


class Statement(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.home, True)
        for seconds, code in (("0.6", 0), ("0.4", 3), ("0.5", 0)):
            done = cls.run_wattune("run", "--emulate", "v100-pcie-32gb:2", "--tag", TAG, "--", "sh", "-c",
                                   f"sleep {seconds}; exit {code} # 100% {{_$x^}} ~ \\ \"é\" `y` <中> | & --- ,, ''")
            assert done.returncode == code, done.stderr
        cls.run_wattune("run", "--emulate", "v100-pcie-32gb", "--tag", "another", "--", "sleep", "0.2")
        done = cls.run_wattune("runs", "--json", "--limit", "0", "--tag", TAG)
        cls.runs = json.loads(done.stdout)["runs"]
        assert len(cls.runs) == 3

    @classmethod
    def run_wattune(cls, *args):
        env = {k: v for k, v in os.environ.items() if not k.startswith("WATTUNE_E")}
        env |= {"HOME": cls.home, "XDG_DATA_HOME": cls.home, "XDG_RUNTIME_DIR": cls.home, "LC_ALL": "C.UTF-8"}
        return subprocess.run([WATTUNE, *args], capture_output=True, text=True, check=False, env=env, timeout=60,
                              cwd=cls.home)

    def statement(self, *options):
        done = self.run_wattune("statement", "--tag", TAG, "--pue", str(PUE), "--region", "gcp:europe-west4", *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    # ---- what the records allow ----

    def triples(self):
        """Intervals that may be there: in J, in kWh and in g."""
        def add(some):
            return tuple(sum(one[k] for one in some) for k in ("energy_j", "low_j", "high_j"))
        totals = [r["total"] for r in self.runs]
        joules = [add([t]) for t in totals] + [add(totals), add([r["total"] for r in self.runs if r["exit"]])]
        devices = [d for r in self.runs for d in r["devices"]]
        for method in {d["method"] for d in devices}:
            joules.append(add([d for d in devices if d["method"] == method]))
        kwh = [tuple(x / 3.6e6 for x in add(totals)), tuple(x * PUE / 3.6e6 for x in add(totals))]
        grams = [tuple(x * PUE * FACTOR / 3.6e6 for x in add(totals))]
        return joules, kwh, grams

    def scalars(self):
        wall = sum(r["wall_s"] for r in self.runs)
        return [r["wall_s"] for r in self.runs] + [wall, wall * 2, PUE, FACTOR, 95, 0, 1, 2, 3, 6]

    def is_near(self, text, want, factor=1.0):
        """As far as its digits go."""
        digits, _, power = text.partition("e")
        step = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
        return abs(float(text) - want / factor) <= 0.5000001 * step

    def check_text(self, text):
        joules, kwh, grams = self.triples()
        found = INTERVAL.findall(text)
        for value, unit, low, high in found:
            pool = joules if unit.endswith("J") else kwh if unit.endswith("Wh") else grams
            self.assertTrue(any(all(self.is_near(x, y, UNITS[unit]) for x, y in zip((value, low, high), want))
                                for want in pool), (value, unit, low, high))
        rest = INTERVAL.sub(" ", text)
        words = {r[k] for r in self.runs for k in ("id", "command", "system", "host", "emulation", "wattune")}
        words |= {d["name"] for r in self.runs for d in r["devices"]} | {TAG, "gcp:europe-west4", "CO2e"}
        for word in sorted(words, key=len, reverse=True):
            rest = rest.replace(word, " ")
        rest = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", " ", rest)
        for number in re.findall(NUMBER, rest):
            self.assertTrue(any(self.is_near(number, want) for want in self.scalars()), number)
        return found

    def plain_markdown(self, text):
        return re.sub(r"\\([\\`*_{}\[\]<>#|~&!$])", r"\1", text)

    def plain_latex(self, text):
        text = text.replace("\\allowbreak{}", "").replace("{\\char34}", '"').replace("{[}U+4E2D{]}", "中")
        for name, sign in (("backslash", "\\"), ("asciicircum", "^"), ("asciitilde", "~"), ("less", "<"),
                           ("greater", ">"), ("bar", "|"), ("asciigrave", "`")):
            text = text.replace(f"\\text{name}{{}}", f"\0{sign}")
        text = text.replace("{[}", "[").replace("{]}", "]").replace("{}", "")
        return re.sub(r"\\([{}$&#%_])", r"\1", text).replace("\0", "")

    # ---- tests ----

    def test_every_number_of_the_text_is_of_the_records(self):
        for option, plain in (((), self.plain_markdown), (("--latex",), self.plain_latex)):
            text = plain(self.statement(*option))
            found = self.check_text(text)
            # each run, the failed, each way of reading, the sum twice, facility and CO2e
            self.assertGreaterEqual(len(found), 3 + 1 + 1 + 2 + 2, text)
            self.assertIn(TAG, text)
            for run in self.runs:
                self.assertIn(run["id"], text)
                self.assertIn(run["command"], text)
            value = found[0][0]
            with self.assertRaises(AssertionError):  # it would tell
                self.check_text(text.replace(value, str(float(value) + 1), 1))
            with self.assertRaises(AssertionError):
                self.check_text(text + " 17 GPUs")

    def test_every_number_of_the_json_is_of_the_records(self):
        doc = json.loads(self.statement("--json"))
        joules, kwh, grams = self.triples()
        allowed = [x for triple in joules + kwh + grams for x in triple] + self.scalars()
        allowed.append(sum(r["wall_s"] for r in self.runs) * 2 / 3600)
        seen = []

        def walk(value):
            if isinstance(value, dict):
                list(map(walk, value.values()))
            elif isinstance(value, list):
                list(map(walk, value))
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                seen.append(value)
                self.assertTrue(any(abs(value - x) <= 1e-9 * abs(x) for x in allowed), value)
        walk(doc)
        self.assertGreater(len(seen), 30)
        self.assertEqual((doc["runs"]["count"], doc["runs"]["failed"], doc["kind"]), (3, 1, "emulated"))
        self.assertEqual({m["what"] for m in doc["not_measured"]}, {"cpu", "dram", "node"})

    def test_all_forms_say_that_it_is_emulated(self):
        for option in ([], ["--latex"], ["--json"], ["--model-card"]):
            text = self.statement(*option)
            self.assertIn("EMULATED", text.split("\n\n")[0] if not option else text)
            self.assertIn("v100", text)
        self.assertTrue(self.statement().startswith("# EMULATED energy statement"))
        self.assertIn("\\section*{EMULATED energy statement", self.statement("--latex"))
        self.assertTrue(json.loads(self.statement("--json"))["title"].startswith("EMULATED "))

    def test_a_missing_sensor_is_named(self):
        for option in ([], ["--latex"], ["--json"]):
            text = self.statement(*option)
            for words in ("no CPU sensor", "no memory sensor", "no node meter"):
                self.assertIn(words, text)

    def test_the_json_is_what_the_schema_says(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("there is no python3-jsonschema here")
        with open(os.path.join(ROOT, "docs", "statement.schema.json"), encoding="utf-8") as f:
            schema = json.load(f)
        jsonschema.Draft7Validator.check_schema(schema)
        judge = jsonschema.Draft7Validator(schema)
        doc = json.loads(self.statement("--json"))
        judge.validate(doc)
        judge.validate(json.loads(self.run_wattune("statement", "--json", "--tag", TAG).stdout))
        for path, bad in ((("kind",), "measured"), (("energy", "total", "energy_j"), None),
                          (("runs", "failed"), -1), (("carbon", "source"), ""), (("list",), [])):
            broken = json.loads(json.dumps(doc))
            at = broken
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = bad
            self.assertFalse(judge.is_valid(broken), path)

    def test_latex_sets_it(self):
        latex = shutil.which("pdflatex")
        if not latex:
            self.skipTest("there is no pdflatex here (texlive-latex-base)")
        text = self.statement("--latex")
        # T1 sets other signs for "--" and the like; its fonts would be drawn first, so no page is made.
        for fonts, draft in (("", []), ("\\usepackage[T1]{fontenc}\n", ["-draftmode"])):
            with open(os.path.join(self.home, "paper.tex"), "w", encoding="utf-8") as f:
                f.write("\\documentclass{article}\n" + fonts + "\\begin{document}\n" + text + "\\end{document}\n")
            done = subprocess.run([latex, "-interaction=nonstopmode", "-halt-on-error", *draft, "paper.tex"],
                                  cwd=self.home, capture_output=True, text=True, errors="replace", check=False,
                                  timeout=120, env={**os.environ, "HOME": self.home})
            self.assertEqual(done.returncode, 0, done.stdout[-2000:])
            self.assertGreater(os.path.getsize(os.path.join(self.home, "paper.pdf")), 5000)
        with open(os.path.join(self.home, "paper.tex"), "w", encoding="utf-8") as f:  # it would tell
            f.write("\\documentclass{article}\n\\begin{document}\n" + TAG + "\\end{document}\n")
        done = subprocess.run([latex, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"], cwd=self.home,
                              capture_output=True, check=False, timeout=120, env={**os.environ, "HOME": self.home})
        self.assertNotEqual(done.returncode, 0)

    def test_a_model_card_has_its_block(self):
        text = self.statement("--model-card", "--training-type", 'pre-"training"')
        lines = text.splitlines()
        self.assertEqual(lines[0], "co2_eq_emissions:")
        self.assertEqual([x.split(":")[0].strip() for x in lines[1:]],
                         ["emissions", "source", "training_type", "geographical_location", "hardware_used"])
        grams = self.triples()[2][0]
        numbers = re.findall(NUMBER, lines[1].replace("CO2e", "").replace("95 %", ""))
        self.assertEqual([float(n) for n in numbers], [float(f"{x:.6g}") for x in grams])
        self.assertIn('training_type: "pre-\\"training\\""', text)
        self.assertIn('hardware_used: "EMULATED 2 x Tesla V100-PCIE-32GB"', text)

    def test_codecarbon_columns_leave_empty_what_is_not_known(self):
        path = os.path.join(self.home, "emissions.csv")
        self.statement("--codecarbon", path)
        with open(path, encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f))
        self.assertEqual([r["run_id"] for r in rows], [r["id"] for r in reversed(self.runs)])
        for row, run in zip(rows, reversed(self.runs)):
            self.assertNotIn(None, row)
            self.assertEqual(len(row), 34)
            kwh = run["total"]["energy_j"] * PUE / 3.6e6
            for column, want in (("energy_consumed", kwh), ("gpu_energy", kwh), ("emissions", kwh * FACTOR / 1000),
                                 ("duration", run["wall_s"]), ("pue", PUE), ("gpu_count", 2),
                                 ("emissions_rate", kwh * FACTOR / 1000 / run["wall_s"])):
                self.assertAlmostEqual(float(row[column]) / want, 1, 9, column)
            self.assertEqual((row["cloud_provider"], row["cloud_region"], row["country_iso_code"], row["on_cloud"]),
                             ("gcp", "europe-west4", "NLD", "Y"))
            for column in ("cpu_energy", "ram_energy", "cpu_power", "ram_power", "water_consumed", "wue", "latitude"):
                self.assertEqual(row[column], "", column)
            self.assertEqual(row["project_name"], "EMULATED " + TAG)

    def test_a_factor_of_the_users_own_has_source_and_date(self):
        given = ["--tag", TAG, "--carbon-intensity", "42.5", "--carbon-source", "grid operator_1", "--carbon-date",
                 "2025-06", "--region", "Luleå campus"]
        done = self.run_wattune("statement", "--json", *given)
        doc = json.loads(done.stdout)
        self.assertEqual(doc["carbon"], {"g_per_kwh": 42.5, "source": "grid operator_1", "date": "2025-06",
                                         "is_catalogue": False})
        self.assertEqual(doc["region"], {"id": None, "name": "Luleå campus", "country": None})
        self.assertIsNone(doc["facility_kwh"])
        text = self.run_wattune("statement", *given).stdout
        self.assertIn("42.5 g CO2e per kWh; source: grid operator\\_1; date: 2025-06", text)
        self.assertIn("**PUE**: not included", text)

    def test_a_region_of_the_users_own_is_named_with_its_source(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "regions.csv"), "w", encoding="utf-8") as f:
                f.write("id,name,gco2_per_kwh,year,source\nDEU,Germany by a meter,300,2026,a meter of ours\n")
            done = self.run_wattune("statement", "--json", "--tag", TAG, "--region", "DEU", "--data", folder)
            self.assertEqual(json.loads(done.stdout)["carbon"], {"g_per_kwh": 300, "source": "a meter of ours",
                                                                 "date": "2026", "is_catalogue": False})
            with open(os.path.join(folder, "regions.csv"), "a", encoding="utf-8") as f:
                f.write("x,,many,,\n")
            done = self.run_wattune("statement", "--json", "--tag", TAG, "--region", "DEU", "--data", folder)
            self.assertEqual(done.returncode, 1)
            self.assertIn("regions.csv:3: gco2_per_kwh: ", done.stderr)

    def test_sweeps_and_their_trials_are_counted(self):
        done = self.run_wattune("sweep", "--emulate", "v100-pcie-32gb", "--tag", "swept", "--param", "s=0.1,0.2",
                                "--host-watts", "100", "--repeats", "2", "--", "sleep", "{s}")
        self.assertEqual(done.returncode, 0, done.stderr)
        doc = json.loads(self.run_wattune("statement", "--json", "--tag", "swept").stdout)
        self.assertEqual([doc["runs"][k] for k in ("count", "sweeps", "in_sweeps", "trials", "failed")],
                         [4, 1, 4, 4, 0])
        wall = sum(r["wall_s"] for r in doc["list"])
        self.assertAlmostEqual(doc["energy"]["host_given"]["energy_j"], 100 * wall, 6)
        self.assertAlmostEqual(doc["energy"]["sum"]["energy_j"], doc["energy"]["total"]["energy_j"] + 100 * wall, 6)
        text = self.run_wattune("statement", "--tag", "swept").stdout
        self.assertIn("of sweeps: 4 (sweeps: 1)", text)
        self.assertIn("given, not measured: ", text)

    def test_emulated_and_real_runs_are_never_in_one(self):
        self.run_wattune("run", "--emulate", "v100-pcie-32gb", "--tag", "mixed", "--", "true")
        self.run_wattune("run", "--tag", "mixed", "--", "true")
        ids = {r["emulated"]: r["id"] for r in
               json.loads(self.run_wattune("runs", "--json", "--tag", "mixed").stdout)["runs"]}
        for form in ([], ["--latex"], ["--json"]):
            done = self.run_wattune("statement", "--tag", "mixed", *form)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(f"emulated runs ({ids[True]}) and not emulated ones ({ids[False]})", done.stderr)

    def test_a_pue_may_be_an_example_and_is_stated_with_its_source(self):
        done = self.run_wattune("statement", "--json", "--tag", TAG, "--pue", "mllsc-2020-07")
        self.assertEqual(done.returncode, 0, done.stderr)
        told = json.loads(done.stdout)
        self.assertEqual(told["pue"], 1.49)
        self.assertIn("2205.09646", told["pue_source"])
        text = self.run_wattune("statement", "--tag", TAG, "--pue", "mllsc-2020-07").stdout
        self.assertIn("2205.09646", text)
        self.assertIsNone(json.loads(self.run_wattune("statement", "--json", "--tag", TAG, "--pue", "1.2").stdout)
                          ["pue_source"])

    def test_bad_options_say_what_is_wanted(self):
        for options, code, words in (
                ([], 2, "of which runs: --tag TAG"),
                (["--tag", ""], 2, "an empty tag"),
                (["--tag", "nobody"], 4, 'no stored run has the tag "nobody"'),
                (["--tag", TAG, "--pue", "0.9"], 2, "--pue 0.9: a number from 1 to 10"),
                (["--tag", TAG, "--pue", "nan"], 2, "--pue nan"),
                (["--tag", TAG, "--region", "europe-west4"], 2, "gcp:europe-west4"),
                (["--tag", TAG, "--region", "CAF"], 2, "has no factor of it"),
                (["--tag", TAG, "--region", ""], 2, "--region"),
                (["--tag", TAG, "--carbon-intensity", "300"], 2, "--carbon-source and --carbon-date"),
                (["--tag", TAG, "--carbon-intensity", "-1"], 2, "--carbon-intensity -1"),
                (["--tag", TAG, "--carbon-source", "x"], 2, "--carbon-source goes with --carbon-intensity"),
                (["--tag", TAG, "--carbon-date", "June"], 2, "--carbon-date June"),
                (["--tag", TAG, "--carbon-date", "2025-13"], 2, "--carbon-date 2025-13"),
                (["--tag", TAG, "--latex", "--json"], 2, "--latex and --json: one form at a time"),
                (["--tag", TAG, "--data", "."], 2, "--data goes with --region"),
                (["--tag", TAG, "--pue", "nowhere"], 2, "--pue nowhere: a number from 1 to 10 is wanted, or one of"),
                (["--tag", TAG, "--training-type", "x"], 2, "--training-type goes with --model-card"),
                (["--tag", TAG, "--model-card"], 1, "no carbon factor was given"),
                (["--tag", TAG, "more"], 2, '"more" is too much'),
                (["--tag", TAG, "--codecarbon", "-"], 2, "--codecarbon -: "),
                (["--tag", TAG, "--codecarbon", "/nonexistent/x.csv"], 1, "/nonexistent/x.csv")):
            done = self.run_wattune("statement", *options)
            self.assertEqual(done.returncode, code, (options, done.stderr))
            self.assertIn(words, done.stderr)
        self.assertEqual(self.run_wattune("statement", "--help").stderr, "")


if __name__ == "__main__":
    if not WATTUNE:
        cases.skip("WATTUNE_COMMAND names what is tested; meson sets it")
    raise SystemExit(cases.main())
