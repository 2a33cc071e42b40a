"""On the path of the processes that a mutant's process starts: Python runs `sitecustomize` before anything else."""
