"""``python -m temporal_state.cli``, where the script is not on the path."""

from temporal_state.cli import main

if __name__ == "__main__":
    main()
