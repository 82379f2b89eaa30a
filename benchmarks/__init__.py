"""Measurements side by side: `python -m benchmarks [NAMES] [--quick]`, results in docs/benchmarks.md.

    cases/       the benchmarks: what is compared with what, and the goal
    measured/    the scripts that are measured, each a process of its own: our engine, and what users write without it
    bench        one run of one side, with the proof that it did its work
    checkouts    `python -m benchmarks.checkouts FOLDER`: this checkout against another one, command by command
    exchange     the simulated exchange that all sides load from
    databases    a database on Postgres for a benchmark
    processes    a command as a process: its wall time, CPU time and memory; runs in turns
    results      lines, ratios and verdicts
    report       the table in the terminal, and docs/benchmarks.md

Belongs here: measuring from outside, with whole processes. Does not belong here: assertions about what the package does
(`market_data_pipeline_tests`, whose hosts are used here, too). The package imports nothing from here.
"""
