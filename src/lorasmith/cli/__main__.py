"""``python -m lorasmith.cli``."""

from lorasmith.cli.app import main

if __name__ == "__main__":
    main()
