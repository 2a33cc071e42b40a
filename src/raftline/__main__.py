"""`python -m raftline` is the same as `raftline`."""

from raftline.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
