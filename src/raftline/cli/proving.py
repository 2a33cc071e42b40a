"""Options and help of the commands of the test bench: check, sim, lab.

Each hands its arguments to the file that does the work, imported when it runs: the simulator and the labs are half of
the code, which a server need not load. It refuses to know what the work is.
"""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["check", "lab", "register", "sim"]


def register(app: typer.Typer) -> None:
    """Add the commands to `raftline`."""
    app.command("check")(check)
    app.command("sim")(sim)
    app.command("lab")(lab)


def check(
    history: Annotated[str, typer.Argument(metavar="HISTORY", help="The recorded history; - is standard input.")],
    *,
    model: Annotated[
        str | None,
        typer.Option(
            help="register, append, counter, cas, kv or redis. (default: what the history or its format says)"
        ),
    ] = None,
    history_format: Annotated[
        str, typer.Option("--format", help="jsonl, jepsen, porcupine-kv, or auto to look at the first lines.")
    ] = "auto",
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="If the answer is no, draw why on this page.")
    ] = None,
    time_limit: Annotated[
        str, typer.Option(metavar="SECONDS", help="Answer 'unknown' after this long; explaining gets as long again.")
    ] = "60",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of words.")] = False,
) -> None:
    """Decide whether a recorded history is linearizable, and say why if it is not.

    Exit code 0: yes; 1: no; 2: unknown, time is up; 3: the input cannot be used.
    """
    from raftline.cli.check import check_file  # noqa: PLC0415  see the module's docstring

    code = check_file(
        history, model=model, history_format=history_format, html=html, time_limit=time_limit, as_json=as_json
    )
    raise typer.Exit(code)


Seeds = Annotated[
    str | None,
    typer.Option(
        help="Seeds FIRST:STOP, STOP excluded.", show_default="0:100, 0:1000 with --mutants, 0:24 with --level"
    ),
]
Seed = Annotated[int | None, typer.Option(help="Run this one seed.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes.")]
Size = Annotated[int | None, typer.Option(min=1, max=9, help="Nodes in the cluster; drawn from the seed if not given.")]
Seconds = Annotated[
    float | None,
    typer.Option(min=1.0, help="Virtual seconds of faults per run.", show_default="30, 3 with --sharded"),
]
ShowTrace = Annotated[bool, typer.Option("--trace", help="With --seed: print one line per transition.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Names = Annotated[list[str] | None, typer.Argument(help="With --mutants: names, rules (A11) or sections (A).")]
Mutants = Annotated[bool, typer.Option("--mutants", help="Run wrong implementations until the checks notice.")]
List = Annotated[bool, typer.Option("--list", help="With --mutants: only list them.")]
Minimize = Annotated[
    bool, typer.Option("--minimize", help="With --seed: leave out whatever the failure does not need.")
]
Runs = Annotated[int, typer.Option(min=1, help="With --minimize: run at most so many smaller schedules.")]
ScheduleFile = Annotated[
    Path | None, typer.Option("--schedule", help="Run the schedule in this file, which --minimize wrote.")
]
Executor = Annotated[str, typer.Option(help="Where runs are carried out: processes (of this machine), ray.")]
Level = Annotated[
    bool, typer.Option("--level", help="Does anything grow? A virtual hour per seed at a fixed number of keys.")
]
Sharded = Annotated[
    bool,
    typer.Option("--sharded", help="Many groups: they join and leave, and slots move while clients go on."),
]
Minutes = Annotated[float, typer.Option(min=1.0, help="With --level: virtual minutes per seed.")]
Artifacts = Annotated[Path, typer.Option(help="Where a failing run's trace and history are written.")]


def sim(
    names: Names = None,
    seeds: Seeds = None,
    seed: Seed = None,
    jobs: Jobs = 1,
    size: Size = None,
    safety_s: Seconds = None,
    trace: ShowTrace = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002
    mutants: Mutants = False,  # noqa: FBT002
    only_list: List = False,  # noqa: FBT002
    minimize: Minimize = False,  # noqa: FBT002
    runs_max: Runs = 1000,
    schedule: ScheduleFile = None,
    executor: Executor = "processes",
    level: Level = False,  # noqa: FBT002
    minutes: Minutes = 60.0,
    sharded: Sharded = False,  # noqa: FBT002
    artifacts: Artifacts = Path("artifacts"),
) -> None:
    """Run the code that ships under virtual time and injected faults, and check what it promises.

    Exit code 0 if every run kept every promise and everything was reached, 1 if not.
    """
    from raftline.cli.sim import run_sim  # noqa: PLC0415  see the module's docstring

    code = run_sim(
        names or (),
        seeds=seeds,
        seed=seed,
        jobs=jobs,
        size=size,
        safety_s=safety_s,
        trace=trace,
        as_json=as_json,
        mutants=mutants,
        only_list=only_list,
        minimize=minimize,
        runs_max=runs_max,
        schedule=schedule,
        executor=executor,
        level=level,
        minutes=minutes,
        sharded=sharded,
        artifacts=artifacts,
    )
    raise typer.Exit(code)


LabNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[2A 2B 2C 2D | 3A 3B 4A 4B | NAME]...",
        help="Parts, or titles of tests; 2A to 2D if none. With --mutants: names, rules (A11) or sections (A).",
    ),
]
Implementation = Annotated[
    str | None,
    typer.Option(
        "-i", "--implementation", metavar="MODULE:MAKE", help="Whose Raft; a file will do, too.", show_default="ours"
    ),
]
RealTime = Annotated[bool, typer.Option("--real-time", help="On the real clock, which takes as long as it says.")]
LabSeed = Annotated[int, typer.Option(help="The first seed; it fixes everything on virtual time.")]
LabRuns = Annotated[int, typer.Option(min=1, help="Seeds to run each test with, counted on from --seed.")]
LabJobs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Tests side by side. (default: 1; with --real-time as many as there are processors, to 4)"
    ),
]
Traces = Annotated[Path, typer.Option(help="Where traces of failed tests are written.")]
LabMutants = Annotated[
    bool, typer.Option("--mutants", help="Run our own core with one wrong line at a time, until a test notices.")
]
LabAsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of words.")]


def lab(
    names: LabNames = None,
    *,
    implementation: Implementation = None,
    real_time: RealTime = False,
    seed: LabSeed = 0,
    runs: LabRuns = 1,
    jobs: LabJobs = None,
    traces: Traces = Path("artifacts/lab"),
    mutants: LabMutants = False,
    as_json: LabAsJson = False,
) -> None:
    """Run the tests of labs 2A to 2D: yours with --implementation my_raft.py, the library's own without.

    3A and 3B run our store as a service on Raft, 4A our shard controller, 4B groups of the sharded store: always
    ours, on virtual time.

    A failure says which promise was broken, where, and which rules to look at. Exit code 0: all passed; 1: some
    failed; 2: no such test. With --mutants, 1: a mutant passed that is not known as one that nothing can notice.
    """
    from raftline.cli.lab import run_lab  # noqa: PLC0415  see the module's docstring

    code = run_lab(
        names or (),
        implementation=implementation,
        real_time=real_time,
        seeds=range(seed, seed + runs),
        jobs=jobs,
        traces=traces,
        mutants=mutants,
        as_json=as_json,
    )
    raise typer.Exit(code)
