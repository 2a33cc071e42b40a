"""Clients for people who know redis-py: all nodes instead of one, failovers bridged, writes carried out exactly once.

`call` decides what a failure means and what comes next, `nodes` which node is asked, `kinds` which commands write,
`sessions` who uses which number; none of them does I/O. `sync` and `asynchronous` do, each with its half of redis-py.
"""
