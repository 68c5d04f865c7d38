"""The fingerprint of code: what it covers, and what it does not depend on."""

from hdge.measure import samples
from hdge.study import dependencies
from hdge.study.config import HOME


def test_the_code_behind_samples_holds_the_sampler_and_ignores_comments(tmp_path):
    behind = {path.name for path in dependencies.imported_modules(HOME / "hdge/measure/samples.py")}
    assert {"samples.py", "sgld.py", "flows.py", "readings.py"} <= behind
    assert samples.sample_run.__module__ == "hdge.measure.samples"
    module = tmp_path / "module.py"

    def digest(text):
        module.write_text(text)
        return dependencies.code_digest([module])

    plain = digest("def f(x):\n    return x + 1\n")
    assert digest('"""What it is."""\n\n\ndef f(x):\n    """One more."""\n    return x + 1  # as it says\n') == plain
    assert digest("def f(x):\n    return x + 2\n") != plain


def test_the_fingerprint_of_code_is_the_same_in_every_version_of_python(tmp_path):
    """Python 3.12 gave functions and classes another field, and 3.13 left empty ones out of what `ast` writes."""
    module = tmp_path / "one.py"
    module.write_text("class A:\n    def f(self, x: int = 0) -> int:\n        return x + 1\n")
    assert dependencies.code_digest([module]) == "f1e21c599578ac169762107f4590971017b3a9d0185307ffef807a1d63166f0a"
