"""Quorum arithmetic: pure functions over sets of node ids (§5.2, §6, requirement A16).

A joint configuration needs a majority of both halves; an empty half is satisfied by nothing at all, so the plain
case is the joint case with an empty outgoing half.
"""
