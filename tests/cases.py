"""Runs unittest cases and reports each as a line of TAP, as the cmocka programs do."""

import sys
import traceback
import unittest

SKIPPED = 77


class _Lines(unittest.TestResult):
    def _line(self, verdict, test, directive=""):
        print(f"{verdict} {self.testsRun} - {test.id().split('.')[-1]}{directive}", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._line("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        traceback.print_exception(*err)
        self._line("not ok", test)

    addError = addFailure

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line("ok", test, f" # SKIP {reason}")

    def addSubTest(self, test, subtest, err):
        if err is not None:
            print(subtest, file=sys.stderr)
            traceback.print_exception(*err)
            self.failures.append((subtest, ""))


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
