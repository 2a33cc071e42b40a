"""The catalogue of mutants: the wrong code that implementers really write, put back one line at a time.

A mutant is a named patch of production code. Each runs in a process of its own, in which an import hook compiles the
patched source, and the simulator runs seed after seed until one of its checks notices. Production code knows nothing
of it. docs/mutants.md explains the rest.

To add one, append to the data file of its section (`election` and `timers` A, `replication` B, `persistence` C,
`snapshots` D, `messages` E, `runtime` F, `services` G, `members` K, `flow` what no
section has to itself: two histories, windows, the log on disk, chunks, addresses):

    Mutant(
        name="vote_twice_in_a_term",  # snake_case, unique over the whole catalogue
        rules=("A11",),  # the numbers of docs/rules.md that the patched line guards
        does="The vote is given without looking whether it was given already.",
        patches=(Patch("raftline.core.election", "state.vote in (None, sender) and up_to_date", "up_to_date"),),
        bench="cluster",  # optional; a name from `benches.BENCHES`
    )

`old` has to occur exactly once in the module's source (white space counts; short anchors within one line last
longest), else `PatchMoved` names mutant, module and text. Several patches of a module apply one after the other. `new`
must be wrong in what it does, not broken: a NameError is not a catch but a broken mutant, and an error of the run.
A rule that no wrong line can break gets a line `- **F12** Why.` in docs/mutants.md instead; a test compares.
Data files import only `raftline.sim.mutants.mutant`: they are read before any other module of raftline.

To run them:

    raftline sim --mutants vote_twice_in_a_term      # one or several, or all; --list lists them
    python .../sim/mutants/process.py NAME -m MODULE ARGUMENTS...

The second runs any module (`raftline.cli.main lab 2A`, `pytest`) under a mutant, child processes included;
`runner.process_command` returns that command. NAME `none` runs the unmutated code. What the full node cannot show, or
only rarely, gets a sharper bench in `benches.py`.
"""
