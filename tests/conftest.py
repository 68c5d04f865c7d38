import jaxtyping
import pytest


@pytest.fixture
def without_shape_checks():
    """The code as its users run it, without the checks of annotated shapes that the tests switch on."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
