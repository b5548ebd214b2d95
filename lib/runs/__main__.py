"""``python -m lib.runs NAME...`` computes what tables lack; see ``--help``."""

import argparse
import importlib
import os
from collections.abc import Mapping
from typing import Any

from lib.runs.options import add_scheduler, count, fails, positive, program, share, torch_device

TABLES = {  # module and what gives the table there; imported when it is wanted, as that takes seconds
    "lambda": "calibration:table",
    "authors_search": "authors_search:TABLE",
    "table1": "table1:TABLE",
    "robustness": "robustness:TABLE",
    "sensitivity": "sensitivity:TABLE",
    "final": "final:TABLE",
    "sigma": "radii:TABLE",
    "transfer": "transfer:table",
    "networks_error": "comparison:TABLE",
    "theory_growth": "theory:GROWTH",
    "theory_few": "theory:FEW",
    "theory_masks": "theory:MASKS",
    "theory_transition": "theory:TRANSITION",
    "frames": "frames:table",
    "transfer_frames": "transfer_frames:TABLE",
    "beyond": "beyond:TABLE",
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lib.runs",
        description="Compute what tables in results/ lack, or have of other weights or another lambda.",
        epilog="example: python -m lib.runs table1 --method tv --workers 2",
    )
    parser.add_argument("name", nargs="+", choices=TABLES, metavar="NAME", help=f"which: {', '.join(TABLES)}")
    parser.add_argument("--verify", type=share, metavar="SHARE", help="compute this part of unverified rows again")
    parser.add_argument("--tolerance", type=positive, help="relative deviation that --verify allows, not the table's")
    parser.add_argument("--method", nargs="+", choices=("tv", "tira", "tirafl"), help="only rows of these")
    parser.add_argument("--lines", type=int, nargs="+", help="lambda: masks with these numbers of lines")
    parser.add_argument("--noise", type=positive, nargs="+", help="lambda: these relative noise levels, as fractions")
    parser.add_argument("--steps", type=count, help="frames: steps of the ascent against a network")
    parser.add_argument("--device", help="where to compute on this machine, as cuda; by default the processor")
    add_scheduler(parser)
    args = parser.parse_args(arguments)
    place = {"scheduler": args.scheduler, "workers": args.workers or (1 if args.device else None)}
    given = {"lambda": {"lines": args.lines, "noise": args.noise}, "frames": {"steps": args.steps}}
    for name, values in given.items():
        for option, value in values.items():
            if value and name not in args.name:
                parser.error(f"--{option} is for {name}, not for {', '.join(args.name)}")

    def chosen(cell: Mapping[str, Any]) -> bool:
        return args.method is None or cell.get("method", "").split("-")[0] in args.method

    def work() -> int:
        from lib.runs.engine import run, verify

        if args.device:
            if args.scheduler:
                raise ValueError("--device is for this machine; elsewhere, start the workers with LIB_DEVICE set")
            os.environ["LIB_DEVICE"] = str(torch_device(args.device))  # for the workers

        failed = False
        for name in args.name:
            module, attribute = TABLES[name].split(":")
            table = getattr(importlib.import_module(f"lib.runs.{module}"), attribute)
            if callable(table):
                table = table(**{key: value for key, value in given.get(name, {}).items() if value})
            if args.verify:
                lines = verify(table, args.verify, tolerance=args.tolerance, choose=chosen, **place)
                print("\n".join(lines or [f"{name}: nothing is unverified"]))
                failed |= not all(line.endswith(", verified") for line in lines)
            else:
                report = run(table, choose=chosen, **place)
                print(report)
                failed |= bool(report.failures)
        return int(failed)

    return fails("lib.runs", work)


if __name__ == "__main__":
    program(main)
