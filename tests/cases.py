"""Runs unittest cases and reports each as a line of TAP, as the cmocka programs do. Why one failed is in
comments below its line, as a log that is cut may keep no more; a file's own diagnose() is added to that."""

import os
import sys
import traceback
import unittest

SKIPPED = 77


class _Lines(unittest.TestResult):
    told = None  # the last test whose failure has its line; the set-up of a module or a class has one too

    def _line(self, verdict, test, directive=""):
        print(f"{verdict} {self.testsRun} - {test.id().split('.')[-1]}{directive}", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._line("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        traceback.print_exception(*err)
        if self.told != (self.testsRun, test.id()):  # a tearDown may fail after its test
            self._line("not ok", test)
        self.told = (self.testsRun, test.id())
        lines = [f"{err[0].__name__}: {err[1]}"]
        frames = [f for f in traceback.extract_tb(err[2]) if os.path.basename(f.filename) != "case.py"]
        lines += [f"at {os.path.basename(f.filename)}:{f.lineno}: {f.line}" for f in frames[-3:]]
        diagnose = getattr(sys.modules["__main__"], "diagnose", None)
        try:
            lines += [diagnose()] if diagnose else []
        except Exception as why:  # the test's own failure is what is to be seen
            lines.append(f"diagnose(): {why!r}")
        for line in "\n".join(lines).splitlines()[:80]:
            print(f"# {line[:400]}", flush=True)

    addError = addFailure

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line("ok", test, f" # SKIP {reason}")

    def addSubTest(self, test, subtest, err):
        if err is not None:
            print(subtest, file=sys.stderr)
            self.addFailure(test, err)


def main():
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    if len(sys.argv) > 1:
        suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:], sys.modules["__main__"])
    print(f"1..{suite.countTestCases()}", flush=True)
    result = _Lines()
    suite.run(result)
    return 0 if result.wasSuccessful() and result.testsRun else 1


def skip(reason):
    """Ends the program as skipped, which is never a pass."""
    print(f"1..0 # SKIP {reason}")
    print(reason, file=sys.stderr)
    sys.exit(SKIPPED)
