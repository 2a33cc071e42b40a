"""The Make/Start interface of MIT 6.5840 and its tests."""
