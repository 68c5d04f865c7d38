"""``python -m benchmarks`` measures and writes ``figures/benchmarks/``; ``python -m benchmarks step`` is one part."""

import sys

from benchmarks.coverage import measure_coverage
from benchmarks.damage import measure_damage
from benchmarks.figures import coverage_figure, step_figure, term_figure
from benchmarks.start import measure_start
from benchmarks.step import measure_steps
from benchmarks.term import measure_terms
from benchmarks.wire import measure_wire
from hdge.figures.style import use_style
from hdge.measure.network import pick_device
from hdge.study.config import HOME
from hdge.study.study import write_picture, write_table

FOLDER = HOME / "figures" / "benchmarks"
PARTS = ("term", "step", "wire", "start", "coverage", "damage")
TABLES = {"wire": measure_wire, "start": measure_start, "coverage": measure_coverage, "damage": measure_damage}
FIGURES = {"term": term_figure, "step": step_figure, "coverage": coverage_figure}


def main(names: list[str]) -> int:
    unknown = set(names) - set(PARTS)
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}", file=sys.stderr)
        return 2
    use_style()
    for name in names or PARTS:
        if name in TABLES:
            table = TABLES[name]()
        else:
            table = (measure_terms if name == "term" else measure_steps)(pick_device())
        if name in FIGURES:
            write_picture(FIGURES[name](table), FOLDER / f"{name}.svg")
        write_table(table, FOLDER / f"{name}.csv")
        print(table.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
