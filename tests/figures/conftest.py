import matplotlib
import matplotlib.pyplot as plt
import pytest

from lib.figures import use_style


@pytest.fixture(autouse=True)
def style():
    matplotlib.use("Agg")
    with matplotlib.rc_context():
        use_style()
        yield
    plt.close("all")
