"""Decides whether a recorded history is linearizable. Pure, usable on any history."""
