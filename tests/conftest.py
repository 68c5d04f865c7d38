import os
import sys

import jaxtyping
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # there is a process a core; it must be set before torch is imported
EXAMPLES = 2000 if os.environ.get("NIGHTLY") else 200  # of tests that feed anything to what reads files


@pytest.fixture
def without_shape_checks():
    """The code as its users run it, without the checks of annotated shapes that the tests switch on."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def splits(tmp_path_factory):
    """The digits, which need no download."""
    from hdge.data.splits import load_splits  # not above: shapes are checked in modules imported after this one

    return load_splits("digits", tmp_path_factory.mktemp("none"))


@pytest.fixture(autouse=True)
def _figures_are_closed():
    """Matplotlib warns of more than 20 open figures, and which tests share a process is left to chance."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
